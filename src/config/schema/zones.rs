//! `zones`: polygons in the picture.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::default_of::millis;

/// A zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneConfig {
    /// Corners `[x, y]`, normalised to 0 to 1 from the picture's top left.
    #[schemars(length(min = 3, max = 64))]
    pub polygon: Vec<[f32; 2]>,
    /// Labels that count; empty: all.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Point of a box that must be inside.
    #[serde(default)]
    pub anchor: AnchorConfig,
    /// Exclusion zone: detections in it are dropped, for instance on a screen or a poster.
    #[serde(default)]
    pub ignore: bool,
    /// Time in the zone after which a loitering event is made. Default: no such event.
    #[schemars(range(min = 1, max = 86_400_000))]
    pub loiter_ms: Option<u64>,
    /// Interval of update events while an object stays. Default: no such events.
    #[schemars(range(min = 1, max = 86_400_000))]
    pub update_ms: Option<u64>,
    /// Time outside the zone after which an object has left it.
    #[serde(default = "millis::<500>")]
    #[schemars(range(max = 600_000))]
    pub leave_ms: u64,
}

/// Point of a box that stands for its object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnchorConfig {
    /// Centre of the lower edge: where the object stands.
    #[default]
    BottomCenter,
    /// Centre of the box, for views from above.
    Center,
}
