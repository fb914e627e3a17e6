//! Asking a run for other settings, and its answer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use crate::config::LoadedPipeline;
use crate::pipeline::options::RunError;
use crate::pipeline::report::RunReport;

/// Gives a run another configuration while it goes on, from any thread; clones share it. It is one of the
/// [`RunOptions`](crate::pipeline::RunOptions).
#[derive(Clone, Debug, Default)]
pub struct Reloader(Arc<Mutex<Option<mpsc::Sender<Event>>>>);

/// What the supervisor of a run waits for.
#[derive(Debug)]
pub enum Event {
    /// A stream has ended.
    Ended {
        /// Its place in the order of the streams.
        place: usize,
        /// How.
        result: Box<Result<RunReport, RunError>>,
    },
    /// Another configuration is asked for.
    Reload {
        /// All streams.
        configs: Vec<LoadedPipeline>,
        /// Where the answer goes.
        answer: mpsc::Sender<Result<Reloaded, ReloadError>>,
    },
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The streams that changed; empty if none did.
    pub streams: Vec<StreamReload>,
}

/// What a reload changed in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReload {
    /// Its name.
    pub stream: String,
    /// What happened to it.
    pub change: StreamChange,
}

/// What happened to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamChange {
    /// It is started.
    Added,
    /// It ends.
    Removed,
    /// It goes on under other settings.
    Changed {
        /// The keys that changed.
        keys: Vec<String>,
        /// The first frame under them; `None` if it has not come yet.
        frame: Option<u64>,
    },
    /// It had ended before, and stays so.
    Ended,
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.streams.is_empty() {
            return write!(f, "nothing changed");
        }
        for (i, StreamReload { stream, change }) in self.streams.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{stream}: ")?;
            match change {
                StreamChange::Added => write!(f, "added")?,
                StreamChange::Removed => write!(f, "removed")?,
                StreamChange::Ended => write!(f, "has ended: it is not started again")?,
                StreamChange::Changed { keys, frame } => {
                    write!(f, "{}", keys.join(", "))?;
                    match frame {
                        Some(frame) => write!(f, " (from frame {frame})")?,
                        None => write!(f, " (from the next frame)")?,
                    }
                }
            }
        }
        Ok(())
    }
}

/// Why a configuration was refused; the run goes on as before.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Nothing runs.
    #[error("the pipeline is not running: it has not started yet, or has ended")]
    NotRunning,
    /// What cannot change while the pipeline runs.
    #[error("{0}")]
    NeedsRestart(String),
    /// A stream cannot take it over.
    #[error("{stream}: {why}")]
    Stream {
        /// Its name.
        stream: String,
        /// Why.
        why: String,
    },
    /// What it needs cannot be loaded or opened.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Reloader {
    /// Has the run go on with `configs`, which replace all its streams; waits until they do.
    ///
    /// # Errors
    /// When they are refused; nothing has changed then.
    pub fn reload(&self, configs: Vec<LoadedPipeline>) -> Result<Reloaded, ReloadError> {
        let events = self.lock().clone().ok_or(ReloadError::NotRunning)?;
        let (answer, answered) = mpsc::channel();
        let asked = events.send(Event::Reload { configs, answer });
        asked.map_err(|_| ReloadError::NotRunning)?;
        drop(events);
        answered.recv().unwrap_or(Err(ReloadError::NotRunning))
    }

    /// From now on `supervisor` is asked, or nobody.
    pub(in crate::pipeline) fn attach(&self, supervisor: Option<mpsc::Sender<Event>>) {
        *self.lock() = supervisor;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<Event>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
