//! Options of a run, and the errors that keep it from starting.

use std::path::PathBuf;

use crate::capture::CaptureError;
use crate::flow::Health;
use crate::sink::SinkError;
use mobilens_nn::{KernelChoice, NnError};

use super::reload::Reloader;

/// Options of the command line besides the pipeline file.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Stop after so many frames.
    pub frames: Option<u64>,
    /// Show a progress bar if standard error is a terminal.
    pub progress: bool,
    /// Compare the run with these records.
    pub expect: Option<PathBuf>,
    /// Discard the results, for benchmarks.
    pub discard: bool,
    /// Which kernels the network runs on.
    pub kernels: KernelChoice,
    /// Where the run's health can be read, from any thread.
    pub health: Health,
    /// Gives the run another configuration, from any thread.
    pub reloader: Reloader,
}

/// Why a run did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The model does not fit the pipeline.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network cannot be loaded or prepared.
    #[error(transparent)]
    Network(#[from] NnError),
    /// A source or sink was left out of this build.
    #[error(transparent)]
    Feature(#[from] MissingFeature),
    /// The source cannot be opened.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A sink cannot be opened.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The plan of an earlier run cannot be repeated.
    #[error("{}: {why}", path.display())]
    Plan {
        /// The file that `gating.plan` names.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// A defect of this program.
    #[error("internal error: {0}")]
    Panicked(String),
}

/// A pipeline asks for what was left out of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this build has no {kind} `{key}`: build it with the Cargo feature `{feature}`")]
pub struct MissingFeature {
    /// `source` or `sink`.
    pub kind: &'static str,
    /// Its key in the YAML.
    pub key: &'static str,
    /// The feature that brings it.
    pub feature: &'static str,
}

/// Why a model does not fit a pipeline.
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
