//! The one word that ends a run: only the source listens to it, the rest drains.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Asks the source to stop, from any thread; wakes whoever sleeps on it.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    reason: Mutex<Option<StopReason>>,
    woken: Condvar,
    /// Those that stop with this one.
    children: Mutex<Vec<StopSignal>>,
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

    /// A signal that is given with this one, and can be given alone.
    pub fn child(&self) -> Self {
        let child = Self::new();
        let mut children = lock(&self.shared.children);
        if let Some(reason) = self.reason() {
            child.stop(reason);
        }
        children.push(child.clone());
        child
    }

    /// Asks for the end. The first reason stays.
    pub fn stop(&self, reason: StopReason) {
        lock(&self.shared.reason).get_or_insert(reason);
        self.shared.woken.notify_all();
        for child in &*lock(&self.shared.children) {
            child.stop(reason);
        }
    }

    /// The reason, once the end was asked for.
    pub fn reason(&self) -> Option<StopReason> {
        *lock(&self.shared.reason)
    }

    /// Whether the end was asked for.
    pub fn is_stopped(&self) -> bool {
        self.reason().is_some()
    }

    /// Sleeps until `deadline`, or until the end is asked for; true in the latter case.
    pub fn sleep_until(&self, deadline: Instant) -> bool {
        let mut reason = lock(&self.shared.reason);
        loop {
            if reason.is_some() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            reason = self
                .shared
                .woken
                .wait_timeout(reason, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_stop_with_their_parent_and_alone() {
        let all = StopSignal::new();
        let (one, two) = (all.child(), all.child());
        one.stop(StopReason::Failed);
        assert!(!all.is_stopped() && !two.is_stopped());
        all.stop(StopReason::Interrupted);
        assert_eq!(one.reason(), Some(StopReason::Failed));
        assert_eq!(two.reason(), Some(StopReason::Interrupted));
        assert_eq!(all.child().reason(), Some(StopReason::Interrupted));
    }

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
