//! Stands for the window in a build without the feature `window`, where none can be opened.

use std::sync::Arc;

use image::RgbImage;

/// Why there is no window.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// The feature was left out of this build.
    #[error("this build has no window (feature `window`)")]
    NotBuilt,
}

/// A window. There is none in this build.
pub enum DisplayWindow {}

impl DisplayWindow {
    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub fn open(_title: &str, _width: usize, _height: usize) -> Result<Self, WindowError> {
        Err(WindowError::NotBuilt)
    }

    /// Never called: there is no window.
    ///
    /// # Errors
    /// Never.
    pub fn show(&mut self, _picture: &Arc<RgbImage>, _status: &str) -> Result<(), WindowError> {
        match *self {}
    }

    /// Never called: there is no window.
    ///
    /// # Errors
    /// Never.
    pub fn poll(&mut self) -> Result<(), WindowError> {
        match *self {}
    }

    /// Never called: there is no window.
    pub fn is_open(&self) -> bool {
        match *self {}
    }
}
