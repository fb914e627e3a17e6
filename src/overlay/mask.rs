//! Segmentation overlay: class colours, outlines, safe landing area.

use image::{Rgb, RgbImage};
use imageproc::drawing::{draw_cross_mut, draw_hollow_circle_mut};

use crate::postprocess::{ClassMask, SafeGround};

/// All of a blend, as a whole number, so that it is one multiplication and a shift.
const WHOLE: u16 = 256;
/// Pixels that are blended at a time.
const RUN: usize = 16;

/// The colour of each class; nothing is drawn where there is none.
pub type ClassColours = [Option<[u8; 3]>; 256];

/// The palette of Pascal VOC's masks: the bits of the class number, spread over the channels.
pub fn voc_colour(class: u8) -> [u8; 3] {
    let bits = |first: u8| {
        (0..3_u8).fold(0, |colour, step| {
            colour
                | ((class >> (3 * step + first).min(7) & u8::from(3 * step + first < 8))
                    << (7 - step))
        })
    };
    [bits(0), bits(1), bits(2)]
}

/// Lays each class's colour over its pixels, `alpha` of it, and draws lines where classes meet.
pub(super) fn draw_classes_mut(
    picture: &mut RgbImage,
    mask: &ClassMask,
    colours: &ClassColours,
    alpha: f32,
    edges: bool,
) {
    let size = mask.size();
    if picture.dimensions() != (size.width, size.height) {
        return;
    }
    let weight = (alpha.clamp(0.0, 1.0) * f32::from(WHOLE)).round() as u16;
    let stride = size.width as usize * 3;
    let rows = picture
        .as_flat_samples_mut()
        .samples
        .chunks_exact_mut(stride.max(3));
    for (y, (pixels, classes)) in rows.zip(mask.rows()).enumerate() {
        let mut x = 0;
        while x < classes.len() {
            let class = classes[x];
            let run = run_len(&classes[x..]);
            if let Some(colour) = colours[usize::from(class)] {
                blend(&mut pixels[3 * x..][..3 * run], colour, weight);
            }
            x += run;
            // A line on both sides of the border.
            if edges && x < classes.len() {
                for (at, class) in [(x - 1, class), (x, classes[x])] {
                    mark(&mut pixels[3 * at..][..3], colours[usize::from(class)]);
                }
            }
        }
        if edges && y > 0 {
            let above = mask.row(y - 1);
            for (chunk, (a, b)) in above.chunks(32).zip(classes.chunks(32)).enumerate() {
                if a == b {
                    continue;
                }
                for (i, (a, b)) in a.iter().zip(b).enumerate() {
                    if a != b {
                        let at = 3 * (chunk * 32 + i);
                        mark(
                            &mut pixels[at..][..3],
                            colours[usize::from(*b)].or(colours[usize::from(*a)]),
                        );
                    }
                }
            }
        }
    }
}

/// How many of the first classes are alike.
fn run_len(classes: &[u8]) -> usize {
    let first = classes[0];
    let (chunks, _) = classes.as_chunks::<32>();
    let whole = chunks.iter().take_while(|chunk| **chunk == [first; 32]);
    let whole = 32 * whole.count();
    let rest = classes[whole..].iter().take_while(|class| **class == first);
    whole + rest.count()
}

fn mark(pixel: &mut [u8], colour: Option<[u8; 3]>) {
    if let Some(colour) = colour {
        pixel.copy_from_slice(&colour);
    }
}

fn blend(pixels: &mut [u8], colour: [u8; 3], weight: u16) {
    let mut laid = [0_u16; 3 * RUN];
    for (i, value) in laid.iter_mut().enumerate() {
        *value = u16::from(colour[i % 3]) * weight;
    }
    let rest = WHOLE - weight;
    for part in pixels.chunks_mut(3 * RUN) {
        for (pixel, laid) in part.iter_mut().zip(&laid) {
            // At most 255 * 256: nothing wraps.
            *pixel = (u16::from(*pixel).wrapping_mul(rest).wrapping_add(*laid) >> 8) as u8;
        }
    }
}

/// A double ring around free ground, and a cross in its middle.
pub(super) fn draw_safe_ground_mut(picture: &mut RgbImage, ground: &SafeGround, line: u32) {
    let center = (ground.x as i32, ground.y as i32);
    for ring in 0..=line as i32 {
        let colour = if ring == 0 || ring == line as i32 {
            [0, 0, 0]
        } else {
            [60, 220, 90]
        };
        let radius = ground.radius_px as i32 - ring;
        if radius > 0 {
            draw_hollow_circle_mut(picture, center, radius, Rgb(colour));
        }
    }
    draw_cross_mut(picture, Rgb([60, 220, 90]), center.0, center.1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use mobilens_image::SizePx;

    #[test]
    fn the_palette_is_vocs() {
        let expected = [
            [0, 0, 0],
            [128, 0, 0],
            [0, 128, 0],
            [128, 128, 0],
            [0, 0, 128],
        ];
        for (class, colour) in expected.into_iter().enumerate() {
            assert_eq!(voc_colour(class as u8), colour);
        }
        assert_eq!(voc_colour(8), [64, 0, 0]);
        assert_eq!(voc_colour(15), [192, 128, 128]);
        assert_eq!(voc_colour(20), [0, 64, 128]);
        assert_eq!(voc_colour(255), [224, 224, 192]);
    }

    #[test]
    fn colours_are_mixed_and_borders_drawn() {
        let mut classes = vec![0; 40 * 3];
        classes[40 + 20..80].fill(7);
        let mask = ClassMask::new(
            SizePx {
                width: 40,
                height: 3,
            },
            classes,
        )
        .expect("fits");
        let mut colours = [None; 256];
        colours[7] = Some([200, 100, 0]);
        let mut picture = RgbImage::from_pixel(40, 3, Rgb([100, 100, 100]));
        draw_classes_mut(&mut picture, &mask, &colours, 0.5, false);
        assert_eq!(picture[(19, 1)], Rgb([100, 100, 100]));
        assert_eq!(picture[(20, 1)], Rgb([150, 100, 50]));
        assert_eq!(picture[(39, 1)], Rgb([150, 100, 50]));
        draw_classes_mut(&mut picture, &mask, &colours, 0.0, true);
        assert_eq!(
            picture[(20, 1)],
            Rgb([200, 100, 0]),
            "the area's own side of the line"
        );
        assert_eq!(
            picture[(19, 1)],
            Rgb([100, 100, 100]),
            "background has no colour"
        );
        assert_eq!(picture[(30, 2)], Rgb([200, 100, 0]), "under the area");
    }

    #[test]
    fn odd_sizes_do_not_matter() {
        for (width, height) in [(1, 1), (3, 2000), (2000, 3)] {
            let classes = (0..width * height).map(|i| (i % 3) as u8).collect();
            let mask = ClassMask::new(SizePx { width, height }, classes).expect("fits");
            let mut picture = RgbImage::new(width, height);
            draw_classes_mut(&mut picture, &mask, &[Some([1, 2, 3]); 256], 1.0, true);
            let ground = SafeGround {
                x: 0.5,
                y: 0.5,
                radius_px: 3000.0,
            };
            draw_safe_ground_mut(&mut picture, &ground, 3);
        }
    }
}
