//! From the configuration to stages that are ready to run.

mod analysis;
mod areas;
mod classifier;
mod detector;
mod features;
mod gating;
mod heads;
mod looks;
mod model;
mod models;
mod overlay;
mod preprocess;
mod run_record;
mod segmenter;
mod sinks;
mod source;
mod ssd;
mod stream;
mod track_classifiers;
mod zones;

pub use analysis::analyzer;
pub use detector::classes_to_keep;
pub use features::ensure_built;
pub use model::Model;
pub use models::{LoadedModels, StreamModels};
pub use preprocess::preprocess_params;
pub use sinks::{SharedSinks, sink_keys};
pub use source::{OpenOptions, open_recording, open_source};
pub use stream::{StreamBuilder, max_concurrent_frames, open_window};
pub use track_classifiers::TrackModels;
