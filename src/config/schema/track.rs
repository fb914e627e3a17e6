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
    /// Lowest score of a detection that is matched with tracks first; lower ones only continue a track
    /// that was seen clearly just before. Objects that usually score less are measured by their own
    /// mean.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub score_high: f64,
    /// Score that one detection of a track must reach before the track is confirmed; `score_high` is
    /// enough where it begins at the edge of the picture.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub start_score: f64,
    /// IoU of a detection with a track's predicted box, both enlarged, above which they match.
    #[schemars(range(min = 0.01, max = 0.95))]
    pub match_iou: f64,
    /// IoU above which non-maximum suppression leaves one of two detections of a class for tracking,
    /// after that of `detect`. Records keep both.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub nms_iou: f64,
    /// IoU above which detections of different classes are taken as one object, as a car that is found
    /// as a truck, too: the second class begins no track.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub cross_class_iou: f64,
    /// Frames with a match after which a track may be confirmed and get its id.
    #[schemars(range(min = 1, max = 100))]
    pub confirm_frames: u32,
    /// Age at which a track is confirmed that never reached `start_score`.
    #[schemars(range(max = 600_000))]
    pub confirm_ms: u64,
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
            score_high: 0.5,
            start_score: 0.65,
            match_iou: 0.2,
            nms_iou: 0.5,
            cross_class_iou: 0.8,
            confirm_frames: 3,
            confirm_ms: 1200,
            memory_ms: 1500,
            camera_motion: false,
        }
    }
}
