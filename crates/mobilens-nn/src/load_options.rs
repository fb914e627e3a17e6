//! Options of loading a network.

/// Which implementation runs the operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelChoice {
    /// The kernels for the best instruction set of this CPU; tract where it has none of them.
    #[default]
    Auto,
    /// tract alone: the baseline.
    Tract,
    /// The portable kernels, in plain Rust.
    Portable,
    /// The kernels for AVX2 and FMA.
    Avx2,
    /// The kernels for AVX-512 F and VL.
    Avx512,
}

/// Options of [`Network::load`](crate::Network::load).
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Which implementation runs the operators.
    pub kernels: KernelChoice,
    /// Class pruning of a detector; `None` computes all classes.
    pub keep: Option<KeptClasses>,
    /// Input height and width in pixels, for a fully convolutional network; `None` takes the fixed
    /// input size of the file.
    pub input: Option<(usize, usize)>,
}

/// The classes of a detector that are needed. Where the network allows it the others are pruned:
/// their scores are not computed. [`Network::pruned_classes`](crate::Network::pruned_classes) tells
/// whether they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptClasses {
    /// Name of the output `[1, anchors, classes]`.
    pub output: String,
    /// The columns to keep, ascending.
    pub classes: Vec<usize>,
}
