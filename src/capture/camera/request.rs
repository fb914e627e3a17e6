//! Parameters for opening a camera.

use std::time::Duration;

/// Device and requested mode of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraRequest {
    /// Path of the device node, or its number.
    pub device: String,
    /// Requested width in pixels.
    pub width_px: u32,
    /// Requested height in pixels.
    pub height_px: u32,
    /// Requested frames per second.
    pub fps: u32,
    /// Stall timeout: without a frame for so long, the camera has failed.
    pub stall: Duration,
}

#[cfg(test)]
impl CameraRequest {
    /// A request for tests.
    pub fn any() -> Self {
        Self {
            device: "/dev/video0".to_owned(),
            width_px: 640,
            height_px: 480,
            fps: 30,
            stall: Duration::from_secs(5),
        }
    }
}
