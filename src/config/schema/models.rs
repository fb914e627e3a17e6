//! `models`: several detection models that run on one stream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::default_of::count;
use super::{DetectConfig, ModelConfig};

/// One of several models: its card, its classes, and on which frames and parts of them it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-short-for" = "model",
    "x-expected" = "a path, or a mapping with model: and settings"
))]
pub struct NamedModelConfig {
    /// Model: the path of its card, or a mapping with the path and options.
    pub model: ModelConfig,
    /// Detection settings of this model.
    #[serde(default)]
    pub detect: DetectConfig,
    /// Inference on one of this many frames, by their number: 0, N, 2 N, ... Not for the first model, which
    /// `gating` controls. Default: on every frame.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u32>,
    /// Inference on the first frame of each interval of this length, in media time; not with `every`.
    /// Default: on every frame.
    #[schemars(range(min = 1, max = 3_600_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// Inference inside the detections of a model that stands before this one, on frames on which that one
    /// runs. Default: on the whole frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<InsideConfig>,
    /// Inference inside a zone: on the rectangle around it; objects whose centre is outside the zone are
    /// dropped. Not with `inside`. Default: on the whole frame.
    #[schemars(length(min = 1), extend("x-expected" = "the name of a zone"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Inference inside the detections of another model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InsideConfig {
    /// Name of that model.
    #[schemars(length(min = 1), extend("x-expected" = "the name of a model"))]
    pub model: String,
    /// Labels of the detections; empty: all.
    #[serde(default)]
    pub classes: Vec<String>,
    /// By how much a detection's box is enlarged on each side, as a share of that side.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub grow: f32,
    /// Most detections of a frame, best score first.
    #[serde(default = "count::<16>")]
    #[schemars(range(min = 1, max = 256))]
    pub max: u32,
}

fn tenth() -> f32 {
    0.1
}
