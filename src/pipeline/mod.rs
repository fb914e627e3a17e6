//! Builds a pipeline from its configuration and runs it. The only module that depends on all others.
//!
//! `build` makes stages from the configuration; `stages` do the work and do not depend on the
//! configuration; `threads` runs each stage on its thread and connects them by edges.
//!
//! | thread | stage | edge to the next (live / replay) |
//! |---|---|---|
//! | `0-capture` | `capture`: read, number, pace, gate | newest wins, 1 / blocks, 2 |
//! | `1-infer-N` | `infer` (`detect`, `models`, `segment` or `classify`): preprocess, infer, postprocess | blocks, in order |
//! | `2-classify` | `classify_tracks`: second networks, live (in a replay `2-publish` runs them) | at most one frame's crops, to and from `2-publish` |
//! | `2-publish` | `publish` and `analyze`: records, tracks, events | leaky, 256 / blocks, 4 (records); by thread (pictures) |
//! | `3-render` | `render`: annotated pictures, one thread for the window and one for each folder of pictures | newest wins, or leaky / blocks, 4 |
//! | `4-encode` | `encode`: video files, clean or annotated | leaky / blocks, 4 |
//! | `4-store` | `store`: events and thumbnails into the database | leaky / blocks, 4 |
//! | `4-web` | `web`: JPEGs for the browsers that watch | newest wins, 1 |
//! | `4-SINK` | `write`: records, image files, masks | leaky / blocks, 4 |
//! | main | `window`, or waiting | newest wins, 1 |
//!
//! Source events (lost, back) travel on the same edges as frames, in order; they are never dropped. A
//! picture is converted to RGB once per frame and drawn once per overlay style, by the first thread
//! that needs it, and not at all if none does.
//!
//! [`run_streams`] runs several streams side by side, which share the networks fairly. Each network is loaded once
//! ([`LoadedModels`]), whichever streams run it.
//!
//! While it runs, a [`Reloader`] gives it another configuration: see `reload`.
//!
//! A leaky edge drops the oldest, counts it and warns. Only the source gets the stop signal; the other
//! stages drain because their input closes, for 10 s at most where the run is live or was interrupted. The last
//! record is made when all stages before the sinks have ended, so its counts are final.
//!
//! # Example
//!
//! ```
//! use mobilens::flow::StopSignal;
//! use mobilens::{config, pipeline};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
//! let mut loaded = config::load(&root.join("pipelines/ssd_replay.yaml"), &[])?;
//! loaded.clear_sinks();
//! let options = pipeline::RunOptions {
//!     frames: Some(3),
//!     ..pipeline::RunOptions::default()
//! };
//! let report = pipeline::run(loaded, &options, &StopSignal::new())?;
//! assert_eq!(report.end.frames.emitted, 3);
//! assert!(report.failures.is_empty());
//! # Ok(())
//! # }
//! ```

mod build;
mod join;
mod options;
mod outbox;
mod progress;
mod reload;
mod report;
mod run;
mod sink_threads;
mod stages;
mod supervisor;
mod threads;

#[cfg(test)]
mod tests;

pub use build::{
    LoadedModels, Model, StreamModels, TrackModels, analyzer, classes_to_keep, ensure_built,
    open_recording, preprocess_params,
};
pub use join::SHUTDOWN_DEADLINE;
pub use options::{MissingFeature, ModelError, RunError, RunOptions};
pub use progress::Progress;
pub use reload::{ReloadError, Reloaded, Reloader, StreamChange, StreamReload};
pub use report::RunReport;
pub use run::{Outcome, run, run_streams, run_with_sinks};
pub use stages::analyze::Analyzer;
pub use stages::capture::Pace;
pub use stages::classify::{Classifier, ClassifierModel};
pub use stages::classify_tracks::{
    CropClassifier, CropThread, TrackClassification, TrackClassificationCounts, TrackClassifier,
    TrackClassifierCounts, TrackClassifierParams,
};
pub use stages::detect::{Detector, DetectorModel};
pub use stages::infer::{Inference, InferenceLatency, InferenceWorker};
pub use stages::segment::{Segmenter, SegmenterModel};
pub use threads::NamedSink;
