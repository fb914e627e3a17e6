//! Fitting of pictures of any size into the fixed input size: stretch, letterbox or centre crop.

use crate::{ImageFromModel, SizePx};

/// How a picture is resized to the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ResizeMode {
    /// To the whole input; the aspect ratio is not kept.
    Stretch,
    /// With its aspect ratio kept, and padding.
    Letterbox {
        /// Colour of the padding in the tensor's channel order, 0 to 255.
        pad_value: [f32; 3],
        /// Where the picture lies.
        anchor: LetterboxAnchor,
    },
    /// The shorter side to `shorter_px`, the aspect ratio kept, then the middle of it: torchvision's
    /// `Resize(shorter_px)` and `CenterCrop`.
    CenterCrop {
        /// The shorter side before the crop; at least the input's longer side.
        shorter_px: u32,
    },
}

/// Where a letterboxed picture lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterboxAnchor {
    /// Padding at the right and below.
    TopLeft,
    /// Padding on both sides.
    Center,
    /// Padding at the left and below.
    TopRight,
    /// Padding at the right and above.
    BottomLeft,
    /// Padding at the left and above.
    BottomRight,
}

/// Where a picture lies in the input, in input pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
    /// Columns and rows of the whole picture at the input's scale.
    pub scaled: (usize, usize),
    /// Columns and rows of it that are cut off on the left and at the top.
    pub cut: (usize, usize),
}

impl Fit {
    pub fn new(resize: ResizeMode, image: SizePx, input: SizePx) -> Self {
        let anchor = match resize {
            ResizeMode::Stretch => {
                return Self::covering(input, (input.width as usize, input.height as usize));
            }
            ResizeMode::CenterCrop { shorter_px } => {
                return Self::covering(input, scaled_by_shorter(image, input, shorter_px));
            }
            ResizeMode::Letterbox { anchor, .. } => anchor,
        };
        let scale = (f64::from(input.width) / f64::from(image.width))
            .min(f64::from(input.height) / f64::from(image.height));
        let side = |length: u32, limit: u32| {
            ((f64::from(length) * scale).round() as usize).clamp(1, limit as usize)
        };
        let (width, height) = (
            side(image.width, input.width),
            side(image.height, input.height),
        );
        let (right, bottom) = (input.width as usize - width, input.height as usize - height);
        let (left, top) = match anchor {
            LetterboxAnchor::TopLeft => (0, 0),
            LetterboxAnchor::TopRight => (right, 0),
            LetterboxAnchor::BottomLeft => (0, bottom),
            LetterboxAnchor::BottomRight => (right, bottom),
            LetterboxAnchor::Center => (right / 2, bottom / 2),
        };
        Self {
            left,
            top,
            width,
            height,
            scaled: (width, height),
            cut: (0, 0),
        }
    }

    /// Over the whole input: the middle of the picture at the size `scaled`.
    fn covering(input: SizePx, scaled: (usize, usize)) -> Self {
        let (width, height) = (input.width as usize, input.height as usize);
        // Python's `round`, as in torchvision: halves go to the even number.
        let half = |rest: usize| (rest as f64 / 2.0).round_ties_even() as usize;
        Self {
            left: 0,
            top: 0,
            width,
            height,
            scaled,
            cut: (half(scaled.0 - width), half(scaled.1 - height)),
        }
    }

    /// The transform from model coordinates to the picture.
    pub fn image_from_model(&self, image: SizePx, input: SizePx) -> ImageFromModel {
        let x = image.width as f32 / self.scaled.0 as f32;
        let y = image.height as f32 / self.scaled.1 as f32;
        ImageFromModel {
            scale_x_px: input.width as f32 * x,
            scale_y_px: input.height as f32 * y,
            offset_x_px: (self.cut.0 as f32 - self.left as f32) * x,
            offset_y_px: (self.cut.1 as f32 - self.top as f32) * y,
        }
    }
}

/// Columns and rows of a picture whose shorter side is brought to `shorter_px`; the longer one is rounded
/// down. Never smaller than the input.
fn scaled_by_shorter(image: SizePx, input: SizePx, shorter_px: u32) -> (usize, usize) {
    let shorter = u64::from(image.width.min(image.height));
    let side = |length: u32, least: u32| {
        let scaled = u64::from(shorter_px) * u64::from(length) / shorter;
        (scaled as usize).max(least as usize)
    };
    (
        side(image.width, input.width),
        side(image.height, input.height),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letterboxed_box_comes_back_to_its_place() {
        let (image, input) = (
            SizePx {
                width: 1280,
                height: 720,
            },
            SizePx {
                width: 320,
                height: 320,
            },
        );
        let resize = ResizeMode::Letterbox {
            pad_value: [0.0; 3],
            anchor: LetterboxAnchor::Center,
        };
        let fit = Fit::new(resize, image, input);
        assert_eq!(
            (fit.left, fit.top, fit.width, fit.height),
            (0, 70, 320, 180)
        );
        let back = fit.image_from_model(image, input);
        let rect = back.rect(0.0, 70.0 / 320.0, 1.0, 250.0 / 320.0);
        assert!(rect.x.abs() < 1e-3 && rect.y.abs() < 1e-3, "{rect:?}");
        assert!((rect.width - 1280.0).abs() < 1e-2 && (rect.height - 720.0).abs() < 1e-2);
    }

    #[test]
    fn a_line_of_pixels_keeps_one() {
        let image = SizePx {
            width: 3,
            height: 2000,
        };
        let input = SizePx {
            width: 300,
            height: 300,
        };
        let resize = ResizeMode::Letterbox {
            pad_value: [0.0; 3],
            anchor: LetterboxAnchor::TopLeft,
        };
        assert_eq!(Fit::new(resize, image, input).width, 1);
    }

    #[test]
    fn the_middle_is_cut_as_torchvision_does() {
        let input = SizePx {
            width: 224,
            height: 224,
        };
        let fit = |width, height| {
            let image = SizePx { width, height };
            let resize = ResizeMode::CenterCrop { shorter_px: 256 };
            (Fit::new(resize, image, input), image)
        };
        // chelsea.png: int(256 * 451 / 300) = 384 columns, round((384 - 224) / 2) cut off.
        let (crop, image) = fit(451, 300);
        assert_eq!((crop.scaled, crop.cut), ((384, 256), (80, 16)));
        let back = crop.image_from_model(image, input);
        let rect = back.rect(0.0, 0.0, 1.0, 1.0);
        assert!((rect.x - 80.0 * 451.0 / 384.0).abs() < 1e-3, "{rect:?}");
        assert!(
            (rect.height - 224.0 * 300.0 / 256.0).abs() < 1e-3,
            "{rect:?}"
        );
        // An odd rest goes to the even side: round(16.5) = 16, round(17.5) = 18.
        assert_eq!(fit(257, 256).0.cut, (16, 16));
        assert_eq!(fit(259, 256).0.cut, (18, 16));
        // Neither a line of pixels nor one pixel is a fault.
        assert_eq!(fit(3, 2000).0.scaled, (256, 170_666));
        assert_eq!(fit(1, 1).0.cut, (16, 16));
    }
}
