//! Decoders of network outputs: SSD boxes, DeepLab masks.
//!
//! Coordinates of the model end here: [`SsdDecoder`] takes the raw heads and the transform from
//! preprocessing and returns [`Detection`]s in frame pixels; [`DeepLabDecoder`] returns a [`ClassMask`]
//! of the frame's size.

mod anchors;
mod class_mask;
mod deeplab;
mod detection;
mod join_tiles;
mod logit_smoother;
mod nms;
mod safe_ground;
mod ssd;

pub use anchors::{AnchorParams, FeatureMap};
pub use class_mask::{ClassMask, UNKNOWN};
pub use deeplab::{DeepLabDecoder, DeepLabParams};
pub use detection::{Detection, Labels, Prediction, Segmentation};
pub use join_tiles::{CropDetections, JoinParams, TileMerge, join_tiles};
pub use logit_smoother::LogitSmoother;
pub use nms::join_scales;
pub use safe_ground::{SafeGround, SafeGroundFinder};
pub use ssd::{BoxCoding, ScoreActivation, SsdDecoder, SsdParams, WantedClass};
