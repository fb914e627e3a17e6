//! Sizes, rectangles, similarity transforms, and the transform between model and picture.

use serde::{Deserialize, Serialize};

/// A size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SizePx {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Order of a tensor's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorLayout {
    /// `[1, channels, rows, columns]`.
    Nchw,
    /// `[1, rows, columns, channels]`.
    Nhwc,
}

/// A rectangle in pixels of the original frame: `x` and `y` are its left and upper edge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RectPx {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Columns covered.
    pub width: f32,
    /// Rows covered.
    pub height: f32,
}

impl RectPx {
    /// Area in square pixels.
    pub fn area(&self) -> f32 {
        self.width * self.height
    }

    /// Intersection over union with `other`, 0 where both are empty.
    pub fn iou(&self, other: &Self) -> f32 {
        let w = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let h = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        if w <= 0.0 || h <= 0.0 {
            return 0.0;
        }
        let both = w * h;
        both / (self.area() + other.area() - both)
    }

    /// The part of the rectangle inside a picture of `size`; may be empty.
    pub fn clipped(&self, size: SizePx) -> Self {
        let (w, h) = (size.width as f32, size.height as f32);
        let (x0, y0) = (self.x.clamp(0.0, w), self.y.clamp(0.0, h));
        let (x1, y1) = (
            (self.x + self.width).clamp(0.0, w),
            (self.y + self.height).clamp(0.0, h),
        );
        Self {
            x: x0,
            y: y0,
            width: x1 - x0,
            height: y1 - y0,
        }
    }
}

/// Similarity transform (translation, rotation, uniform scale): `x' = a x - b y + x0`, `y' = b x + a y + y0`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// Scale times the cosine of the angle.
    pub a: f64,
    /// Scale times its sine.
    pub b: f64,
    /// Columns of the shift.
    pub x: f64,
    /// Rows of the shift.
    pub y: f64,
}

impl Similarity {
    /// The identity.
    pub const IDENTITY: Self = Self {
        a: 1.0,
        b: 0.0,
        x: 0.0,
        y: 0.0,
    };

    /// Transforms a point.
    pub fn point(&self, point: [f64; 2]) -> [f64; 2] {
        let [x, y] = self.vector(point);
        [x + self.x, y + self.y]
    }

    /// Transforms a vector (without translation).
    pub fn vector(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [self.a * x - self.b * y, self.b * x + self.a * y]
    }

    /// The scale factor.
    pub fn scale(&self) -> f64 {
        self.a.hypot(self.b)
    }

    /// First `self`, then `next`.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        let [a, b] = next.vector([self.a, self.b]);
        let [x, y] = next.point([self.x, self.y]);
        Self { a, b, x, y }
    }

    /// The inverse; `None` if the scale is (nearly) 0.
    pub fn inverse(&self) -> Option<Self> {
        let square = self.a * self.a + self.b * self.b;
        if square < 1e-12 {
            return None;
        }
        let (a, b) = (self.a / square, -self.b / square);
        let turned = Self {
            a,
            b,
            x: 0.0,
            y: 0.0,
        };
        let [x, y] = turned.vector([-self.x, -self.y]);
        Some(Self { a, b, x, y })
    }
}

/// Transform from coordinates of the model's input (0 to 1 on both axes) to pixels of the original frame.
///
/// Returned by preprocessing, which knows how the picture was resized; used by postprocessing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageFromModel {
    /// Frame pixels from the model's left to its right edge.
    pub scale_x_px: f32,
    /// Frame pixels from the model's upper to its lower edge.
    pub scale_y_px: f32,
    /// Frame column at the model's left edge; negative under letterbox padding.
    pub offset_x_px: f32,
    /// Frame row at the model's upper edge.
    pub offset_y_px: f32,
}

impl ImageFromModel {
    /// The transform of a picture that was stretched to the whole input.
    pub fn stretch(image: SizePx) -> Self {
        Self {
            scale_x_px: image.width as f32,
            scale_y_px: image.height as f32,
            offset_x_px: 0.0,
            offset_y_px: 0.0,
        }
    }

    /// A box from its edges in model space (0 to 1) to frame pixels.
    pub fn rect(&self, x0: f32, y0: f32, x1: f32, y1: f32) -> RectPx {
        RectPx {
            x: x0 * self.scale_x_px + self.offset_x_px,
            y: y0 * self.scale_y_px + self.offset_y_px,
            width: (x1 - x0) * self.scale_x_px,
            height: (y1 - y0) * self.scale_y_px,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: f32, y: f32, width: f32, height: f32) -> RectPx {
        RectPx {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn iou_of_half_overlapping_squares_is_a_third() {
        let a = rect(0.0, 0.0, 2.0, 2.0);
        let b = rect(1.0, 0.0, 2.0, 2.0);
        assert!((a.iou(&b) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(a.iou(&rect(5.0, 5.0, 1.0, 1.0)), 0.0);
        assert_eq!(rect(0.0, 0.0, 0.0, 0.0).iou(&rect(0.0, 0.0, 0.0, 0.0)), 0.0);
    }

    #[test]
    fn a_similarity_and_its_inverse_lead_back() {
        let there = Similarity {
            a: 0.8,
            b: 0.3,
            x: 12.0,
            y: -5.0,
        };
        let back = there.inverse().expect("not flat");
        let [x, y] = there.then(&back).point([7.0, 9.0]);
        assert!((x - 7.0).abs() + (y - 9.0).abs() < 1e-9);
    }

    #[test]
    fn clipping_leaves_only_what_is_in_the_picture() {
        let size = SizePx {
            width: 10,
            height: 8,
        };
        assert_eq!(
            rect(-2.0, 3.0, 20.0, 20.0).clipped(size),
            rect(0.0, 3.0, 10.0, 5.0)
        );
        assert_eq!(rect(20.0, 3.0, 5.0, 5.0).clipped(size).area(), 0.0);
    }
}
