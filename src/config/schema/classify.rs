//! `classify`: the head of a classifier, and the settings of a pipeline that classifies pictures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Classifier: scores for the whole picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassifyHeadConfig {
    /// Name of the output with a value for each class, `[1, classes]`; further dimensions of 1 do not
    /// matter.
    pub output: String,
    /// Activation from the output's values to scores.
    pub activation: ClassifyActivationConfig,
    /// Most classes of a picture in the records, best first.
    #[serde(default = "top")]
    #[schemars(range(min = 1, max = 1000))]
    pub top: u32,
    /// Budget as a second network that classifies tracks: time on one thread in each second of a live stream, in
    /// milliseconds; see a pipeline's `classify_tracks`. Default: 200.
    #[schemars(range(min = 1, max = 1000))]
    pub budget_ms_per_s: Option<u32>,
}

fn top() -> u32 {
    5
}

/// Activation from the output's values to scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassifyActivationConfig {
    /// Softmax over all classes: one of them is in the picture.
    Softmax,
    /// Sigmoid: each class independently.
    Sigmoid,
    /// The network ends with its activation: the values are the scores.
    None,
}

/// Classification settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifyConfig {
    /// Most classes of a picture in the records, best first. Default: the card's.
    #[schemars(range(min = 1, max = 1000))]
    pub top: Option<u32>,
    /// Lowest score of a class in the records.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score_threshold: f32,
}
