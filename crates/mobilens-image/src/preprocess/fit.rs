//! Fitting of pictures of any size into the fixed input size: stretch or letterbox.

use crate::{ImageFromModel, SizePx};

/// How a picture is resized to the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ResizeMode {
    /// To the whole input; the aspect ratio is not kept.
    Stretch,
    /// With its aspect ratio kept, and padding.
    Letterbox {
        /// Grey value (0 to 255) of the padding.
        pad_value: f32,
        /// Where the picture lies.
        anchor: LetterboxAnchor,
    },
}

/// Where a letterboxed picture lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterboxAnchor {
    /// Padding at the right and below.
    TopLeft,
    /// Padding on both sides.
    Center,
}

/// Where a picture lies in the input, in input pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

impl Fit {
    pub fn new(resize: ResizeMode, image: SizePx, input: SizePx) -> Self {
        let ResizeMode::Letterbox { anchor, .. } = resize else {
            return Self {
                left: 0,
                top: 0,
                width: input.width as usize,
                height: input.height as usize,
            };
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
        let (left, top) = match anchor {
            LetterboxAnchor::TopLeft => (0, 0),
            LetterboxAnchor::Center => (
                (input.width as usize - width) / 2,
                (input.height as usize - height) / 2,
            ),
        };
        Self {
            left,
            top,
            width,
            height,
        }
    }

    /// The transform from model coordinates to the picture.
    pub fn image_from_model(&self, image: SizePx, input: SizePx) -> ImageFromModel {
        let x = image.width as f32 / self.width as f32;
        let y = image.height as f32 / self.height as f32;
        ImageFromModel {
            scale_x_px: input.width as f32 * x,
            scale_y_px: input.height as f32 * y,
            offset_x_px: -(self.left as f32) * x,
            offset_y_px: -(self.top as f32) * y,
        }
    }
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
            pad_value: 0.0,
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
            pad_value: 0.0,
            anchor: LetterboxAnchor::TopLeft,
        };
        assert_eq!(Fit::new(resize, image, input).width, 1);
    }
}
