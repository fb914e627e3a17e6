//! Clock for pacing, replaceable in tests.

use std::time::Instant;

use super::StopSignal;

/// A source of time.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Instant;

    /// Sleeps until `deadline` or until `stop` is signalled; true in the latter case.
    fn sleep_until(&self, deadline: Instant, stop: &StopSignal) -> bool;
}

/// The machine's monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, deadline: Instant, stop: &StopSignal) -> bool {
        stop.sleep_until(deadline)
    }
}
