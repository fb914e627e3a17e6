//! Lines of text in the upper left corner: shares of segmented classes, classes of the whole picture.

use image::RgbImage;

use super::text::TextRenderer;

/// Draws `lines` of text one below the other in letters of `height_px`, each on a plate of its colour. Those
/// for which there is no room are left out.
pub(super) fn draw_legend_mut(
    picture: &mut RgbImage,
    text: &mut TextRenderer,
    lines: impl Iterator<Item = (String, [u8; 3])>,
    height_px: u32,
) {
    let mut y = 4;
    for (line, colour) in lines {
        let (_, height) = text.plate_size(&line, height_px);
        if y + height as i32 > picture.height() as i32 {
            break;
        }
        text.draw_plate_mut(picture, &line, height_px, (4, y), colour);
        y += height as i32 - 1;
    }
}
