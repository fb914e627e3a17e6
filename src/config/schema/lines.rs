//! `lines`: counting lines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AnchorConfig;

/// A counting line. Looking from `from` to `to`, the direction `in` is from left to right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LineConfig {
    /// Start point `[x, y]`, normalised to 0 to 1 from the picture's top left.
    pub from: [f32; 2],
    /// End point.
    pub to: [f32; 2],
    /// Labels that count; empty: all.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Point of a box that crosses the line.
    #[serde(default)]
    pub anchor: AnchorConfig,
    /// Hysteresis: distance from the line, in heights of the object's box, from which on it counts as
    /// on one side.
    #[serde(default = "line_hysteresis")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub hysteresis: f64,
}

fn line_hysteresis() -> f64 {
    0.2
}
