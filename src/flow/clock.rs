//! Time, so that pace can be tested without waiting.

use std::time::Instant;

use super::StopSignal;

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Instant;

    /// Waits until `deadline` or until the stop is asked for; true in the latter case.
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
