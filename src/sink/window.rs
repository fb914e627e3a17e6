//! A window with the live picture.

use image::RgbImage;
use minifb::{Key, KeyRepeat, ScaleMode, WindowOptions};

use crate::overlay::Text;

/// Letters of the status line.
const STATUS_PX: u32 = 16;
const STATUS_PLATE: [u8; 3] = [32, 32, 32];

/// Why there is no window.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// Nothing to open it on.
    #[error("no display ({0})")]
    NoDisplay(String),
    /// The display was lost.
    #[error("the display was lost: {0}")]
    Lost(String),
}

/// A window that shows pictures at the size that the user gives it.
pub struct Window {
    window: minifb::Window,
    /// The last picture, to be shown again at another size.
    picture: Option<RgbImage>,
    status: String,
    scaled: RgbImage,
    pixels: Vec<u32>,
    text: Text,
}

impl Window {
    /// Opens a window of `width` x `height`.
    ///
    /// # Errors
    /// When there is no display.
    pub fn open(title: &str, width: usize, height: usize) -> Result<Self, WindowError> {
        if cfg!(target_os = "linux") && std::env::var_os("DISPLAY").is_none_or(|d| d.is_empty()) {
            return Err(WindowError::NoDisplay("DISPLAY is not set".to_owned()));
        }
        let options = WindowOptions {
            resize: true,
            scale_mode: ScaleMode::UpperLeft,
            ..WindowOptions::default()
        };
        let mut window = minifb::Window::new(title, width, height, options)
            .map_err(|e| WindowError::NoDisplay(e.to_string()))?;
        // The pipeline gives the pace, not the window.
        window.set_target_fps(0);
        Ok(Self {
            window,
            picture: None,
            status: String::new(),
            scaled: RgbImage::new(1, 1),
            pixels: Vec::new(),
            text: Text::default(),
        })
    }

    /// Shows a picture with a line of text in its corner.
    ///
    /// # Errors
    /// When the display was lost.
    pub fn show(&mut self, picture: &RgbImage, status: &str) -> Result<(), WindowError> {
        self.picture = Some(picture.clone());
        status.clone_into(&mut self.status);
        self.present()
    }

    /// Keeps the window alive while no picture comes.
    ///
    /// # Errors
    /// When the display was lost.
    pub fn poll(&mut self) -> Result<(), WindowError> {
        let (width, height) = self.window.get_size();
        if self.picture.is_some() && self.scaled.dimensions() != (width as u32, height as u32) {
            return self.present();
        }
        self.window.update();
        Ok(())
    }

    /// False once the user closed it, or pressed Esc or Q in it.
    pub fn is_open(&self) -> bool {
        let left = [Key::Escape, Key::Q].iter().any(|key| {
            self.window.is_key_down(*key) || self.window.is_key_pressed(*key, KeyRepeat::No)
        });
        self.window.is_open() && !left
    }

    fn present(&mut self) -> Result<(), WindowError> {
        let Some(picture) = &self.picture else {
            return Ok(());
        };
        let (width, height) = self.window.get_size();
        let (width, height) = (width.max(1) as u32, height.max(1) as u32);
        if self.scaled.dimensions() != (width, height) {
            self.scaled = RgbImage::new(width, height);
        }
        fit_into(picture, &mut self.scaled);
        if !self.status.is_empty() {
            self.text.draw_plate_mut(
                &mut self.scaled,
                &self.status,
                STATUS_PX,
                (0, 0),
                STATUS_PLATE,
            );
        }
        self.pixels.clear();
        self.pixels.extend(
            self.scaled
                .as_raw()
                .as_chunks::<3>()
                .0
                .iter()
                .map(|&[r, g, b]| u32::from_be_bytes([0, r, g, b])),
        );
        self.window
            .update_with_buffer(&self.pixels, width as usize, height as usize)
            .map_err(|e| WindowError::Lost(e.to_string()))
    }
}

/// Scales `picture` into the middle of `out`, its shape kept; black around it.
fn fit_into(picture: &RgbImage, out: &mut RgbImage) {
    let (from_w, from_h) = picture.dimensions();
    let (out_w, out_h) = out.dimensions();
    if (from_w, from_h) == (out_w, out_h) {
        out.copy_from_slice(picture);
        return;
    }
    let scale = (f64::from(out_w) / f64::from(from_w)).min(f64::from(out_h) / f64::from(from_h));
    let side = |from: u32, limit: u32| ((f64::from(from) * scale).round() as u32).clamp(1, limit);
    let (w, h) = (side(from_w, out_w), side(from_h, out_h));
    let (left, top) = ((out_w - w) / 2, (out_h - h) / 2);
    let columns = taps(from_w, w);
    let rows = taps(from_h, h);
    let source = picture.as_raw().as_chunks::<3>().0;
    let row_of = |y: usize| &source[y * from_w as usize..][..from_w as usize];
    let pixels = out.as_flat_samples_mut().samples.as_chunks_mut::<3>().0;
    pixels.fill([0; 3]);
    for (y, &(y0, y1, fy)) in rows.iter().enumerate() {
        let (upper, lower) = (row_of(y0), row_of(y1));
        let start = (top as usize + y) * out_w as usize + left as usize;
        for (pixel, &(x0, x1, fx)) in pixels[start..].iter_mut().zip(&columns) {
            let (a, b, c, d) = (upper[x0], upper[x1], lower[x0], lower[x1]);
            for i in 0..3 {
                let mix = |p: u8, q: u8| u32::from(p) * (256 - fx) + u32::from(q) * fx;
                pixel[i] = ((mix(a[i], b[i]) * (256 - fy) + mix(c[i], d[i]) * fy) >> 16) as u8;
            }
        }
    }
}

/// Of each output sample: two neighbours (half-pixel centres) and the share of the second of 256.
fn taps(inputs: u32, outputs: u32) -> Vec<(usize, usize, u32)> {
    let scale = f64::from(inputs) / f64::from(outputs);
    (0..outputs)
        .map(|i| {
            let at = ((f64::from(i) + 0.5) * scale - 0.5).clamp(0.0, f64::from(inputs - 1));
            let low = at.floor() as usize;
            let high = (low + 1).min(inputs as usize - 1);
            (low, high, ((at - at.floor()) * 256.0) as u32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn a_wide_picture_gets_black_above_and_below() {
        let picture = RgbImage::from_pixel(40, 10, Rgb([9, 8, 7]));
        let mut out = RgbImage::from_pixel(20, 20, Rgb([1, 1, 1]));
        fit_into(&picture, &mut out);
        assert_eq!(out.get_pixel(10, 0), &Rgb([0, 0, 0]));
        assert_eq!(out.get_pixel(0, 10), &Rgb([9, 8, 7]));
        assert_eq!(out.get_pixel(19, 10), &Rgb([9, 8, 7]));
    }

    #[test]
    fn any_size_fits_any_other() {
        for (a, b) in [((1, 1), (7, 3)), ((3, 2000), (10, 10)), ((5, 5), (1, 1))] {
            let mut out = RgbImage::new(b.0, b.1);
            fit_into(&RgbImage::new(a.0, a.1), &mut out);
        }
    }
}
