//! Which cameras there are, and what they can do.

/// One camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraInfo {
    /// What to write into the pipeline's `device`, or `index` where it is a number.
    pub device: String,
    /// The maker's name for it; where it may not be opened, why.
    pub name: String,
    /// What it can do.
    pub modes: Vec<CameraMode>,
}

/// One thing that a camera can do.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraMode {
    /// Four letters that name the pixel format.
    pub fourcc: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames a second.
    pub fps: f64,
}

#[cfg(target_os = "linux")]
pub use super::v4l2::list_cameras;

/// All cameras; their modes are known only once they are opened.
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
