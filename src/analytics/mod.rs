//! From what was seen to what happened.

mod area;

pub use area::{AreaEvent, AreaKind, AreaRule, AreaRules, Phase};
