//! `gating`: on which frames and regions the network runs.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Inference gating: on which frames and regions the network runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatingConfig {
    /// Motion gate: no inference while the picture of a fixed camera does not change. Default: off.
    pub motion_gate: Option<MotionGateConfig>,
    /// Inference interval: inference on some frames only. Default: on every frame.
    pub interval: Option<IntervalConfig>,
    /// Inference on regions of interest at full resolution (detection models; not together with
    /// `tiles`). Default: off.
    pub regions: Option<RegionsConfig>,
    /// Input sizes of a detection model, in pixels as `model.input_px`: the whole frame is inferred at each
    /// of them, and what is found is joined by non-maximum suppression. Default: the model's own.
    #[schemars(length(max = 4), inner(range(min = 33, max = 2049)))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scales: Vec<u32>,
    /// `auto`: each frame is inferred at the input sizes, and on the parts, that find most within
    /// `budget_ms` (detection models; not together with `scales`, `regions` or `tiles`). The choice follows
    /// the scene and the measured speed of this machine, so runs are not reproducible, except by `plan`.
    /// Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looks: Option<LooksConfig>,
    /// Time in milliseconds for all inferences on a frame, with `looks: auto`. Default: the time between
    /// two frames of the source; 1000 for pictures.
    #[schemars(range(min = 1.0, max = 60_000.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_ms: Option<f64>,
    /// JSON lines of an earlier run with `looks: auto`, relative to this YAML file: the same inferences are
    /// run on the same frames again. Default: none.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PathBuf>,
    /// Inference on overlapping tiles at full resolution, for small objects (detection models).
    /// Default: off.
    pub tiles: Option<TilesConfig>,
}

/// How input sizes and parts of a frame are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LooksConfig {
    /// Frame by frame, within a time budget.
    Auto,
}

/// Motion gate: no inference while the picture does not change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MotionGateConfig {
    /// Share of the picture, 0 to 1, that must change since the last inference.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
    /// Longest time without inference.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub force_ms: u64,
    /// Time after a change during which inference runs on every frame.
    #[schemars(range(max = 3_600_000))]
    pub after_ms: u64,
}

impl Default for MotionGateConfig {
    fn default() -> Self {
        Self {
            share: 0.002,
            force_ms: 5000,
            after_ms: 0,
        }
    }
}

/// Inference interval: a fixed one, or one that is adapted to a target latency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct IntervalConfig {
    /// Inference on one of this many frames.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u32>,
    /// Target latency: the interval is adapted so that records are younger. Runs are not
    /// reproducible.
    #[schemars(range(min = 1.0, max = 60_000.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
}

/// Regions of interest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegionsConfig {
    /// What makes a region.
    pub on: RegionTrigger,
    /// Most regions of a frame.
    #[schemars(range(min = 1, max = 64))]
    pub max: u32,
    /// Longest time without inference on the whole frame.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub whole_ms: u64,
}

impl Default for RegionsConfig {
    fn default() -> Self {
        Self {
            on: RegionTrigger::default(),
            max: 4,
            whole_ms: 1000,
        }
    }
}

/// What makes a region of interest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegionTrigger {
    /// Change since the last inference.
    #[default]
    Motion,
    /// Tracked objects; each frame waits for the results of the one before.
    Tracks,
}

/// Overlapping tiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TilesConfig {
    /// Columns of tiles.
    #[schemars(range(min = 1, max = 32))]
    pub columns: u32,
    /// Rows of tiles.
    #[schemars(range(min = 1, max = 32))]
    pub rows: u32,
    /// Overlap of neighbouring tiles, as a share of a tile's side.
    #[schemars(range(min = 0.0, max = 0.8))]
    pub overlap: f32,
    /// Tiles per frame, in turns. Not together with `budget_ms`. Default: all.
    #[schemars(range(min = 1, max = 1024))]
    pub at_once: Option<u32>,
    /// Time budget per frame: as many tiles, in turns, as fit into it. Runs are not reproducible.
    /// Default: no budget.
    #[schemars(range(min = 1.0, max = 60_000.0))]
    pub budget_ms: Option<f64>,
    /// Inference on the whole frame too, for large objects.
    pub whole: bool,
    /// How boxes of one object become one: the best of boxes that overlap (`nms`), the best of boxes of which
    /// one lies in the other (`smaller`), or their mean, weighted by score (`fusion`: weighted boxes fusion).
    pub merge: TileMergeConfig,
    /// Overlap above which boxes of a class are one object: IoU, with `smaller` intersection over the smaller
    /// area. Default: `detect.nms_iou`, with `smaller` 0.7.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub merge_overlap: Option<f32>,
    /// No inference on tiles in which nothing moves, nothing is tracked, and the whole frame shows nothing
    /// above a score of 0.1. Only with `whole`. Default: as `whole`.
    pub skip_quiet: Option<bool>,
    /// Longest time without inference on a tile that `skip_quiet` leaves out.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub force_ms: u64,
}

/// How boxes of one object in several tiles become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TileMergeConfig {
    /// Non-maximum suppression by IoU.
    Nms,
    /// Non-maximum suppression by intersection over the smaller area.
    Smaller,
    /// Weighted boxes fusion.
    #[default]
    Fusion,
}

impl Default for TilesConfig {
    fn default() -> Self {
        Self {
            columns: 2,
            rows: 2,
            overlap: 0.2,
            at_once: None,
            budget_ms: None,
            whole: true,
            merge: TileMergeConfig::default(),
            merge_overlap: None,
            skip_quiet: None,
            force_ms: 2000,
        }
    }
}
