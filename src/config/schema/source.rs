//! `source` and `fallback`: cameras, network streams, videos and images.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::default_of::millis;

/// A source of frames.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SourceConfig {
    /// A camera of this machine (V4L2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<CameraConfig>,
    /// A network camera (RTSP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtsp: Option<RtspConfig>,
    /// A video file or video URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoConfig>,
    /// An image or a directory of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<ImagesConfig>,
}

/// A camera of this machine (V4L2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CameraConfig {
    /// Device number: `/dev/videoN`. Not together with `device`.
    #[schemars(range(max = 255), extend("default" = DEFAULT_CAMERA))]
    pub index: Option<u32>,
    /// Device path, for instance `/dev/video2`. Not together with `index`.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub device: Option<String>,
    /// Requested width; the nearest mode of the camera is used.
    #[schemars(range(min = 16, max = 7680))]
    pub width_px: u32,
    /// Requested height; the nearest mode of the camera is used.
    #[schemars(range(min = 16, max = 4320))]
    pub height_px: u32,
    /// Requested frame rate in frames/s.
    #[schemars(range(min = 1, max = 240))]
    pub fps: u32,
    /// Time without a frame after which the camera counts as lost.
    #[schemars(range(min = 500, max = 600_000))]
    pub stall_ms: u64,
    /// When to wait for the camera and reconnect.
    pub reconnect: ReconnectConfig,
}

/// Device number of a camera that is not named.
const DEFAULT_CAMERA: u32 = 0;

impl CameraConfig {
    /// Path of the device.
    pub fn device_path(&self) -> String {
        match &self.device {
            Some(device) => device.clone(),
            None => format!("/dev/video{}", self.index.unwrap_or(DEFAULT_CAMERA)),
        }
    }
}

impl Default for CameraConfig {
    fn default() -> Self {
        Self {
            index: None,
            device: None,
            width_px: 640,
            height_px: 480,
            fps: 30,
            stall_ms: 5000,
            reconnect: ReconnectConfig::default(),
        }
    }
}

/// When to wait for a camera and reconnect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReconnectConfig {
    /// Like `lost`; but where no window is open or the file has several streams, and there is no
    /// `fallback`, a camera that is missing, busy or unreachable at the start is waited for.
    #[default]
    Auto,
    /// Reconnect, without end, when the camera was connected once and is unplugged, stalls or
    /// disconnects.
    Lost,
    /// Also wait for it at the start, when it is missing or busy.
    Always,
    /// Losing the camera ends the run.
    Never,
}

/// A network camera (RTSP).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RtspConfig {
    /// `rtsp://USER:PASSWORD@HOST/PATH`; `${NAME}` is replaced by that environment variable.
    #[schemars(length(min = 1), extend("x-expected" = "a URL"))]
    pub url: String,
    /// Transport of the RTP packets.
    #[serde(default)]
    pub transport: RtspTransport,
    /// Time without a picture after which the camera counts as lost, whatever it sends; longer than the
    /// distance of its keyframes.
    #[serde(default = "millis::<5000>")]
    #[schemars(range(min = 500, max = 600_000))]
    pub stall_ms: u64,
    /// When to wait for the camera and reconnect.
    #[serde(default)]
    pub reconnect: ReconnectConfig,
    /// Video decoder; the built-in one decodes H.264.
    #[serde(default)]
    pub decoder: DecoderConfig,
    /// Arguments of ffmpeg before its input, for instance `["-hwaccel", "vaapi"]`.
    #[serde(default)]
    pub ffmpeg_args: Vec<String>,
}

impl RtspConfig {
    /// The camera at `url`, with every other key at its default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            transport: RtspTransport::default(),
            stall_ms: millis::<5000>(),
            reconnect: ReconnectConfig::default(),
            decoder: DecoderConfig::default(),
            ffmpeg_args: Vec::new(),
        }
    }
}

/// Transport of RTP packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RtspTransport {
    /// Interleaved in the RTSP connection; no packet is lost.
    #[default]
    Tcp,
    /// UDP packets.
    Udp,
}

/// A video file or video URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VideoConfig {
    /// Video file, relative to this YAML file, a URL (`${NAME}` is replaced by that environment
    /// variable), or `-` for Y4M from standard input.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
    /// Video decoder.
    #[serde(default)]
    pub decoder: DecoderConfig,
    /// Arguments of ffmpeg before its input, for instance `["-hwaccel", "vaapi"]`.
    #[serde(default)]
    pub ffmpeg_args: Vec<String>,
    /// Restart at the end.
    #[serde(default, rename = "loop")]
    pub looping: bool,
    /// Pacing of the frames.
    #[serde(default)]
    pub pace: PaceConfig,
}

impl VideoConfig {
    /// The video at `path`, with every other key at its default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            decoder: DecoderConfig::default(),
            ffmpeg_args: Vec::new(),
            looping: false,
            pace: PaceConfig::default(),
        }
    }
}

/// Video decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecoderConfig {
    /// The built-in decoder if it supports the format, else ffmpeg.
    #[default]
    Auto,
    /// The built-in decoder.
    Builtin,
    /// An ffmpeg process.
    Ffmpeg,
}

/// An image or a directory of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagesConfig {
    /// Image, or directory of images (natural sort order, without subdirectories), relative to this
    /// YAML file.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
    /// Restart at the end.
    #[serde(default, rename = "loop")]
    pub looping: bool,
    /// Images per second of media time.
    #[serde(default = "images_fps")]
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub fps: f64,
    /// Pacing of the images.
    #[serde(default)]
    pub pace: PaceConfig,
}

fn images_fps() -> f64 {
    1.0
}

impl ImagesConfig {
    /// The images at `path`, with every other key at its default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            looping: false,
            fps: images_fps(),
            pace: PaceConfig::default(),
        }
    }
}

/// Pacing of recorded frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaceConfig {
    /// As fast as the pipeline runs; no frame is dropped.
    #[default]
    Fast,
    /// At their timestamps, if the machine is fast enough; no frame is dropped.
    Realtime,
    /// At their timestamps, as from a camera: frames that the pipeline is too slow for are dropped
    /// and counted.
    Live,
}
