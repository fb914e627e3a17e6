//! From what was seen to what happened.

mod area;
mod line;
mod zone;

pub use area::{AreaEvent, AreaKind, AreaRule, AreaRules, Phase};
pub use line::{Crossing, Direction, LineCounts, LineWatch, crosses};
pub use zone::{Presence, ZoneChange, ZoneCounts, ZoneWatch};
