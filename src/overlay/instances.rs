//! Keypoints and masks of single objects.

use image::{Rgb, RgbImage};
use imageproc::drawing::{draw_filled_circle_mut, draw_line_segment_mut};

use crate::postprocess::InstanceMask;

/// Keypoints with a lower score are not drawn: they are outside the picture, or hidden.
const LEAST_SCORE: f64 = 0.25;

/// The bones of COCO's person, by the numbers of their keypoints (`skeleton` of its annotations, from 0).
const COCO_SKELETON: [(usize, usize); 19] = [
    (15, 13),
    (13, 11),
    (16, 14),
    (14, 12),
    (11, 12),
    (5, 11),
    (6, 12),
    (5, 6),
    (5, 7),
    (6, 8),
    (7, 9),
    (8, 10),
    (1, 2),
    (0, 1),
    (0, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
];
/// Number of COCO's keypoints of a person.
const COCO_KEYPOINTS: usize = 17;

/// Draws keypoints, each `[x, y, score]`, as dots with a dark rim; of 17 also the bones of COCO's person.
pub(super) fn draw_keypoints_mut(
    picture: &mut RgbImage,
    points: &[[f64; 3]],
    line: u32,
    colour: [u8; 3],
) {
    // Near the picture: coordinates may be anything.
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let is_drawn = |[x, y, score]: &[f64; 3]| {
        *score >= LEAST_SCORE
            && (-width..2.0 * width).contains(x)
            && (-height..2.0 * height).contains(y)
    };
    if points.len() == COCO_KEYPOINTS {
        for (from, to) in COCO_SKELETON {
            let (from, to) = (&points[from], &points[to]);
            if is_drawn(from) && is_drawn(to) {
                for i in 0..line {
                    let aside = i as f32 - line as f32 / 2.0;
                    let at = |p: &[f64; 3]| (p[0] as f32 + aside, p[1] as f32);
                    draw_line_segment_mut(picture, at(from), at(to), Rgb(colour));
                }
            }
        }
    }
    for point in points.iter().filter(|point| is_drawn(point)) {
        let at = (point[0].round() as i32, point[1].round() as i32);
        draw_filled_circle_mut(picture, at, line as i32 + 1, Rgb([0; 3]));
        draw_filled_circle_mut(picture, at, line as i32, Rgb(colour));
    }
}

/// Lays a colour over an object's pixels, `alpha` of it, and draws a line along their border.
pub(super) fn draw_instance_mut(
    picture: &mut RgbImage,
    mask: &InstanceMask,
    colour: [u8; 3],
    alpha: f32,
    edges: bool,
) {
    let alpha = alpha.clamp(0.0, 1.0);
    let (width, height) = picture.dimensions();
    for (row, pixels) in (mask.y..height).zip(mask.rows()) {
        for (column, _) in (mask.x..width).zip(pixels).filter(|(_, is_set)| **is_set) {
            let has = |x: Option<u32>, y: Option<u32>| match (x, y) {
                (Some(x), Some(y)) => mask.contains(x, y),
                _ => false,
            };
            let (x, y) = (Some(column), Some(row));
            let is_inside = has(column.checked_sub(1), y)
                && has(column.checked_add(1), y)
                && has(x, row.checked_sub(1))
                && has(x, row.checked_add(1));
            let share = if edges && !is_inside { 1.0 } else { alpha };
            let pixel = picture.get_pixel_mut(column, row);
            for (value, colour) in pixel.0.iter_mut().zip(colour) {
                let mixed = f32::from(*value) * (1.0 - share) + f32::from(colour) * share;
                *value = mixed.round() as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mobilens_image::SizePx;

    const GREY: Rgb<u8> = Rgb([100; 3]);
    const COLOUR: [u8; 3] = [200, 0, 0];

    #[test]
    fn seventeen_keypoints_have_bones_and_others_have_none() {
        let points = |count: usize| -> Vec<[f64; 3]> {
            let at = |i| {
                [
                    10.0 + 5.0 * i as f64,
                    if i % 2 == 0 { 20.0 } else { 60.0 },
                    0.9,
                ]
            };
            (0..count).map(at).collect()
        };
        let drawn = |points: &[[f64; 3]]| {
            let mut picture = RgbImage::from_pixel(110, 80, GREY);
            draw_keypoints_mut(&mut picture, points, 2, COLOUR);
            picture
        };
        // Halfway between the shoulders (5 and 6), at (35, 60) and (40, 20).
        let middle =
            |picture: &RgbImage| (35..40).any(|x| picture.get_pixel(x, 40) == &Rgb(COLOUR));
        assert!(middle(&drawn(&points(17))));
        let face = drawn(&points(5));
        assert!(!middle(&face));
        assert_eq!(face.get_pixel(10, 20), &Rgb(COLOUR));
        let mut hidden = points(5);
        hidden[0][2] = 0.1;
        assert_eq!(drawn(&hidden).get_pixel(10, 20), &GREY);
    }

    #[test]
    fn points_anywhere_do_not_matter() {
        for at in [f64::NAN, 1e300, -1e9, f64::INFINITY] {
            let mut picture = RgbImage::from_pixel(8, 4, GREY);
            draw_keypoints_mut(&mut picture, &[[at, 2.0, 1.0]; 17], 3, COLOUR);
            assert!(picture.pixels().all(|pixel| *pixel == GREY));
        }
    }

    #[test]
    fn masks_are_mixed_and_outlined_and_cut_off() {
        let size = SizePx {
            width: 5,
            height: 5,
        };
        let mask = InstanceMask::new(4, 2, size, vec![true; 25]).expect("fits");
        let drawn = |edges| {
            let mut picture = RgbImage::from_pixel(8, 6, GREY);
            draw_instance_mut(&mut picture, &mask, COLOUR, 0.5, edges);
            picture
        };
        assert_eq!(drawn(false).get_pixel(4, 2), &Rgb([150, 50, 50]));
        assert_eq!(drawn(false).get_pixel(3, 2), &GREY);
        assert_eq!(drawn(true).get_pixel(4, 2), &Rgb(COLOUR));
        assert_eq!(drawn(true).get_pixel(6, 4), &Rgb([150, 50, 50]));
    }
}
