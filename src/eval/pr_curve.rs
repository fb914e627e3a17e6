//! A plot of precision over recall.

use image::{Rgb, RgbImage, imageops};
use imageproc::drawing::{draw_antialiased_line_segment_mut, draw_filled_rect_mut};
use imageproc::pixelops::interpolate;
use imageproc::rect::Rect;

use super::size_metrics::RECALL_LEVELS;
use crate::overlay::TextRenderer;

const WIDTH: u32 = 820;
const HEIGHT: u32 = 660;
/// The corners of the plot itself: recall 0 and precision 1, recall 1 and precision 0.
const LEFT: f32 = 84.0;
const TOP: f32 = 92.0;
const RIGHT: f32 = 790.0;
const BOTTOM: f32 = 584.0;
const TEXT_PX: u32 = 18;
const TITLE_PX: u32 = 22;
const INK: [u8; 3] = [30, 30, 34];
const GRID: [u8; 3] = [222, 222, 226];
/// Colours that stay apart for most eyes, also in print (Okabe and Ito).
const COLOURS: [[u8; 3]; 4] = [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167]];

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct PrCurve {
    /// Its name in the legend.
    pub name: String,
    /// Precision, 0 to 1, at a recall of 0, .01, .02, ... 1.
    pub precision: [f64; RECALL_LEVELS],
}

/// Draws the curves with axes, a grid, a title and a legend.
pub fn draw_pr_curves(title: &str, curves: &[PrCurve]) -> RgbImage {
    let mut picture = RgbImage::from_pixel(WIDTH, HEIGHT, Rgb([255; 3]));
    let mut text = TextRenderer::default();
    draw_axes_mut(&mut picture, &mut text);
    let middle = |text: &mut TextRenderer, words: &str, px: u32| {
        let (width, _) = text.plate_size(words, px);
        ((LEFT + RIGHT) / 2.0) as i32 - width as i32 / 2
    };
    let x = middle(&mut text, title, TITLE_PX);
    text.draw_text_mut(&mut picture, title, TITLE_PX, (x, 14), INK);
    let x = middle(&mut text, "Recall", TEXT_PX);
    text.draw_text_mut(&mut picture, "Recall", TEXT_PX, (x, 620), INK);
    draw_upwards_mut(&mut picture, &mut text, "Precision");
    let mut x = LEFT as i32;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        for (level, pair) in curve.precision.windows(2).enumerate() {
            let (from, to) = (point(level, pair[0]), point(level + 1, pair[1]));
            draw_thick_line_mut(&mut picture, from, to, *colour);
        }
        let swatch = Rect::at(x, 60).of_size(26, 5);
        draw_filled_rect_mut(&mut picture, swatch, Rgb(*colour));
        text.draw_text_mut(&mut picture, &curve.name, TEXT_PX, (x + 28, 50), INK);
        x += text.plate_size(&curve.name, TEXT_PX).0 as i32 + 44;
    }
    picture
}

/// Frame, grid and numbers.
fn draw_axes_mut(picture: &mut RgbImage, text: &mut TextRenderer) {
    for tenth in 0..=10_u8 {
        let share = f32::from(tenth) / 10.0;
        let (x, y) = (at_recall(share), at_precision(share));
        let colour = Rgb(if tenth == 0 { INK } else { GRID });
        for (from, to) in [((x, TOP), (x, BOTTOM)), ((LEFT, y), (RIGHT, y))] {
            let [from, to] = [from, to].map(|(x, y)| (x as i32, y as i32));
            draw_antialiased_line_segment_mut(picture, from, to, colour, interpolate);
        }
        if tenth % 2 == 0 {
            let number = format!("{share:.1}");
            let (width, height) = text.plate_size(&number, TEXT_PX);
            let (width, height) = (width as i32, height as i32);
            let below = (x as i32 - width / 2, BOTTOM as i32 + 6);
            text.draw_text_mut(picture, &number, TEXT_PX, below, INK);
            let beside = (LEFT as i32 - width - 4, y as i32 - height / 2);
            text.draw_text_mut(picture, &number, TEXT_PX, beside, INK);
        }
    }
    // The axes again, over the ends of the grid.
    for (from, to) in [
        ((LEFT, TOP), (LEFT, BOTTOM)),
        ((LEFT, BOTTOM), (RIGHT, BOTTOM)),
    ] {
        draw_thick_line_mut(picture, from, to, INK);
    }
}

/// The vertical axis's name, read from below.
fn draw_upwards_mut(picture: &mut RgbImage, text: &mut TextRenderer, words: &str) {
    let (width, height) = text.plate_size(words, TEXT_PX);
    let mut level = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    text.draw_text_mut(&mut level, words, TEXT_PX, (0, 0), INK);
    let upright = imageops::rotate270(&level);
    let y = i64::from(((TOP + BOTTOM) / 2.0) as i32 - width as i32 / 2);
    imageops::replace(picture, &upright, 8, y);
}

fn at_recall(recall: f32) -> f32 {
    LEFT + recall * (RIGHT - LEFT)
}

fn at_precision(precision: f32) -> f32 {
    BOTTOM - precision * (BOTTOM - TOP)
}

/// Where a curve is at a recall level.
fn point(level: usize, precision: f64) -> (f32, f32) {
    let recall = level as f32 / (RECALL_LEVELS - 1) as f32;
    (at_recall(recall), at_precision(precision as f32))
}

/// A line of two pixels.
fn draw_thick_line_mut(picture: &mut RgbImage, from: (f32, f32), to: (f32, f32), colour: [u8; 3]) {
    for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let [from, to] = [from, to].map(|(x, y)| (x.round() as i32 + dx, y.round() as i32 + dy));
        draw_antialiased_line_segment_mut(picture, from, to, Rgb(colour), interpolate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_where_its_numbers_are() {
        let mut precision = [0.0; RECALL_LEVELS];
        precision[..51].fill(1.0);
        let curve = PrCurve {
            name: "IoU .50".to_owned(),
            precision,
        };
        let picture = draw_pr_curves("Precision over recall", &[curve]);
        let colour_at = |level, precision| {
            let (x, y) = point(level, precision);
            picture.get_pixel(x.round() as u32, y.round() as u32).0
        };
        assert_eq!(colour_at(25, 1.0), COLOURS[0]);
        assert_eq!(colour_at(75, 0.0), COLOURS[0]);
        assert_ne!(colour_at(75, 1.0), COLOURS[0]);
        assert_ne!(colour_at(25, 0.5), COLOURS[0]);
    }
}
