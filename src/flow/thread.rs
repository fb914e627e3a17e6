//! Named threads whose failures and panics are collected and end the run.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::{StopReason, StopSignal};

/// A failure of a thread.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{thread}: {why}")]
pub struct Failure {
    /// The thread's name.
    pub thread: String,
    /// The error, in one line.
    pub why: String,
}

/// The failures of a run, in order of time. The first stops the run.
#[derive(Clone, Debug)]
pub struct Failures {
    all: Arc<Mutex<Vec<Failure>>>,
    stop: StopSignal,
}

impl Failures {
    /// An empty list; the first failure signals `stop`.
    pub fn new(stop: StopSignal) -> Self {
        Self {
            all: Arc::default(),
            stop,
        }
    }

    /// Records a failure and stops the run.
    pub fn add(&self, thread: &str, why: impl ToString) {
        let failure = Failure {
            thread: thread.to_owned(),
            why: why.to_string(),
        };
        tracing::debug!(thread = failure.thread, why = failure.why, "failed");
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(failure);
        self.stop.stop(StopReason::Failed);
    }

    /// The failures so far.
    pub fn all(&self) -> Vec<Failure> {
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Runs `body`; an error or a panic becomes a failure of `thread`.
    pub fn watch<T, E: ToString>(
        &self,
        thread: &str,
        body: impl FnOnce() -> Result<T, E>,
    ) -> Option<T> {
        // Unwind safe: everything the closure owns is dropped and not used afterwards.
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                self.add(thread, error);
                None
            }
            Err(panic) => {
                self.add(thread, format!("panicked: {}", panic_message(&*panic)));
                None
            }
        }
    }

    /// Starts a thread under [`watch`](Self::watch). Linux shows the first 15 bytes of the name.
    ///
    /// # Errors
    /// When the operating system cannot create a thread.
    pub fn spawn<T, E, F>(&self, name: &str, body: F) -> std::io::Result<JoinHandle<Option<T>>>
    where
        T: Send + 'static,
        E: ToString,
        F: FnOnce() -> Result<T, E> + Send + 'static,
    {
        debug_assert!(name.len() <= 15, "{name} is longer than 15 bytes");
        let (failures, thread) = (self.clone(), name.to_owned());
        Builder::new()
            .name(name.to_owned())
            .spawn(move || failures.watch(&thread, body))
    }
}

/// By how much the nice value of a thread rises whose work may wait.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lets other threads go first where processors are scarce: the calling thread's work may wait. Linux alone has
/// priorities of single threads.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "the thread keeps its priority");
    }
}

/// The message of a panic.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn one_thread_alone_goes_behind_the_others() {
        use rustix::process::getpriority_process;
        let before = getpriority_process(None).expect("a number");
        let lowered = std::thread::spawn(|| {
            lower_priority();
            getpriority_process(None).expect("a number")
        });
        let lowered = lowered.join().expect("no panic");
        // 19 is the last.
        assert_eq!(lowered, (before + NICE).min(19));
        assert_eq!(getpriority_process(None), Ok(before));
    }

    #[test]
    fn a_panic_has_a_name_and_stops_the_run() {
        let stop = StopSignal::new();
        let failures = Failures::new(stop.clone());
        let thread = failures
            .spawn("2-broken", || -> Result<(), String> {
                panic!("lost my head")
            })
            .expect("a thread");
        assert_eq!(thread.join().expect("caught"), None);
        assert_eq!(stop.reason(), Some(StopReason::Failed));
        let all = failures.all();
        assert_eq!(all[0].to_string(), "2-broken: panicked: lost my head");
    }
}
