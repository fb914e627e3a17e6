//! Multi-object tracking: gives detections of the same object one id across frames.
//!
//! Association by score after ByteTrack (Zhang et al., ECCV 2022, algorithm 1): detections with a high
//! score are matched with all tracks first; those with a low score may only continue a track that is
//! still unmatched and was seen clearly just before. Boxes are enlarged in two steps (C-BIoU, Yang et
//! al., WACV 2023); direction and re-update after a gap are those of OC-SORT (Cao et al., CVPR 2023).
//! A track gets its id once its score or its age vouches for it. Motion is a Kalman filter over true
//! time steps. Tracking depends on the saved records alone, so that a recorded run can be tracked again
//! without its video.
//!
//! [`classification`] is about second networks that classify tracked objects.

mod assignment;
pub mod classification;
mod duplicates;
mod kalman;
mod life;
mod params;
mod tracker;

#[cfg(test)]
mod tests;

pub use assignment::linear_assignment;
pub use kalman::BoxKalmanFilter;
pub use life::{TrackState, TrackView};
pub use params::{FrameContext, Observation, TrackerParams};
pub use tracker::Tracker;
