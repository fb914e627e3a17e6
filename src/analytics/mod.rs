//! Events from tracks and masks: line crossings, zone occupancy, area rules.

mod anchor;
mod area;
mod line;
mod zone;

pub use anchor::AnchorPoint;
pub use area::{AreaEvent, AreaKind, AreaRule, AreaRules, Phase};
pub use line::{Crossing, Direction, LineCounter, LineCounts, crosses};
pub use zone::{Presence, ZoneChange, ZoneCounts, ZoneMonitor};
