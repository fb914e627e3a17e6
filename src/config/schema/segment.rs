//! `segment`: segmentation settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::default_of::millis;

/// Segmentation settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentConfig {
    /// Probability of the best class below which a pixel is `unknown`. Default: none is.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence_floor: Option<f32>,
    /// Temporal smoothing: weight of past frames in a moving average of the logits, reset at a cut.
    /// Runs one worker, as frames must be in order. Default: no smoothing.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub smoothing: Option<f32>,
    /// Add each class's mask to the records, as COCO run-length encoding. A `coco` sink turns it on.
    pub rle: bool,
    /// Add each class's areas to the records, as COCO polygons.
    pub polygons: bool,
    /// Find the largest circle of free ground. Default: off.
    pub safe_ground: Option<SafeGroundConfig>,
    /// Rules on the share of a zone that a class covers; each makes events.
    pub rules: Vec<AreaRuleConfig>,
}

/// A rule on the area of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct AreaRuleConfig {
    /// An event while the class covers more than the share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub area_above: Option<AreaConfig>,
    /// An event while the class covers less than the share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub area_below: Option<AreaConfig>,
}

/// Class, share, zone and duration of an area rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AreaConfig {
    /// Name in the events. Default: made of label, kind, share and zone.
    pub name: Option<String>,
    /// Label of the class.
    pub class: String,
    /// Share of the zone, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
    /// Name of a zone. Default: the whole picture.
    pub zone: Option<String>,
    /// Time that the condition must last to begin an event, and be over to end it.
    #[serde(default = "millis::<1000>")]
    #[schemars(range(max = 3_600_000))]
    pub for_ms: u64,
    /// Hysteresis: the event ends when the share is back past its limit by this part of the limit.
    #[serde(default = "area_hysteresis")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub hysteresis: f64,
}

fn area_hysteresis() -> f64 {
    0.1
}

/// The largest circle of free ground, for landing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SafeGroundConfig {
    /// Labels of the classes to avoid.
    #[schemars(length(min = 1))]
    pub avoid: Vec<String>,
    /// Distance to keep from them, in pixels of the frame.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 10_000.0))]
    pub margin_px: f32,
    /// Also avoid pixels that are `unknown`.
    #[serde(default = "avoid_unknown")]
    pub avoid_unknown: bool,
    /// Name of the zone to search. Default: the whole picture.
    pub zone: Option<String>,
}

fn avoid_unknown() -> bool {
    true
}
