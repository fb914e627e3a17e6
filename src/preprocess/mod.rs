//! From a picture to the network's input tensor.
//!
//! One pass over the pixels that the network needs: resample, convert, normalise. A full-size RGB
//! picture is never made. What is written down on the way is [`ImageFromModel`], the one transform
//! that takes results back.
//!
//! [`ImageFromModel`]: crate::frame::ImageFromModel

mod fit;
mod resample;

pub use fit::{LetterboxAnchor, Resize};
pub use resample::Preprocessor;

/// What a network wants to be fed.
#[derive(Clone, Debug, PartialEq)]
pub struct PreprocessSpec {
    /// Columns of the input.
    pub width_px: u32,
    /// Rows of the input.
    pub height_px: u32,
    /// Whether blue comes first.
    pub bgr: bool,
    /// Subtracted from each channel (0 to 255), in the tensor's channel order.
    pub mean: [f32; 3],
    /// What is left is divided by this.
    pub std: [f32; 3],
    /// How the picture is fitted.
    pub resize: Resize,
    /// Whether pixel centres lie at half coordinates.
    pub half_pixel: bool,
}
