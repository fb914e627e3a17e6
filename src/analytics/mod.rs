//! Events from tracks and masks: line crossings, zone occupancy, area rules.

mod anchor;
mod area;
mod line;
mod zone;

pub use anchor::AnchorPoint;
pub use area::{AreaEvent, AreaKind, AreaPhase, AreaRule, AreaRules};
pub use line::{Crossing, Direction, LineCounter, LineCounts};
pub use zone::{ZoneCounts, ZoneEvent, ZoneMonitor, ZoneVisit};
