//! Capture: the sources of frames (V4L2 cameras, RTSP, video files, pictures, ffmpeg).
//!
//! A [`Source`] returns one frame at a time, in presentation order, with its presentation time, in the
//! pixel format of its decoder or camera. Pacing (realtime playback) and dropping frames that are not
//! read in time are left to the capture stage of the pipeline.

mod avi;
#[cfg(feature = "camera")]
mod camera;
mod ffmpeg;
mod ffmpeg_command;
mod images;
mod open_thread;
mod reconnect;
#[cfg(feature = "rtsp")]
mod rtsp;
mod source;
mod spawn;
mod video;
mod y4m;

pub use avi::{AviSource, is_mjpeg_avi};
#[cfg(feature = "camera")]
pub use camera::{
    CameraInfo, CameraMode, CameraReopener, CameraRequest, CameraSource, list_cameras,
};
pub use ffmpeg::{FfmpegInput, FfmpegSource};
pub use images::ImagesSource;
pub use open_thread::{Attempt, OpenThread, Opener};
pub use reconnect::{ReconnectPolicy, Reconnecting};
#[cfg(feature = "rtsp")]
pub use rtsp::{RtspRequest, RtspSource};
pub use source::{CaptureError, Captured, Source, SourceInfo, credentials_of};
pub use video::VideoSource;
pub use y4m::Y4mSource;
