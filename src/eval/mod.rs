//! Evaluation against ground truth: COCO detection metrics, MOTChallenge tracking metrics, mean IoU of
//! segmentation.

mod confusion;
mod detection;
mod ground_truth;
mod instances;
mod tracking;

pub use confusion::ConfusionMatrix;
pub use detection::{CocoGroundTruth, CocoMetrics, read_results};
pub use ground_truth::{EvalError, GroundTruth, IGNORED, MaskFolder};
pub use instances::CocoInstances;
pub use tracking::{MotFrames, TrackingMetrics, evaluate_tracking, read_mot};
