//! Cameras of this machine, from the configuration.

use std::sync::Arc;
use std::time::Duration;

use super::{OpenOptions, connect};
use crate::capture::{CameraReopener, CameraRequest, CaptureError, Opener, Source};
use crate::config::CameraConfig;

/// Opens a camera.
///
/// # Errors
/// When it cannot be opened, and is not waited for.
pub fn open(
    config: &CameraConfig,
    options: &mut OpenOptions<'_>,
) -> Result<Box<dyn Source>, CaptureError> {
    let reopener = Arc::new(CameraReopener::new(camera_request(config)));
    let name = reopener.name().to_owned();
    let open: Opener = Arc::new(move |_| Ok(Box::new(reopener.open()?)));
    connect(config.reconnect, ("camera", &name), open, options)
}

fn camera_request(config: &CameraConfig) -> CameraRequest {
    CameraRequest {
        device: config.device_path(),
        width_px: config.width_px,
        height_px: config.height_px,
        fps: config.fps,
        stall: Duration::from_millis(config.stall_ms),
    }
}
