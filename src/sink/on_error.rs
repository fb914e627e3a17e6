//! What happens to a sink that cannot write: another attempt after a pause, no more output, or the end
//! of the run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::SinkError;

/// Pause before the first further attempt; doubles with each one.
const MIN_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What to do when a sink cannot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Try again, with pauses.
    Retry,
    /// Go on without the sink.
    Disable,
    /// End the run.
    End,
}

/// What happened to a sink; becomes an event record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkEvent {
    /// It cannot write, and tries again.
    Failed {
        /// Kind of the sink.
        sink: String,
    },
    /// It writes again.
    Recovered {
        /// Kind of the sink.
        sink: String,
        /// Since it failed.
        after: Duration,
    },
    /// It cannot write, and is not used any more.
    Disabled {
        /// Kind of the sink.
        sink: String,
    },
}

/// What the guard of a sink reports to.
#[derive(Clone, Debug, Default)]
pub struct SinkReports {
    /// Events for the records.
    pub events: Option<Sender<SinkEvent>>,
    /// Items that the sink did not write: frames, pictures or masks.
    pub lost: Arc<AtomicU64>,
}

/// Handles the errors of one sink.
#[derive(Debug)]
pub struct ErrorGuard {
    sink: String,
    on_error: OnError,
    reports: SinkReports,
    state: State,
}

#[derive(Debug)]
enum State {
    Working,
    Pausing {
        since: Instant,
        until: Instant,
        pause: Duration,
    },
    Disabled,
}

impl ErrorGuard {
    /// For a sink of kind `sink`, for instance `jsonl`.
    pub fn new(sink: &str, on_error: OnError) -> Self {
        Self {
            sink: sink.to_owned(),
            on_error,
            reports: SinkReports::default(),
            state: State::Working,
        }
    }

    /// Where it reports to from now on.
    pub fn report_to(&mut self, reports: SinkReports) {
        self.reports = reports;
    }

    /// Kind of the sink.
    pub fn sink(&self) -> &str {
        &self.sink
    }

    /// Whether an error ends the run.
    pub fn ends_run(&self) -> bool {
        self.on_error == OnError::End
    }

    /// Whether an attempt to write is due.
    pub fn is_due(&self) -> bool {
        match self.state {
            State::Working => true,
            State::Pausing { until, .. } => Instant::now() >= until,
            State::Disabled => false,
        }
    }

    /// Whether the last attempt failed.
    pub fn is_failing(&self) -> bool {
        !matches!(self.state, State::Working)
    }

    /// Whether no further attempt is made.
    pub fn is_disabled(&self) -> bool {
        matches!(self.state, State::Disabled)
    }

    /// When the next attempt is due; `None` if it is not pausing.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Pausing { until, .. } => Some(until),
            State::Working | State::Disabled => None,
        }
    }

    /// Counts `items` that are not written.
    pub fn lose(&self, items: u64) {
        self.reports.lost.fetch_add(items, Ordering::SeqCst);
    }

    /// Takes note of a write that succeeded.
    pub fn succeeded(&mut self) {
        if let State::Pausing { since, .. } = self.state {
            let after = since.elapsed();
            let seconds = after.as_secs_f64();
            tracing::info!("{}: writes again after {seconds:.1} s", self.sink);
            let sink = self.sink.clone();
            self.report(SinkEvent::Recovered { sink, after });
            self.state = State::Working;
        }
    }

    /// Takes note of a write that failed; afterwards it is pausing or disabled.
    ///
    /// # Errors
    /// The same, if it must end the run: by policy, or because another attempt would not help.
    pub fn failed(&mut self, error: SinkError) -> Result<(), SinkError> {
        if !matches!(error, SinkError::Io { .. }) {
            return Err(error);
        }
        let sink = self.sink.clone();
        match self.on_error {
            OnError::End => return Err(error),
            OnError::Disable => {
                tracing::warn!("{error}; going on without this sink (on_error: disable)");
                self.report(SinkEvent::Disabled { sink });
                self.state = State::Disabled;
            }
            OnError::Retry => {
                let now = Instant::now();
                let (since, pause) = match self.state {
                    State::Pausing { since, pause, .. } => (since, (pause * 2).min(MAX_PAUSE)),
                    State::Working | State::Disabled => {
                        tracing::warn!("{error}; trying again (on_error: retry)");
                        self.report(SinkEvent::Failed { sink });
                        (now, MIN_PAUSE)
                    }
                };
                tracing::debug!("{error}; next attempt in {pause:?}");
                self.state = State::Pausing {
                    since,
                    until: now + pause,
                    pause,
                };
            }
        }
        Ok(())
    }

    /// What an error at the very end means: nothing to a sink that may be disabled, else a failure.
    ///
    /// # Errors
    /// The same.
    pub fn finish(&self, error: SinkError) -> Result<(), SinkError> {
        if self.on_error != OnError::Disable {
            return Err(error);
        }
        tracing::warn!("{error} (on_error: disable)");
        Ok(())
    }

    fn report(&self, event: SinkEvent) {
        if let Some(events) = &self.reports.events {
            // Nobody listens once the run is ending.
            let _ = events.send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::channel;

    use super::*;

    fn full() -> SinkError {
        SinkError::from_io("disk", io::ErrorKind::StorageFull.into())
    }

    fn guard(on_error: OnError) -> (ErrorGuard, std::sync::mpsc::Receiver<SinkEvent>) {
        let (events, received) = channel();
        let mut guard = ErrorGuard::new("video", on_error);
        guard.report_to(SinkReports {
            events: Some(events),
            ..SinkReports::default()
        });
        (guard, received)
    }

    #[test]
    fn an_outage_is_two_events_with_pauses_that_grow() {
        let (mut guard, events) = guard(OnError::Retry);
        assert!(guard.is_due() && !guard.is_failing());
        let mut pauses = Vec::new();
        for _ in 0..9 {
            guard.failed(full()).expect("another attempt is made");
            assert!(guard.is_failing() && guard.due().is_some());
            let State::Pausing { pause, .. } = guard.state else {
                unreachable!("it is failing");
            };
            pauses.push(pause);
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!((pauses[0], pauses[8]), (MIN_PAUSE, MAX_PAUSE));
        guard.succeeded();
        guard.succeeded();
        assert!(guard.is_due() && !guard.is_failing());
        let sink = "video".to_owned();
        let got: Vec<_> = events.try_iter().collect();
        assert_eq!(got[0], SinkEvent::Failed { sink });
        assert!(matches!(got[1], SinkEvent::Recovered { .. }));
        assert_eq!(got.len(), 2);
    }

    #[test]
    fn a_sink_is_disabled_once_or_ends_the_run() {
        let (mut disabled, events) = guard(OnError::Disable);
        disabled.failed(full()).expect("the run goes on");
        assert!(disabled.is_disabled() && !disabled.is_due());
        assert_eq!(events.try_iter().count(), 1);
        let (mut ending, events) = guard(OnError::End);
        ending.failed(full()).expect_err("ends");
        assert_eq!(events.try_iter().count(), 0);
        // What another attempt does not help.
        let (mut retrying, _) = guard(OnError::Retry);
        let gone = SinkError::from_io("pipe", io::ErrorKind::BrokenPipe.into());
        retrying.failed(gone).expect_err("its reader is gone");
    }
}
