//! Decoders of network outputs: SSD boxes, DeepLab masks, classes of the whole picture.
//!
//! Coordinates of the model end here: [`SsdDecoder`] takes the raw heads and the transform from
//! preprocessing and returns [`Detection`]s in frame pixels; [`DeepLabDecoder`] returns a [`ClassMask`]
//! of the frame's size; [`ClassifyDecoder`] returns the best classes.

mod anchors;
mod class_mask;
mod classify;
mod deeplab;
mod detection;
mod logit_smoother;
mod nms;
mod safe_ground;
mod ssd;

pub use anchors::{AnchorParams, FeatureMap};
pub use class_mask::{ClassMask, UNKNOWN};
pub use classify::{ClassActivation, Classification, ClassifyDecoder, ClassifyParams};
pub use deeplab::{DeepLabDecoder, DeepLabParams};
pub use detection::{Detection, Labels, Prediction, Segmentation};
pub use logit_smoother::LogitSmoother;
pub use nms::join_scales;
pub use safe_ground::{SafeGround, SafeGroundFinder};
pub use ssd::{BoxCoding, ScoreActivation, SsdDecoder, SsdParams, WantedClass};
