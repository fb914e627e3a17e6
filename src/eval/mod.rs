//! Evaluation against ground truth: COCO detection metrics, MOTChallenge tracking metrics, mean IoU of
//! segmentation; and the comparison of two runs with each other.

mod comparison;
mod confusion;
mod detection;
mod ground_truth;
mod instances;
mod mot_sequence;
mod pr_curve;
mod size_metrics;
mod tracking;

pub use comparison::{ClassComparison, FrameComparison, RunComparison};
pub use confusion::ConfusionMatrix;
pub use detection::{CocoEvaluation, CocoGroundTruth, CocoMetrics, read_results};
pub use ground_truth::{EvalError, GroundTruth, IGNORED, MaskFolder};
pub use instances::CocoInstances;
pub use mot_sequence::MotSequence;
pub use pr_curve::{PrCurve, draw_pr_curves};
pub use size_metrics::{RECALL_LEVELS, SizeMetrics};
pub use tracking::{MotFrames, TrackingMetrics, evaluate_tracking, read_mot};
