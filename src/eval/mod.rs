//! How good results are: boxes by COCO's rules, tracks by the MOTChallenge's, segmentation against
//! masks or COCO's polygons.

mod confusion;
mod detection;
mod instances;
mod tracking;
mod truth;

pub use confusion::Confusion;
pub use detection::{CocoBoxes, CocoFigures, read_results};
pub use instances::Instances;
pub use tracking::{MotFrames, TrackingFigures, evaluate_tracking, read_mot};
pub use truth::{EvalError, IGNORED, MaskFolder, Truth};
