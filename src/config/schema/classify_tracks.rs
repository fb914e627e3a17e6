//! `classify_tracks`: second networks, which classify tracked objects.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PrecisionConfig;

/// A second network, which classifies tracked objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassifyTracksConfig {
    /// Path of the card of a classification model, relative to this YAML file.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub model: PathBuf,
    /// Labels of the tracks that are classified; empty: all.
    #[serde(default)]
    pub classes: Vec<String>,
    /// A track is classified at most once in this time; 0: in each frame.
    #[serde(default = "every_ms")]
    #[schemars(range(max = 86_400_000))]
    pub every_ms: u64,
    /// Objects whose longer side is shorter are not classified.
    #[serde(default = "min_px")]
    #[schemars(range(min = 1, max = 100_000))]
    pub min_px: u32,
    /// Share of the box's width and height by which the part of the picture is larger on each side. Where the
    /// card cuts out the middle of a picture (`resize: center_crop`), the part is also as much larger as is cut
    /// off.
    #[serde(default = "expand")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub expand: f32,
    /// Temporal smoothing: weight of a track's past scores in a moving average, which begins as a plain mean.
    #[serde(default = "smoothing")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub smoothing: f32,
    /// Classes of a track in the records, best first.
    #[serde(default = "top")]
    #[schemars(range(min = 1, max = 1000))]
    pub top: u32,
    /// Lowest score of a class in the records; a track whose best class is below has no such attribute.
    #[serde(default = "score_threshold")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score_threshold: f32,
    /// Time that it may take in each second of a live stream, on one thread, in milliseconds. Replays classify all
    /// that is due. Default: the card's `budget_ms_per_s`, else 200.
    #[schemars(range(min = 1, max = 1000))]
    pub budget_ms_per_s: Option<u32>,
    /// Number format of the network.
    #[serde(default)]
    pub precision: PrecisionConfig,
}

fn every_ms() -> u64 {
    1000
}

fn min_px() -> u32 {
    32
}

fn expand() -> f32 {
    0.05
}

fn smoothing() -> f32 {
    0.7
}

fn top() -> u32 {
    1
}

fn score_threshold() -> f32 {
    0.3
}
