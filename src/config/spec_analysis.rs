//! Where the network looks, and what is made of what it saw.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How objects are followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrackConfig {
    /// Detections from this score up may continue a track, though they are too faint to begin one
    /// (default 0.1; never above a class's own threshold).
    #[schemars(range(min = 0.01, max = 1.0))]
    pub score_low: Option<f64>,
    /// Overlap (IoU) with where an object is expected that makes a match (default 0.2).
    #[schemars(range(min = 0.01, max = 0.95))]
    pub match_iou: Option<f64>,
    /// Frames in which an object must be seen in a row to get its number (default 3).
    #[schemars(range(min = 1, max = 100))]
    pub confirm_frames: Option<u32>,
    /// How long an object that is hidden keeps its number (default 1500).
    #[schemars(range(max = 600_000))]
    pub memory_ms: Option<u64>,
    /// Follow the camera's own motion, for drones and cameras that turn (default false).
    #[serde(default)]
    pub camera_motion: bool,
}

/// A line that objects cross. Seen along it, `in` is from its left to its right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LineConfig {
    /// Where it begins, `[x, y]` from 0 to 1.
    pub from: [f32; 2],
    /// Where it ends.
    pub to: [f32; 2],
    /// Labels that count; empty: all.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Which point of a box crosses it.
    #[serde(default)]
    pub anchor: AnchorConfig,
    /// How far from the line an object must be to count as on one side of it, in parts of its
    /// height (default 0.2).
    #[schemars(range(min = 0.0, max = 10.0))]
    pub hysteresis: Option<f64>,
}

/// The point of a box that stands for its object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnchorConfig {
    /// The middle of its lower edge: where it stands.
    #[default]
    BottomCenter,
    /// Its middle: where it is, seen from above.
    Center,
}

/// Where and when the network looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatingConfig {
    /// Not at all while a fixed camera's picture is still.
    pub motion_gate: Option<MotionGateConfig>,
    /// At some frames only.
    pub interval: Option<IntervalConfig>,
    /// Closely at places where something is (detectors; not together with `tiles`).
    pub regions: Option<RegionsConfig>,
    /// Closely at all of the picture, tile by tile, for small objects (detectors).
    pub tiles: Option<TilesConfig>,
}

/// Not looking while a fixed camera's picture is still.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MotionGateConfig {
    /// Share of the picture that must have changed since the last look (default 0.002).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: Option<f64>,
    /// Look at least so often (default 5000).
    #[schemars(range(min = 1, max = 3_600_000))]
    pub force_ms: Option<u64>,
    /// Go on looking at every frame for so long after a change (default 0).
    #[schemars(range(max = 3_600_000))]
    pub after_ms: Option<u64>,
}

/// Looking at some frames only: one of `every`, or as many as keep results young.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct IntervalConfig {
    /// One frame of so many.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u32>,
    /// As many as keep records younger than this when they are made; such runs do not compare.
    #[schemars(range(min = 1.0, max = 60_000.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
}

/// Looking closely at places where something is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegionsConfig {
    /// What makes a region.
    #[serde(default)]
    pub on: RegionsOn,
    /// Most regions of a frame (default 4).
    #[schemars(range(min = 1, max = 64))]
    pub max: Option<u32>,
    /// Look at the whole frame at least so often (default 1000).
    #[schemars(range(min = 1, max = 3_600_000))]
    pub whole_ms: Option<u64>,
}

/// What makes a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegionsOn {
    /// What changed since the last look.
    #[default]
    Motion,
    /// Tracked objects; each frame waits for the results of the one before.
    Tracks,
}

/// Looking closely at all of the picture, tile by tile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TilesConfig {
    /// Tiles side by side (default 2).
    #[schemars(range(min = 1, max = 32))]
    pub columns: Option<u32>,
    /// Tiles on top of each other (default 2).
    #[schemars(range(min = 1, max = 32))]
    pub rows: Option<u32>,
    /// Share of a tile's side that its neighbour sees too (default 0.2).
    #[schemars(range(min = 0.0, max = 0.8))]
    pub overlap: Option<f32>,
    /// Tiles of a frame, in turns; default: all. Not together with `budget_ms`.
    #[schemars(range(min = 1, max = 1024))]
    pub at_once: Option<u32>,
    /// As many tiles of a frame, in turns, as take so long; such runs do not compare.
    #[schemars(range(min = 1.0, max = 60_000.0))]
    pub budget_ms: Option<f64>,
    /// Look at the whole frame too, for large objects (default true).
    pub whole: Option<bool>,
}

/// A part of the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneConfig {
    /// Corners `[x, y]`, from 0 at the picture's left and upper edge to 1 at its right and lower one.
    #[schemars(length(min = 3, max = 64))]
    pub polygon: Vec<[f32; 2]>,
    /// Labels that count here; empty: all.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Which point of a box must be inside.
    #[serde(default)]
    pub anchor: AnchorConfig,
    /// Drop what is detected here: a screen, a poster, a busy street behind a fence.
    #[serde(default)]
    pub ignore: bool,
    /// An event when an object stays for so long (default: none).
    #[schemars(range(min = 1, max = 86_400_000))]
    pub loiter_ms: Option<u64>,
    /// An event so often while an object stays (default: none).
    #[schemars(range(min = 1, max = 86_400_000))]
    pub update_ms: Option<u64>,
    /// An object has left once it was seen outside for so long (default 500).
    #[schemars(range(max = 600_000))]
    pub leave_ms: Option<u64>,
}
