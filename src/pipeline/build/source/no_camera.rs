//! Stands for cameras of this machine in a build without the feature `camera`.

use super::OpenOptions;
use crate::capture::{CaptureError, Source};
use crate::config::CameraConfig;

/// Fails.
///
/// # Errors
/// Always: the feature was left out of this build.
pub fn open(
    config: &CameraConfig,
    _options: &mut OpenOptions<'_>,
) -> Result<Box<dyn Source>, CaptureError> {
    Err(CaptureError::Device {
        device: config.device_path().to_owned(),
        why: "this build has no support for it (feature `camera`)".to_owned(),
    })
}
