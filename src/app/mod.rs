//! Builds a pipeline from its description and runs it. The only module that knows all others.
//!
//! [`run`] reads from top to bottom as a frame travels: source, workers, records, overlay, sinks.
//!
//! | thread | work | edge to the next (live / replay) |
//! |---|---|---|
//! | `0-capture` | read, number, pace | newest wins, 1 / blocks, 2 |
//! | `1-infer-N` | preprocess, infer, postprocess | blocks, in order |
//! | `2-emit` | records | blocks, 4 (records); see below (pictures) |
//! | `3-overlay` | convert and draw, only if somebody looks | blocks, or newest wins for the window |
//! | `4-record` | draw if asked to, encode, write | blocks, 4 |
//! | `4-SINK` | write | |
//! | main | the window, or waiting | |
//!
//! [`run_streams`] does so for several streams side by side, which take turns at the network.
//!
//! Only the source is told to stop; the rest drains because its input closes. The last record is
//! made when all that comes before the sinks has ended, so its counts are final.

mod analyst;
mod detector;
mod emit;
mod feed;
mod fit;
mod inference;
mod model;
mod pipeline;
mod progress;
mod recording;
mod rules;
mod segmenter;
mod show;
mod sinks;
mod source;
mod stream;
mod summary;
mod watch;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use analyst::Analyst;
pub use detector::{Detector, DetectorModel, classes_to_keep};
pub use feed::{Feed, FeedCounts, Pace, SourceNews};
pub use fit::ModelError;
pub use inference::{ChainLatency, Inference};
pub use model::Model;
pub use pipeline::{Chain, Pipeline};
pub use progress::Progress;
pub use recording::Recordist;
pub use segmenter::{Segmenter, SegmenterModel};
pub use show::WebArtist;
pub use sinks::{NamedSink, StreamSinks};
pub use source::OpenSource;
pub use summary::RunReport;

use crate::capture::CaptureError;
use crate::config::PipelineConfig;
use crate::flow::{StopReason, StopSignal, Turns, panic_message};
use crate::nn::NnError;
use crate::sink::SinkError;
use sinks::SharedSinks;
use stream::{Stream, turns_at_once};

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

/// Runs a stream until its source ends or `stop` is given.
///
/// # Errors
/// When it cannot begin; what goes wrong later is in the report.
pub fn run(
    config: PipelineConfig,
    options: &RunOptions,
    stop: &StopSignal,
) -> Result<RunReport, RunError> {
    let mut outcomes = run_streams(vec![config], options, stop)?;
    outcomes.remove(0).result
}

/// What became of a stream.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub stream: String,
    /// How it ended, or why it did not begin.
    pub result: Result<RunReport, RunError>,
}

/// Runs streams side by side until their sources end or `stop` is given. They share the network and
/// take turns at it; one that fails leaves the others running.
///
/// # Errors
/// When the network that they share is of no use.
pub fn run_streams(
    mut configs: Vec<PipelineConfig>,
    options: &RunOptions,
    stop: &StopSignal,
) -> Result<Vec<Outcome>, RunError> {
    if options.discard {
        for config in &mut configs {
            config.spec.sinks.clear();
            config.shared.clear();
        }
    }
    let models = Model::load_shared(&configs)?;
    let turns = (configs.len() > 1).then(|| Turns::new(turns_at_once(&configs[0])));
    let mut shared = SharedSinks::default();
    let mut outcomes = Vec::new();
    let mut ready = Vec::new();
    for (place, (config, model)) in configs.into_iter().zip(&models).enumerate() {
        let name = config.stream.clone();
        let turns = turns.as_ref().map(|turns| turns.taker());
        match Stream::build(config, model, options, turns, &mut shared) {
            Ok((stream, window)) => ready.push((place, name, stream, window)),
            Err(error) => outcomes.push((place, name, Err(error))),
        }
    }
    shared.begin();
    // The window's stream has the main thread, which some systems want for it.
    let with_window = ready.iter().position(|(.., window)| window.is_some());
    let on_main = (!ready.is_empty()).then(|| ready.swap_remove(with_window.unwrap_or(0)));
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (place, name, stream, _) in ready {
            let stop = stop.child();
            let thread = scope.spawn(move || stream.run(None, &stop));
            running.push((place, name, thread));
        }
        if let Some((place, name, stream, window)) = on_main {
            let child = stop.child();
            let result = stream.run(window, &child);
            if child.reason() == Some(StopReason::WindowClosed) {
                stop.stop(StopReason::WindowClosed);
            }
            outcomes.push((place, name, result));
        }
        for (place, name, thread) in running {
            let result = thread.join().unwrap_or_else(|panic| {
                let why = format!("internal error: {}", panic_message(&*panic));
                Err(RunError::Thread(std::io::Error::other(why)))
            });
            outcomes.push((place, name, result));
        }
    });
    drop(shared);
    outcomes.sort_by_key(|(place, ..)| *place);
    let outcomes = outcomes
        .into_iter()
        .map(|(_, stream, result)| Outcome { stream, result });
    Ok(outcomes.collect())
}
