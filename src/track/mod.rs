//! From detections to objects that keep their number from frame to frame.
//!
//! Association in two stages by score, after ByteTrack (Zhang et al., ECCV 2022, algorithm 1): what
//! scored well is matched with all tracks first; what scored badly may only continue a track that is
//! still without a match. Motion is a Kalman filter over true time steps. Everything is a function
//! of the saved records alone, so that a recorded run can be tracked again without its video.

mod assign;
mod kalman;
mod tracker;

#[cfg(test)]
mod tests;

pub use assign::assign;
pub use kalman::BoxMotion;
pub use tracker::{Observation, Scene, TrackState, TrackView, Tracker, TrackerParams};
