//! Sources: where frames come from.
//!
//! A [`Source`] gives one frame at a time, in presentation order, with its media time, in the
//! pixel format that its decoder or camera has. It knows neither threads nor pace: when a frame is
//! due, and what happens when nobody is ready for it, is decided by the flow.

mod avi;
mod camera;
mod ffmpeg;
mod images;
mod reconnect;
mod rtsp;
mod source;
mod video;
mod y4m;

pub use avi::{AviSource, is_mjpeg_avi};
pub use camera::{
    CameraInfo, CameraMode, CameraReopener, CameraRequest, CameraSource, list_cameras,
};
pub use ffmpeg::{FfmpegInput, FfmpegSource};
pub use images::ImagesSource;
pub use reconnect::{Opener, Reconnecting};
pub use rtsp::{RtspRequest, RtspSource};
pub use source::{CaptureError, Captured, Source, SourceInfo, credentials_of};
pub use video::VideoSource;
pub use y4m::Y4mSource;
