//! Names and shapes of a network's inputs and outputs.

/// Name and shape of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the ONNX file.
    pub name: String,
    /// Dimensions, in the order of the file.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Number of values.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a network's tensors hold something"
    )]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Order of the input tensor's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputLayout {
    /// `[1, channels, rows, columns]`.
    Nchw,
    /// `[1, rows, columns, channels]`.
    Nhwc,
}
