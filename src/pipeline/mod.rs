//! Builds a pipeline from its configuration and runs it. The only module that knows all others.
//!
//! `build` knows the configuration and makes what it describes; `stages` do the work and know
//! nothing of the configuration; `threads` puts each stage on its thread and joins them by edges.
//!
//! | thread | stage | edge to the next (live / replay) |
//! |---|---|---|
//! | `0-capture` | read, number, pace, gate | newest wins, 1 / blocks, 2 |
//! | `1-infer-N` | preprocess, infer, postprocess | blocks, in order |
//! | `2-publish` | records, tracks, events | blocks, 4 (records); see below (pictures) |
//! | `3-render` | convert and draw, only if somebody looks | blocks, or newest wins for the window |
//! | `4-encode` | draw if asked to, encode, write | blocks, 4 |
//! | `4-SINK` | write | |
//! | main | the window, or waiting | |
//!
//! [`run_streams`] does so for several streams side by side, which take turns at the network.
//!
//! Only the source is told to stop; the rest drains because its input closes. The last record is
//! made when all that comes before the sinks has ended, so its counts are final.

mod build;
mod options;
mod progress;
mod report;
mod run;
mod stages;
mod threads;

#[cfg(test)]
mod tests;

pub use build::{Model, analyzer, classes_to_keep};
pub use options::{ModelError, RunError, RunOptions};
pub use progress::Progress;
pub use report::RunReport;
pub use run::{Outcome, run, run_streams};
pub use stages::analyze::Analyzer;
pub use stages::capture::Pace;
pub use stages::detect::{Detector, DetectorModel};
pub use stages::infer::{Inference, InferenceLatency, InferenceWorker};
pub use stages::segment::{Segmenter, SegmenterModel};
