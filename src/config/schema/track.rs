//! `track`: multi-object tracking.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Multi-object tracking settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrackConfig {
    /// Lowest score of a detection that may continue a track, though not begin one. At most the
    /// class's own threshold is used.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub score_low: f64,
    /// IoU of a detection with a track's predicted box above which they match.
    #[schemars(range(min = 0.01, max = 0.95))]
    pub match_iou: f64,
    /// Consecutive frames with a match after which a track is confirmed and gets its id.
    #[schemars(range(min = 1, max = 100))]
    pub confirm_frames: u32,
    /// Time that a track without matches is kept, for occlusions.
    #[schemars(range(max = 600_000))]
    pub memory_ms: u64,
    /// Camera motion compensation, for drones and PTZ cameras.
    pub camera_motion: bool,
}

impl Default for TrackConfig {
    fn default() -> Self {
        Self {
            score_low: 0.1,
            match_iou: 0.2,
            confirm_frames: 3,
            memory_ms: 1500,
            camera_motion: false,
        }
    }
}
