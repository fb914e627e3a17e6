//! Stop signal: only the source observes it; the stages after it drain.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::health;

/// Stops the source, from any thread; wakes threads that sleep on it.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    state: Arc<StopState>,
}

#[derive(Debug, Default)]
struct StopState {
    reason: Mutex<Option<StopReason>>,
    woken: Condvar,
    /// Signals that are stopped together with this one.
    children: Mutex<Vec<StopSignal>>,
}

/// Why a run was stopped before its source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Ctrl-C or a termination signal.
    Interrupted,
    /// The window was closed, or Esc pressed in it.
    WindowClosed,
    /// The reader of a sink closed its end (a broken pipe).
    ReaderGone,
    /// `--frames` frames were captured.
    FrameLimit,
    /// A stage or sink failed.
    Failed,
    /// The stream, or the sink, was removed from the configuration while the run goes on.
    Removed,
}

impl StopReason {
    /// The `reason` in the `end` record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::WindowClosed => "window_closed",
            Self::ReaderGone => "reader_gone",
            Self::FrameLimit => "frame_limit",
            Self::Failed => "failed",
            Self::Removed => "removed",
        }
    }
}

impl StopSignal {
    /// A signal that is not stopped.
    pub fn new() -> Self {
        Self::default()
    }

    /// A child signal: stopped together with this one, or alone.
    pub fn child(&self) -> Self {
        let child = Self::new();
        let mut children = lock(&self.state.children);
        // Those that nobody holds any more.
        children.retain(|child| Arc::strong_count(&child.state) > 1);
        if let Some(reason) = self.reason() {
            child.stop(reason);
        }
        children.push(child.clone());
        child
    }

    /// Requests the stop. The first reason is kept.
    pub fn stop(&self, reason: StopReason) {
        lock(&self.state.reason).get_or_insert(reason);
        self.state.woken.notify_all();
        for child in &*lock(&self.state.children) {
            child.stop(reason);
        }
    }

    /// The reason, once a stop was requested.
    pub fn reason(&self) -> Option<StopReason> {
        *lock(&self.state.reason)
    }

    /// Whether a stop was requested.
    pub fn is_stopped(&self) -> bool {
        // Who looks at the signal goes on.
        health::tick();
        self.reason().is_some()
    }

    /// Sleeps until `deadline` or until a stop is requested; true in the latter case.
    pub fn sleep_until(&self, deadline: Instant) -> bool {
        health::while_idle(|| self.wait_until(deadline))
    }

    fn wait_until(&self, deadline: Instant) -> bool {
        let mut reason = lock(&self.state.reason);
        loop {
            if reason.is_some() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            reason = self
                .state
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
