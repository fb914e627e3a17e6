//! Masks of instances: prototypes times coefficients.
//!
//! Bolya et al., "YOLACT: Real-time Instance Segmentation", section 3.2: the mask of an object is the sum of
//! `M` prototypes `[1, M, h, w]`, shared by all objects of a picture, weighted by the object's own `M`
//! coefficients. The sum is a logit: it is interpolated bilinearly (half-pixel centres) to the pixels of the
//! frame, and those of the object's box whose value is above 0 belong to it.

use mobilens_image::{ImageFromModel, RectPx, SizePx};

/// The pixels of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceMask {
    /// Column of the frame of its first pixel.
    pub x: u32,
    /// Row of the frame of its first pixel.
    pub y: u32,
    size: SizePx,
    pixels: Vec<bool>,
}

impl InstanceMask {
    /// A mask whose upper left pixel is at column `x` and row `y` of the frame; `None` unless `pixels`, row by
    /// row, are as many as its size says.
    pub fn new(x: u32, y: u32, size: SizePx, pixels: Vec<bool>) -> Option<Self> {
        let count = size.width as usize * size.height as usize;
        (pixels.len() == count).then_some(Self { x, y, size, pixels })
    }

    /// Columns and rows.
    pub fn size(&self) -> SizePx {
        self.size
    }

    /// Its rows, from the top.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[bool]> {
        let width = (self.size.width as usize).max(1);
        self.pixels.chunks_exact(width)
    }

    /// Whether a pixel of the frame belongs to the object.
    pub fn contains(&self, x: u32, y: u32) -> bool {
        let (Some(x), Some(y)) = (x.checked_sub(self.x), y.checked_sub(self.y)) else {
            return false;
        };
        x < self.size.width
            && y < self.size.height
            && self.pixels[y as usize * self.size.width as usize + x as usize]
    }

    /// Number of pixels.
    pub fn area(&self) -> usize {
        self.pixels.iter().filter(|is_set| **is_set).count()
    }

    /// The same mask so many columns and rows further on.
    pub fn shifted(&self, dx: u32, dy: u32) -> Self {
        Self {
            x: self.x.saturating_add(dx),
            y: self.y.saturating_add(dy),
            ..self.clone()
        }
    }
}

/// The prototypes of a picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prototypes<'a> {
    planes: &'a [f32],
    rows: usize,
    columns: usize,
}

/// A pixel's two neighbours on one axis of the prototypes, and the weight of the second.
#[derive(Clone, Copy)]
struct Between {
    first: usize,
    second: usize,
    weight: f32,
}

impl<'a> Prototypes<'a> {
    /// Those of an output `[1, M, rows, columns]`; `None` where it has no such number of values.
    pub(super) fn new(output: &'a [f32], (rows, columns): (usize, usize)) -> Option<Self> {
        let plane = rows.checked_mul(columns).filter(|plane| *plane > 0)?;
        (!output.is_empty() && output.len().is_multiple_of(plane)).then_some(Self {
            planes: output,
            rows,
            columns,
        })
    }

    /// The mask of an object with the box `rect`, clipped to the frame; `None` where its box holds no pixel's
    /// centre, the coefficients are not as many as the prototypes, or a value is not finite.
    pub(super) fn mask(
        &self,
        coefficients: &[f32],
        rect: &RectPx,
        image_from_model: &ImageFromModel,
        frame: SizePx,
    ) -> Option<InstanceMask> {
        let plane = self.rows * self.columns;
        let is_finite = coefficients.iter().all(|c| c.is_finite());
        if !is_finite || coefficients.len() * plane != self.planes.len() {
            return None;
        }
        // The pixels whose centres lie in the box.
        let pixels = |start: f32, length: f32, end: u32| {
            let first = (start - 0.5).ceil().max(0.0) as u32;
            let last = (start + length - 0.5).ceil().clamp(0.0, end as f32) as u32;
            first..last
        };
        let across = pixels(rect.x, rect.width, frame.width);
        let down = pixels(rect.y, rect.height, frame.height);
        if across.is_empty() || down.is_empty() {
            return None;
        }
        let transform = image_from_model;
        let columns = self.between(
            across.clone(),
            (transform.scale_x_px, transform.offset_x_px),
            self.columns,
        );
        let rows = self.between(
            down.clone(),
            (transform.scale_y_px, transform.offset_y_px),
            self.rows,
        );
        // The weighted sum of the prototypes, where the box needs it.
        let span = |of: &[Between]| (of[0].first, of[of.len() - 1].second + 1);
        let ((left, right), (top, bottom)) = (span(&columns), span(&rows));
        let width = right - left;
        let mut sum = vec![0.0_f32; width * (bottom - top)];
        for (prototype, coefficient) in self.planes.chunks_exact(plane).zip(coefficients) {
            for (row, sums) in (top..bottom).zip(sum.chunks_exact_mut(width)) {
                let values = &prototype[row * self.columns + left..][..width];
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += coefficient * value;
                }
            }
        }
        if !sum.iter().all(|value| value.is_finite()) {
            return None;
        }
        let mut mask = Vec::with_capacity(columns.len() * rows.len());
        for row in &rows {
            let line = |row: usize| &sum[(row - top) * width..][..width];
            let (upper, lower) = (line(row.first), line(row.second));
            mask.extend(columns.iter().map(|column| {
                let (a, b) = (column.first - left, column.second - left);
                let at = |line: &[f32]| line[a] + (line[b] - line[a]) * column.weight;
                let (upper, lower) = (at(upper), at(lower));
                upper + (lower - upper) * row.weight > 0.0
            }));
        }
        let size = SizePx {
            width: across.end - across.start,
            height: down.end - down.start,
        };
        InstanceMask::new(across.start, down.start, size, mask)
    }

    /// Where pixels of the frame lie among the cells of one axis.
    fn between(
        &self,
        pixels: std::ops::Range<u32>,
        (scale, offset): (f32, f32),
        cells: usize,
    ) -> Vec<Between> {
        let last = cells.saturating_sub(1);
        let place = |pixel: u32| {
            let at = (f64::from(pixel) + 0.5 - f64::from(offset)) / f64::from(scale);
            let at = (at * cells as f64 - 0.5).clamp(0.0, last as f64);
            let first = at as usize;
            Between {
                first,
                second: (first + 1).min(last),
                weight: (at - first as f64) as f32,
            }
        };
        pixels.map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: SizePx = SizePx {
        width: 8,
        height: 4,
    };

    fn rect(x: f32, y: f32, width: f32, height: f32) -> RectPx {
        RectPx {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn the_weighted_sum_is_cut_at_zero_and_at_the_box() {
        // Positive on the left of the first, everywhere in the second.
        let planes = [1.0, -1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0];
        let prototypes = Prototypes::new(&planes, (2, 2)).expect("two planes");
        let to_frame = ImageFromModel::stretch(FRAME);
        let box_px = rect(1.4, 0.0, 6.0, 3.0);
        let mask = |coefficients: &[f32]| prototypes.mask(coefficients, &box_px, &to_frame, FRAME);
        let left = mask(&[1.0, 0.0]).expect("a mask");
        assert_eq!((left.x, left.y), (1, 0));
        let SizePx { width, height } = left.size();
        assert_eq!((width, height, left.area()), (6, 3, 9));
        assert!(left.contains(3, 2) && !left.contains(4, 2) && !left.contains(0, 0));
        assert_eq!(mask(&[1.0, 2.0]).expect("a mask").area(), 18);
        assert_eq!(mask(&[0.0, -1.0]).expect("a mask").area(), 0);
        let moved = left.shifted(10, 20);
        assert!(moved.contains(13, 22) && !moved.contains(3, 2));
    }

    #[test]
    fn nothing_comes_of_an_empty_box_and_of_values_that_are_not_finite() {
        let planes = [1.0, 1.0, 1.0, f32::NAN];
        let prototypes = Prototypes::new(&planes, (2, 2)).expect("a plane");
        let to_frame = ImageFromModel::stretch(FRAME);
        for (coefficients, rect) in [
            (&[1.0][..], rect(0.0, 0.0, 8.0, 4.0)),
            (&[f32::INFINITY], rect(0.0, 0.0, 2.0, 2.0)),
            (&[1.0, 1.0], rect(0.0, 0.0, 2.0, 2.0)),
            (&[1.0], rect(0.6, 0.6, 0.3, 0.3)),
            (&[1.0], rect(9.0, 0.0, 2.0, 2.0)),
        ] {
            assert_eq!(prototypes.mask(coefficients, &rect, &to_frame, FRAME), None);
        }
        assert!(Prototypes::new(&planes, (3, 2)).is_none());
        assert!(Prototypes::new(&[], (2, 2)).is_none());
    }
}
