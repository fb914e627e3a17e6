//! TextRenderer on a plate.

use std::collections::HashMap;

use ab_glyph::FontRef;
use image::{GrayImage, Luma, Rgb, RgbImage};
use imageproc::drawing::{draw_filled_rect_mut, draw_text_mut, text_size};
use imageproc::rect::Rect;

use super::palette::ink_on;

const FONT: &[u8] = include_bytes!("../../assets/font.ttf");

/// Cached rasters; scores make many texts, and each is used for a while.
const MAX_CACHED: usize = 512;

/// Draws text; caches rasters, since labels are drawn repeatedly.
pub struct TextRenderer {
    font: FontRef<'static>,
    rasters: HashMap<(String, u32), GrayImage>,
}

impl Default for TextRenderer {
    fn default() -> Self {
        Self {
            font: FontRef::try_from_slice(FONT).expect("the font that is built in is whole"),
            rasters: HashMap::new(),
        }
    }
}

impl TextRenderer {
    /// Columns and rows of the plate of `text` in letters of `height_px`.
    pub fn plate_size(&mut self, text: &str, height_px: u32) -> (u32, u32) {
        self.raster(text, height_px).dimensions()
    }

    /// Draws `text` on a plate of `plate` colour whose upper left corner is at `(x, y)`, in black
    /// or white. A dark outline parts it from other plates and from the picture. What lies outside
    /// the picture is cut off.
    pub fn draw_plate_mut(
        &mut self,
        picture: &mut RgbImage,
        text: &str,
        height_px: u32,
        (x, y): (i32, i32),
        plate: [u8; 3],
    ) {
        let ink = ink_on(plate);
        let raster = self.raster(text, height_px);
        let (width, height) = raster.dimensions();
        let outer = Rect::at(x, y).of_size(width, height);
        let inner = Rect::at(x + 1, y + 1).of_size(width - 2, height - 2);
        draw_filled_rect_mut(picture, outer, Rgb([0; 3]));
        draw_filled_rect_mut(picture, inner, Rgb(plate));
        blend_mut(picture, raster, (x, y), ink);
    }

    /// Draws `text` without a plate, where [`draw_plate_mut`](Self::draw_plate_mut) would draw its
    /// letters. What lies outside the picture is cut off.
    pub fn draw_text_mut(
        &mut self,
        picture: &mut RgbImage,
        text: &str,
        height_px: u32,
        at: (i32, i32),
        ink: [u8; 3],
    ) {
        blend_mut(picture, self.raster(text, height_px), at, ink);
    }

    /// Coverage of each pixel of the plate, its outline included; at least 3 on a side.
    fn raster(&mut self, text: &str, height_px: u32) -> &GrayImage {
        if self.rasters.len() >= MAX_CACHED {
            self.rasters.clear();
        }
        let font = &self.font;
        self.rasters
            .entry((text.to_owned(), height_px))
            .or_insert_with(|| {
                let margin = (height_px / 5).max(1) + 1;
                let (width, _) = text_size(height_px as f32, font, text);
                let mut raster = GrayImage::new(width + 2 * margin, height_px + margin);
                let at = (margin as i32, margin as i32 / 2);
                draw_text_mut(
                    &mut raster,
                    Luma([255]),
                    at.0,
                    at.1,
                    height_px as f32,
                    font,
                    text,
                );
                raster
            })
    }
}

/// Puts `ink` on the picture where `coverage` says, from `(x, y)` on.
fn blend_mut(picture: &mut RgbImage, coverage: &GrayImage, (x, y): (i32, i32), ink: [u8; 3]) {
    for (column, row, &Luma([coverage])) in coverage.enumerate_pixels() {
        let (Ok(at_x), Ok(at_y)) = (
            u32::try_from(x + column as i32),
            u32::try_from(y + row as i32),
        ) else {
            continue;
        };
        if coverage > 0
            && let Some(pixel) = picture.get_pixel_mut_checked(at_x, at_y)
        {
            let share = u32::from(coverage);
            for (channel, ink) in pixel.0.iter_mut().zip(ink) {
                let mixed = u32::from(*channel) * (255 - share) + u32::from(ink) * share;
                *channel = (mixed / 255) as u8;
            }
        }
    }
}
