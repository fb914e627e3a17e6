//! Boxes in coordinates of the network's input.

use mobilens_image::{ImageFromModel, RectPx, SizePx};

/// Unit of decoded boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxUnit {
    /// Pixels of the network's input.
    Pixels,
    /// Shares of the input's width and height.
    Normalized,
}

/// From coordinates of the network's input to pixels of the frame.
#[derive(Clone, Copy, Debug)]
pub struct InputBoxes<'a> {
    /// Width of the input, in the unit of the boxes.
    width: f32,
    /// Its height.
    height: f32,
    image_from_model: &'a ImageFromModel,
}

impl<'a> InputBoxes<'a> {
    /// Boxes in pixels of an input of this size.
    pub fn pixels(input: SizePx, image_from_model: &'a ImageFromModel) -> Self {
        Self {
            width: input.width as f32,
            height: input.height as f32,
            image_from_model,
        }
    }

    /// Boxes in shares of the input's sides.
    pub fn normalized(image_from_model: &'a ImageFromModel) -> Self {
        Self {
            width: 1.0,
            height: 1.0,
            image_from_model,
        }
    }

    /// The same input, with boxes in `unit`; `self` is of pixels.
    pub fn with_unit(self, unit: BoxUnit) -> Self {
        match unit {
            BoxUnit::Pixels => self,
            BoxUnit::Normalized => Self::normalized(self.image_from_model),
        }
    }

    /// From shares of the input's sides to pixels of the frame.
    pub fn transform(&self) -> &'a ImageFromModel {
        self.image_from_model
    }

    /// A box by its left, upper, right and lower edge.
    pub fn corners(&self, x0: f32, y0: f32, x1: f32, y1: f32) -> RectPx {
        let (w, h) = (self.width, self.height);
        self.image_from_model.rect(x0 / w, y0 / h, x1 / w, y1 / h)
    }

    /// A box by its edges, of which only the part inside the input counts.
    pub fn clipped_corners(&self, x0: f32, y0: f32, x1: f32, y1: f32) -> RectPx {
        let (w, h) = (self.width, self.height);
        let (x0, x1) = (x0.clamp(0.0, w), x1.clamp(0.0, w));
        self.corners(x0, y0.clamp(0.0, h), x1, y1.clamp(0.0, h))
    }

    /// A box by its centre, width and height.
    pub fn centre(&self, cx: f32, cy: f32, w: f32, h: f32) -> RectPx {
        let (half_w, half_h) = (w / 2.0, h / 2.0);
        self.corners(cx - half_w, cy - half_h, cx + half_w, cy + half_h)
    }

    /// A point, as column and row of the frame.
    pub fn point(&self, x: f32, y: f32) -> [f32; 2] {
        let rect = self.corners(x, y, x, y);
        [rect.x, rect.y]
    }

    /// Width and height of the frame's pixels that one pixel of an input of this size covers.
    pub fn input_pixel(&self, input: SizePx) -> (f32, f32) {
        let transform = self.image_from_model;
        (
            transform.scale_x_px / input.width as f32,
            transform.scale_y_px / input.height as f32,
        )
    }
}

/// Rows and columns of the map of a stride.
pub fn cells(input: SizePx, stride: u32) -> (usize, usize) {
    let count = |side: u32| side.div_ceil(stride.max(1)).max(1) as usize;
    (count(input.height), count(input.width))
}
