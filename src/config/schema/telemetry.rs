//! `telemetry`: position and camera angles of a drone.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Telemetry of a drone. A `.srt` file beside the video is read without being named; the values here
/// apply where it has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Subtitle file with the drone's telemetry, relative to this YAML file. Default: the `.srt`
    /// file beside the video, if there is one.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub srt: Option<PathBuf>,
    /// Timestamp in the subtitle file of the video's first frame.
    #[schemars(range(min = -86_400_000, max = 86_400_000))]
    pub offset_ms: i64,
    /// Horizontal field of view of the camera; required for positions on the ground.
    #[schemars(range(min = 1.0, max = 170.0))]
    pub hfov_deg: Option<f64>,
    /// Height above the ground, where the subtitle file has none.
    #[schemars(range(min = 0.1, max = 10_000.0))]
    pub height_m: Option<f64>,
    /// Pitch of the camera, where the subtitle file has none: 0 is horizontal, -90 straight down.
    #[schemars(range(min = -90.0, max = 90.0))]
    pub gimbal_pitch_deg: Option<f64>,
    /// Heading of the camera, clockwise from north, where the subtitle file has none.
    #[schemars(range(min = -360.0, max = 360.0))]
    pub gimbal_yaw_deg: Option<f64>,
}
