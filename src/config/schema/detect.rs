//! `detect`: detection settings.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Detection settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DetectConfig {
    /// Lowest score of a detection.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score_threshold: f32,
    /// IoU above which non-maximum suppression merges boxes of one class. Default: the card's.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub nms_iou: Option<f32>,
    /// Most detections of a frame. Default: the card's.
    #[schemars(range(min = 1, max = 1000))]
    pub max_detections: Option<u32>,
    /// Classes to detect, by label; empty: all classes of the model.
    pub classes: BTreeMap<String, ClassConfig>,
}

impl Default for DetectConfig {
    fn default() -> Self {
        Self {
            score_threshold: 0.4,
            nms_iou: None,
            max_detections: None,
            classes: BTreeMap::new(),
        }
    }
}

impl DetectConfig {
    /// Whether the label is to be detected.
    pub fn is_wanted(&self, label: &str) -> bool {
        self.classes.is_empty() || self.classes.contains_key(label)
    }

    /// Lowest score of a detection with this label.
    pub fn score_threshold_of(&self, label: &str) -> f32 {
        let class = self.classes.get(label);
        class
            .and_then(|class| class.score_threshold)
            .unwrap_or(self.score_threshold)
    }
}

/// Settings of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassConfig {
    /// Lowest score of a detection of this class. Default: `detect.score_threshold`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score_threshold: Option<f32>,
    /// Shortest length of a box's longer side. Default: no limit.
    #[schemars(range(min = 0.0, max = 100_000.0))]
    pub min_px: Option<f64>,
    /// Greatest length of a box's longer side. Default: no limit.
    #[schemars(range(min = 0.0, max = 100_000.0))]
    pub max_px: Option<f64>,
}
