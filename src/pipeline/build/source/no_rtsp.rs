//! Stands for network cameras in a build without the feature `rtsp`.

use super::OpenOptions;
use crate::capture::{CaptureError, Source};
use crate::config::RtspConfig;

/// Fails.
///
/// # Errors
/// Always: the feature was left out of this build.
pub fn open(
    _config: &RtspConfig,
    _options: &mut OpenOptions<'_>,
) -> Result<Box<dyn Source>, CaptureError> {
    Err(CaptureError::Device {
        device: "rtsp".to_owned(),
        why: "this build has no support for it (feature `rtsp`)".to_owned(),
    })
}
