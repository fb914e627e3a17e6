//! A window with the live picture.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::RgbImage;
use minifb::{InputCallback, Key, ScaleMode, WindowOptions};

use super::scale::Scaler;
use crate::overlay::TextRenderer;

/// Letters of the status line.
const STATUS_PX: u32 = 16;
const STATUS_PLATE: [u8; 3] = [32, 32, 32];

/// The largest side of a window that is asked for; the screen has its own say.
const MAX_SIDE_PX: usize = 16_384;
/// More of a title than any title bar shows; longer ones are refused below.
const MAX_TITLE_CHARS: usize = 120;

/// A picture that stays is drawn again this often, since whatever covered the window took it away.
const REDRAW: Duration = Duration::from_millis(250);

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
///
/// It belongs to the thread that opened it. When the X server itself goes away, Xlib ends the whole
/// process with code 1; a library cannot be told otherwise without unsafe code.
pub struct DisplayWindow {
    window: minifb::Window,
    /// The last picture, to be shown again at another size.
    picture: Option<Arc<RgbImage>>,
    status: StatusLine,
    scaler: Scaler,
    /// What was last put on the screen, `0RGB`.
    pixels: Vec<u32>,
    /// Its columns and rows, and when that was.
    shown: Option<((usize, usize), Instant)>,
    /// Whether Esc or Q was pressed.
    left: Rc<Cell<bool>>,
}

impl DisplayWindow {
    /// Opens a window of `width` x `height`.
    ///
    /// # Errors
    /// When there is no display.
    pub fn open(title: &str, width: usize, height: usize) -> Result<Self, WindowError> {
        let display = std::env::var_os("DISPLAY").unwrap_or_default();
        if cfg!(target_os = "linux") && display.is_empty() {
            return Err(WindowError::NoDisplay("DISPLAY is not set".to_owned()));
        }
        let options = WindowOptions {
            resize: true,
            scale_mode: ScaleMode::UpperLeft,
            ..WindowOptions::default()
        };
        let title: String = title
            .chars()
            .filter(|c| *c != '\0')
            .take(MAX_TITLE_CHARS)
            .collect();
        let side = |length: usize| length.clamp(1, MAX_SIDE_PX);
        let mut window =
            minifb::Window::new(&title, side(width), side(height), options).map_err(|e| {
                WindowError::NoDisplay(format!("{e}, DISPLAY is {}", display.display()))
            })?;
        // The pipeline gives the pace, not the window.
        window.set_target_fps(0);
        let left = Rc::new(Cell::new(false));
        window.set_input_callback(Box::new(QuitKeys(Rc::clone(&left))));
        Ok(Self {
            window,
            picture: None,
            status: StatusLine::default(),
            scaler: Scaler::default(),
            pixels: Vec::new(),
            shown: None,
            left,
        })
    }

    /// Shows a picture with a line of text in its corner, none where `status` is empty.
    ///
    /// # Errors
    /// When the display was lost.
    pub fn show(&mut self, picture: &Arc<RgbImage>, status: &str) -> Result<(), WindowError> {
        self.picture = Some(Arc::clone(picture));
        self.status.set(status);
        self.present()
    }

    /// Keeps the window alive while no picture comes.
    ///
    /// # Errors
    /// When the display was lost.
    pub fn poll(&mut self) -> Result<(), WindowError> {
        let stale = self
            .shown
            .is_none_or(|(size, at)| size != self.window.get_size() || at.elapsed() >= REDRAW);
        if stale && self.picture.is_some() {
            return self.present();
        }
        self.window.update();
        Ok(())
    }

    /// False once the user closed it, or pressed Esc or Q in it.
    pub fn is_open(&self) -> bool {
        self.window.is_open() && !self.left.get()
    }

    fn present(&mut self) -> Result<(), WindowError> {
        let Some(picture) = &self.picture else {
            return Ok(());
        };
        let size = self.window.get_size();
        self.scaler.scale(picture, size, &mut self.pixels);
        self.status.copy_to(size, &mut self.pixels);
        self.shown = Some((size, Instant::now()));
        if self.pixels.is_empty() {
            self.window.update();
            return Ok(());
        }
        self.window
            .update_with_buffer(&self.pixels, size.0, size.1)
            .map_err(|e| WindowError::Lost(e.to_string()))
    }
}

/// Remembers the keys that leave. Asking for keys that are down misses one that was pressed and
/// released between two looks.
struct QuitKeys(Rc<Cell<bool>>);

impl InputCallback for QuitKeys {
    fn add_char(&mut self, _: u32) {}

    fn set_key_state(&mut self, key: Key, down: bool) {
        if down && matches!(key, Key::Escape | Key::Q) {
            self.0.set(true);
        }
    }
}

/// A line of text, drawn when it changes.
#[derive(Default)]
struct StatusLine {
    words: String,
    text: TextRenderer,
    plate: RgbImage,
}

impl StatusLine {
    fn set(&mut self, words: &str) {
        if self.words == words {
            return;
        }
        words.clone_into(&mut self.words);
        self.plate = RgbImage::default();
        if !words.is_empty() {
            let (width, height) = self.text.plate_size(words, STATUS_PX);
            self.plate = RgbImage::new(width, height);
            let (plate, at) = (&mut self.plate, (0, 0));
            self.text
                .draw_plate_mut(plate, words, STATUS_PX, at, STATUS_PLATE);
        }
    }

    /// Copies the plate to the upper left corner of `pixels`, as far as it fits.
    fn copy_to(&self, (width, _): (usize, usize), pixels: &mut [u32]) {
        if width == 0 || self.plate.width() == 0 {
            return;
        }
        let (plate, _) = self.plate.as_raw().as_chunks::<3>();
        let rows = plate.chunks_exact(self.plate.width() as usize);
        for (out, row) in pixels.chunks_exact_mut(width).zip(rows) {
            for (pixel, &[r, g, b]) in out.iter_mut().zip(row) {
                *pixel = u32::from_be_bytes([0, r, g, b]);
            }
        }
    }
}
