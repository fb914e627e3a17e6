//! Lists the connected cameras.

#[cfg(not(target_os = "linux"))]
use super::info::CameraInfo;

#[cfg(target_os = "linux")]
pub use super::v4l2::list_cameras;

/// All cameras; without their modes, which are known only once a camera is opened.
#[cfg(not(target_os = "linux"))]
pub fn list_cameras() -> Vec<CameraInfo> {
    nokhwa::query(nokhwa::utils::ApiBackend::Auto)
        .unwrap_or_default()
        .into_iter()
        .map(|camera| CameraInfo {
            device: camera.index().as_string(),
            name: camera.human_name(),
            modes: Vec::new(),
        })
        .collect()
}
