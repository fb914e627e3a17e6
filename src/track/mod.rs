//! Multi-object tracking: gives detections of the same object one id across frames.
//!
//! Association in two stages by score, after ByteTrack (Zhang et al., ECCV 2022, algorithm 1):
//! detections with a high score are matched with all tracks first; those with a low score may only
//! continue a track that is still unmatched. Motion is a Kalman filter over true time steps. Tracking
//! depends on the saved records alone, so that a recorded run can be tracked again without its video.

mod assignment;
mod kalman;
mod tracker;

#[cfg(test)]
mod tests;

pub use assignment::linear_assignment;
pub use kalman::BoxKalmanFilter;
pub use tracker::{FrameContext, Observation, TrackState, TrackView, Tracker, TrackerParams};
