//! Whether the wall clock can be trusted with the age of files.

use std::time::{Duration, Instant, SystemTime};

/// How far the wall clock may move between two looks at it, beside the time that passed.
const TOLERANCE: Duration = Duration::from_secs(60);
/// How long a clock must have run steadily after a jump.
const STEADY: Duration = Duration::from_secs(24 * 3600);

/// Compares the wall clock with the monotonic one: what was set ahead by a day must not remove the
/// files of a day.
#[derive(Debug)]
pub struct ClockWatch {
    last: (SystemTime, Instant),
    jumped: Option<Instant>,
}

impl ClockWatch {
    /// Trusts the clock as it is.
    pub fn new(wall: SystemTime, at: Instant) -> Self {
        Self {
            last: (wall, at),
            jumped: None,
        }
    }

    /// Whether ages can be told by the wall clock, which shows `wall` at the time `at`.
    pub fn is_steady(&mut self, wall: SystemTime, at: Instant) -> bool {
        let passed = at.saturating_duration_since(self.last.1);
        let expected = self.last.0 + passed;
        let off = match wall.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        if off > TOLERANCE {
            tracing::warn!(
                "the clock jumped by {} s: files are not removed by age until it has run steadily for a day",
                off.as_secs()
            );
            self.jumped = Some(at);
        }
        self.last = (wall, at);
        self.jumped
            .is_none_or(|jumped| at.saturating_duration_since(jumped) >= STEADY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_either_way_is_seen_and_forgotten_after_a_steady_day() {
        let (wall, at) = (SystemTime::now(), Instant::now());
        let day = Duration::from_secs(24 * 3600);
        let hour = Duration::from_secs(3600);
        for is_ahead in [true, false] {
            let mut watch = ClockWatch::new(wall, at);
            assert!(watch.is_steady(wall + hour, at + hour));
            let set = if is_ahead { wall + day } else { wall - day };
            assert!(!watch.is_steady(set + 2 * hour, at + 2 * hour));
            assert!(!watch.is_steady(set + 3 * hour, at + 3 * hour));
            assert!(watch.is_steady(set + 2 * hour + day, at + 2 * hour + day));
        }
    }
}
