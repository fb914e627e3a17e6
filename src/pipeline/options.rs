//! Options of a run, and why one cannot begin.

use std::path::PathBuf;

use crate::capture::CaptureError;
use crate::sink::SinkError;
use mobilens_nn::NnError;

/// What the command line says beside the pipeline.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Stop after so many frames.
    pub frames: Option<u64>,
    /// Show a progress bar if standard error is a terminal.
    pub progress: bool,
    /// Compare the run with these records.
    pub expect: Option<PathBuf>,
    /// Throw the results away, for measuring.
    pub discard: bool,
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The model does not serve the pipeline.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network cannot be made ready.
    #[error(transparent)]
    Network(#[from] NnError),
    /// The source cannot be opened.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A sink cannot be opened.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The system has no thread to give.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Why a model cannot serve a pipeline.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The network cannot be loaded.
    #[error(transparent)]
    Network(#[from] NnError),
    /// Card and network contradict each other, or the pipeline cannot use the head.
    #[error("{card}: {why}")]
    Card {
        /// Name of the card.
        card: String,
        /// What is wrong.
        why: String,
    },
}
