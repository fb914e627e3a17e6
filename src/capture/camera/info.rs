//! What is known about a connected camera: its modes and its identity.

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

/// Identifies a camera by its name and its bus address (port).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraIdentity {
    /// Name by the driver (V4L2 `card`).
    pub card: String,
    /// Bus address (V4L2 `bus_info`).
    pub bus: String,
}
