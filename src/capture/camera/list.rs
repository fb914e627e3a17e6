//! Lists the connected cameras and their modes.

/// One camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraInfo {
    /// Device path: value of `device` in the pipeline, or of `index` where it is a number.
    pub device: String,
    /// Name by the driver; for a device that cannot be opened, with the reason.
    pub name: String,
    /// Supported modes.
    pub modes: Vec<CameraMode>,
}

/// A mode of a camera: pixel format, size and frame rate.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraMode {
    /// Pixel format (FourCC).
    pub fourcc: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames per second.
    pub fps: f64,
}

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
