//! The sizes of a detector's input: several scales, and rectangles of a picture's aspect ratio.

use mobilens_image::SizePx;

/// One of a detector's input sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputScale {
    /// A square, or the width and height of the one other input.
    pub px: SizePx,
    /// The next smaller input that always looks at the same picture, if there is one.
    pub beside: Option<SizePx>,
}

/// At which input sizes a detector looks at a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSizes {
    /// Input sizes for the whole picture, smallest first.
    pub scales: Vec<InputScale>,
    /// Whether inputs take the picture's aspect ratio, with about as many pixels.
    pub rectangle: bool,
    /// Width and height that the network was trained with.
    pub trained: SizePx,
    /// Sides differ from these by a multiple of it.
    pub step_px: u32,
}

/// A rectangle has at most this many times the pixels of the square that it replaces.
const MOST_PIXELS: f64 = 1.5;
/// And at least this share of them.
const LEAST_PIXELS: f64 = 0.9;

impl InputSizes {
    /// Input sizes for all of a picture of `size`, smallest first.
    pub fn of_whole(&self, size: SizePx) -> impl Iterator<Item = SizePx> {
        self.scales
            .iter()
            .map(move |scale| self.fitted(scale.px, size))
    }

    /// The input size for all of a picture of `size` at a scale of `side_px`.
    pub fn of_side(&self, side_px: u32, size: SizePx) -> SizePx {
        let square = SizePx {
            width: side_px,
            height: side_px,
        };
        self.fitted(square, size)
    }

    /// The number of the scale that gives a picture of `size` this input.
    pub fn scale_of(&self, input: SizePx, size: SizePx) -> Option<usize> {
        let gives = |scale: &InputScale| self.fitted(scale.px, size) == input;
        self.scales.iter().position(gives)
    }

    /// The input size for a part of a picture: the smallest.
    pub fn of_part(&self, size: SizePx) -> SizePx {
        let first = self.scales.first().map(|scale| scale.px);
        self.fitted(first.unwrap_or(self.trained), size)
    }

    fn fitted(&self, scale: SizePx, picture: SizePx) -> SizePx {
        if self.rectangle {
            self.rectangle(scale, picture)
        } else {
            scale
        }
    }

    /// Of the sizes that the network can have, with about as many pixels as `scale`, that with the aspect
    /// ratio nearest to the picture's; of equally near ones that with the nearest number of pixels.
    fn rectangle(&self, scale: SizePx, picture: SizePx) -> SizePx {
        let pixels = |size: SizePx| f64::from(size.width) * f64::from(size.height);
        let aspect = |size: SizePx| (f64::from(size.width) / f64::from(size.height.max(1))).ln();
        let (wanted, budget) = (aspect(picture), pixels(scale));
        let sides = |trained: u32| {
            let least = trained % self.step_px.max(1);
            let all = (0..).map(move |n| least + n * self.step_px.max(1));
            let range = self.step_px..4 * scale.width.max(scale.height);
            all.skip_while(move |px| *px <= range.start)
                .take_while(move |px| *px < range.end)
        };
        let (mut best, mut least) = (scale, (f64::INFINITY, f64::INFINITY));
        for width in sides(self.trained.width) {
            for height in sides(self.trained.height) {
                let size = SizePx { width, height };
                let share = pixels(size) / budget.max(1.0);
                if !(LEAST_PIXELS..=MOST_PIXELS).contains(&share) {
                    continue;
                }
                let off = ((aspect(size) - wanted).abs(), share.ln().abs());
                if off < least {
                    (best, least) = (size, off);
                }
            }
        }
        best
    }
}

/// How many of a detector's feature maps are worth computing at an input side of `side_px` beside a look at
/// the next smaller one, `smaller_px`. `scales` are those of the maps' anchors.
///
/// A map whose anchors cover more of the picture than the first ones of the smaller look finds what that
/// look finds as well: SSDLite at 556 beside 300 gains from its first two maps alone.
pub fn feature_maps_beside(scales: &[f32], side_px: u32, smaller_px: u32) -> usize {
    let Some(first) = scales.first() else {
        return 0;
    };
    let limit = 1.25 * first * side_px as f32 / smaller_px.max(1) as f32;
    scales
        .iter()
        .take_while(|scale| **scale < limit)
        .count()
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> SizePx {
        SizePx { width, height }
    }

    fn sizes(rectangle: bool) -> InputSizes {
        InputSizes {
            scales: [(300, None), (556, Some(size(300, 300)))]
                .map(|(px, beside)| InputScale {
                    px: size(px, px),
                    beside,
                })
                .to_vec(),
            rectangle,
            trained: size(300, 300),
            step_px: 64,
        }
    }

    #[test]
    fn rectangles_have_the_pictures_aspect_ratio() {
        let of = |width, height| sizes(true).of_part(size(width, height));
        assert_eq!(of(640, 272), size(556, 236));
        assert_eq!(of(1280, 720), size(428, 236));
        assert_eq!(of(720, 1280), size(236, 428));
        assert_eq!(of(500, 500), size(300, 300));
        let both: Vec<SizePx> = sizes(true).of_whole(size(1280, 720)).collect();
        assert!(
            both[1].width > both[1].height && both[1].width > both[0].width,
            "{both:?}"
        );
        let square: Vec<SizePx> = sizes(false).of_whole(size(1280, 720)).collect();
        assert_eq!(square, [size(300, 300), size(556, 556)]);
    }

    #[test]
    fn large_anchors_are_left_to_the_smaller_look() {
        let scales = [0.2, 0.35, 0.5, 0.65, 0.8, 0.95];
        assert_eq!(feature_maps_beside(&scales, 556, 300), 2);
        assert_eq!(feature_maps_beside(&scales, 428, 300), 2);
        assert_eq!(feature_maps_beside(&scales, 364, 300), 1);
        assert_eq!(feature_maps_beside(&scales, 1068, 300), 5);
    }
}
