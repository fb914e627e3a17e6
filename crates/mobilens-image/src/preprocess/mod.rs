//! Preprocessing: resize, colour conversion and normalisation from a captured image to the network's
//! input tensor, in one pass.
//!
//! The planes of the decoder are resampled as they are: a row of the tensor needs two rows of the
//! picture, which are blended whole (`blend`), then the columns that the tensor needs are picked out
//! and blended in pairs, and only those are turned into RGB and normalised (`resample`). A full-size
//! RGB picture is never made. Where the fit leaves parts of the input empty they are padded.
//!
//! | step | shape |
//! |---|---|
//! | picture | planes of `h` x `w`, chroma as the format has it |
//! | one blended row a plane | `[w]` |
//! | one line of the tensor, planar | `[3, width_px]` |
//! | tensor | `[1, 3, height_px, width_px]` or `[1, height_px, width_px, 3]` |
//!
//! The pass also writes down [`ImageFromModel`](crate::ImageFromModel), the transform that
//! takes results back to the picture; this is the only place that knows how the picture was fitted.
//!
//! Interpolating YUV before the conversion equals converting before the interpolation, because
//! both are linear, except where a pixel's colour lies outside what RGB can show: here the
//! interpolated colour is clamped, there each pixel was. On a frame of a dashcam's video at 720p,
//! brought to 300 x 300, the tensor is 0.2 codes (of 255) off the one that comes from a full RGB
//! picture of whole codes, on average; 99.9 % of the values are within 2.7.
//!
//! Pillow's filters ([`ResizeFilter`]) look at every pixel of the part that is shown and round to whole
//! codes in between, so the picture is converted to RGB first (`pil`).

mod axis;
mod blend;
mod fit;
mod pil;
mod preprocessor;
#[cfg(test)]
mod reference;
mod resample;

pub use fit::{LetterboxAnchor, ResizeMode};
pub use preprocessor::Preprocessor;

/// Preprocessing parameters of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct PreprocessParams {
    /// Columns of the input.
    pub width_px: u32,
    /// Rows of the input.
    pub height_px: u32,
    /// BGR instead of RGB channel order.
    pub bgr: bool,
    /// Subtracted from each channel (0 to 255), in the tensor's channel order.
    pub mean: [f32; 3],
    /// Divisor of each channel, after the mean is subtracted.
    pub std: [f32; 3],
    /// How the picture is resized to the input.
    pub resize: ResizeMode,
    /// Half-pixel centres (`half_pixel` of ONNX `Resize`) instead of `asymmetric`.
    pub half_pixel: bool,
    /// Which pixels of the picture make one of the input.
    pub filter: ResizeFilter,
}

/// Which pixels of the picture make one of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResizeFilter {
    /// The nearest four, whatever the scale: OpenCV's `INTER_LINEAR`, TensorFlow, ONNX `Resize`.
    #[default]
    Bilinear,
    /// All under a triangle that grows with the scale: Pillow's `BILINEAR`, torchvision's default.
    /// Half-pixel centres.
    PilBilinear,
    /// The same under a cubic: Pillow's `BICUBIC`, timm's default.
    PilBicubic,
}
