//! Drone telemetry and geographic positions, as they travel with a frame.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A drone's position, altitude and gimbal angles at one moment; a value that it did not report is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Telemetry {
    /// Degrees north, WGS 84.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// Metres above mean sea level, as reported by the drone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub altitude_m: Option<f64>,
    /// Metres above the take-off point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height_m: Option<f64>,
    /// Degrees of the camera above the horizon: -90 looks straight down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gimbal_pitch_deg: Option<f64>,
    /// Degrees of the camera about its axis, clockwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gimbal_roll_deg: Option<f64>,
    /// Degrees of the camera clockwise from north.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gimbal_yaw_deg: Option<f64>,
}

/// A geographic position.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeoPoint {
    /// Degrees north, WGS 84, to seven decimals.
    pub latitude: f64,
    /// Degrees east, to seven decimals.
    pub longitude: f64,
}
