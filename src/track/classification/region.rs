//! The part of a picture that a second network sees of a track.

use mobilens_image::{RectPx, SizePx};

/// From a track's box to the part of the picture that is classified.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropRegion {
    /// By which share of the box's width and height it is enlarged on each side.
    pub expand: f32,
    /// For a network that sees the middle of a picture only: the aspect ratio of what it sees (width over
    /// height), and its share of the picture's shorter side.
    pub middle: Option<(f32, f32)>,
}

impl CropRegion {
    /// The part of a picture of `size` for a track with the box `rect`, in whole pixels; `None` if nothing of the
    /// box is in the picture. Where the network sees the middle only, the part is as much larger, so that nothing
    /// of the box is cut off, as far as the picture goes.
    pub fn of(&self, rect: &RectPx, size: SizePx) -> Option<RectPx> {
        let (dx, dy) = (rect.width * self.expand, rect.height * self.expand);
        let (columns, rows) = (size.width as f32, size.height as f32);
        let (x0, x1) = (
            (rect.x - dx).max(0.0),
            (rect.x + rect.width + dx).min(columns),
        );
        let (y0, y1) = (
            (rect.y - dy).max(0.0),
            (rect.y + rect.height + dy).min(rows),
        );
        let (mut width, mut height) = (x1 - x0, y1 - y0);
        let is_finite = [rect.x, rect.y, rect.width, rect.height].map(f32::is_finite);
        if is_finite.contains(&false) || width < 1.0 || height < 1.0 {
            return None;
        }
        let (mut x, mut y) = (x0, y0);
        if let Some((aspect, share)) = self.middle {
            let wide = width.max(height * aspect);
            // The shorter side is scaled; the same factor on both keeps what is seen in its shape.
            let (w, h) = (wide / share, wide / aspect / share);
            let within = |begin: f32, length: f32, wanted: f32, end: f32| {
                let wanted = wanted.min(end);
                let middle = begin + length / 2.0;
                ((middle - wanted / 2.0).clamp(0.0, end - wanted), wanted)
            };
            (x, width) = within(x, width, w, columns);
            (y, height) = within(y, height, h, rows);
        }
        let (left, top) = (x.floor(), y.floor());
        Some(RectPx {
            x: left,
            y: top,
            width: ((x + width).ceil().min(columns) - left).max(1.0),
            height: ((y + height).ceil().min(rows) - top).max(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: SizePx = SizePx {
        width: 640,
        height: 360,
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
    fn a_box_is_enlarged_and_clipped() {
        let region = CropRegion {
            expand: 0.1,
            middle: None,
        };
        let got = region.of(&rect(100.0, 100.0, 50.0, 100.0), SIZE);
        assert_eq!(got, Some(rect(95.0, 90.0, 60.0, 120.0)));
        let got = region.of(&rect(-10.0, 300.0, 50.0, 100.0), SIZE);
        assert_eq!(got, Some(rect(0.0, 290.0, 45.0, 70.0)));
        assert_eq!(region.of(&rect(700.0, 0.0, 50.0, 50.0), SIZE), None);
        assert_eq!(region.of(&rect(f32::NAN, 0.0, 50.0, 50.0), SIZE), None);
        assert_eq!(region.of(&rect(10.0, 10.0, 0.0, 50.0), SIZE), None);
    }

    #[test]
    fn what_sees_the_middle_only_gets_as_much_more() {
        let region = CropRegion {
            expand: 0.0,
            middle: Some((1.0, 0.875)),
        };
        // A wide box: its middle square of 140 of 160 pixels shows all of it.
        let got = region.of(&rect(200.0, 150.0, 140.0, 70.0), SIZE);
        assert_eq!(got, Some(rect(190.0, 105.0, 160.0, 160.0)));
        // At the edge the part is moved into the picture.
        let got = region.of(&rect(0.0, 0.0, 70.0, 140.0), SIZE);
        assert_eq!(got, Some(rect(0.0, 0.0, 160.0, 160.0)));
        // As far as the picture goes.
        let got = region.of(&rect(0.0, 0.0, 640.0, 360.0), SIZE);
        assert_eq!(got, Some(rect(0.0, 0.0, 640.0, 360.0)));
    }

    proptest! {
        #[test]
        fn a_part_lies_in_the_picture_and_contains_the_box(
            [x, y, width, height] in prop::array::uniform4(-100.0_f32..700.0),
            expand in 0.0_f32..2.0,
            middle in prop::option::of((0.2_f32..5.0, 0.1_f32..1.0)),
        ) {
            let given = rect(x, y, width, height);
            if let Some(part) = (CropRegion { expand, middle }).of(&given, SIZE) {
                prop_assert!(part.x >= 0.0 && part.x + part.width <= 640.0, "{part:?}");
                prop_assert!(part.y >= 0.0 && part.y + part.height <= 360.0, "{part:?}");
                let seen = given.clipped(SIZE);
                prop_assert!(part.x <= seen.x + 0.01 && part.y <= seen.y + 0.01);
                prop_assert!(part.x + part.width >= seen.x + seen.width - 0.01);
                prop_assert!(part.y + part.height >= seen.y + seen.height - 0.01);
            }
        }
    }
}
