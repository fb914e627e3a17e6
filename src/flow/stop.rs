//! The one word that ends a run: only the source listens to it, the rest drains.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Asks the source to stop, from any thread; wakes whoever sleeps on it.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    shared: Arc<(Mutex<Option<StopReason>>, Condvar)>,
}

/// Why a run was asked to stop before its source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Ctrl-C or a termination signal.
    Interrupted,
    /// The window was closed, or Esc pressed in it.
    WindowClosed,
    /// The reader of a sink went away (a closed pipe): nobody wants more.
    ReaderGone,
    /// `--frames` were captured.
    FrameLimit,
    /// A stage or sink failed.
    Failed,
}

impl StopReason {
    /// The word in the `end` record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::WindowClosed => "window_closed",
            Self::ReaderGone => "reader_gone",
            Self::FrameLimit => "frame_limit",
            Self::Failed => "failed",
        }
    }
}

impl StopSignal {
    /// A signal that nobody has given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the end. The first reason stays.
    pub fn stop(&self, reason: StopReason) {
        let (lock, woken) = &*self.shared;
        lock.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(reason);
        woken.notify_all();
    }

    /// The reason, once the end was asked for.
    pub fn reason(&self) -> Option<StopReason> {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the end was asked for.
    pub fn is_stopped(&self) -> bool {
        self.reason().is_some()
    }

    /// Sleeps until `deadline`, or until the end is asked for; true in the latter case.
    pub fn sleep_until(&self, deadline: Instant) -> bool {
        let (lock, woken) = &*self.shared;
        let mut reason = lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if reason.is_some() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            reason = woken
                .wait_timeout(reason, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let stop = StopSignal::new();
        assert!(!stop.is_stopped());
        stop.stop(StopReason::Interrupted);
        stop.stop(StopReason::Failed);
        assert_eq!(stop.reason(), Some(StopReason::Interrupted));
    }

    #[test]
    fn a_sleeper_is_woken() {
        let stop = StopSignal::new();
        let other = stop.clone();
        let sleeper = std::thread::spawn(move || {
            other.sleep_until(Instant::now() + Duration::from_secs(3600))
        });
        stop.stop(StopReason::Interrupted);
        assert!(sleeper.join().expect("no panic"));
    }
}
