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
    /// The kernels for AVX2 and FMA, without VNNI.
    Avx2,
    /// The float32 kernels for AVX2 and FMA, the int8 kernels for AVX-VNNI.
    AvxVnni,
    /// The kernels for AVX-512 F and VL, for int8 with AMX or VNNI where the CPU has it.
    Avx512,
    /// The float32 kernels for AVX-512 F and VL, the int8 kernels for AVX-512 VNNI, without AMX.
    Avx512Vnni,
}

impl KernelChoice {
    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Tract => "tract",
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
        }
    }
}

/// Which number format a network runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Int8 where the file is quantised, else float32.
    #[default]
    Model,
    /// Float32. The activations of a quantised file are limited to their ranges, but not rounded.
    F32,
    /// bfloat16 weights and activations, summed in float32; needs AVX-512 BF16. Results differ from those
    /// of float32, and from one CPU to the next.
    Bf16,
    /// Int8; the file must be quantised.
    Int8,
    /// The fastest of this CPU: int8 where the file is quantised, else bfloat16 where the CPU has it,
    /// else float32.
    Fast,
}

/// Options of [`Network::load`](crate::Network::load).
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Which implementation runs the operators.
    pub kernels: KernelChoice,
    /// Number format.
    pub precision: Precision,
    /// Class pruning of a detector; `None` computes all classes.
    pub keep: Option<KeptClasses>,
    /// Input height and width in pixels, for a fully convolutional network; `None` takes the fixed
    /// input size of the file.
    pub input: Option<(usize, usize)>,
    /// Shape of the input, for axes that the file leaves free; without it a free batch axis is 1, and other free
    /// axes are an error.
    pub shape: Option<Vec<usize>>,
    /// Whether `shape` also replaces the sizes that the file has.
    pub replace_shape: bool,
    /// Computes only the first feature maps of a detector; `None` computes all.
    pub feature_maps: Option<FeatureMaps>,
}

/// The feature maps of a detector that are needed. Its other heads are not computed, nor what leads only to
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureMaps {
    /// Names of the outputs that join the maps along the anchors, `[1, anchors, values]`.
    pub outputs: Vec<String>,
    /// How many are needed, the largest first.
    pub count: usize,
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
