//! What is wanted of a camera.

use std::time::Duration;

/// Which camera, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraRequest {
    /// Path of the device's node, or its number.
    pub device: String,
    /// Wanted columns.
    pub width_px: u32,
    /// Wanted rows.
    pub height_px: u32,
    /// Wanted frames a second.
    pub fps: u32,
    /// A camera that gives no frame for so long has failed.
    pub stall: Duration,
}

impl Default for CameraRequest {
    fn default() -> Self {
        Self {
            device: "/dev/video0".to_owned(),
            width_px: 640,
            height_px: 480,
            fps: 30,
            stall: Duration::from_secs(5),
        }
    }
}
