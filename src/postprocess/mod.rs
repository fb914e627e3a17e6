//! Decoders of network outputs: SSD boxes, DeepLab masks.
//!
//! Coordinates of the model end here: [`SsdDecoder`] takes the raw heads and the transform from
//! preprocessing and returns [`Detection`]s in frame pixels; [`DeepLabDecoder`] returns a [`ClassMask`]
//! of the frame's size.

mod activation;
mod anchors;
mod class_mask;
mod deeplab;
mod detection;
mod logit_smoother;
mod nms;
mod predictions;
mod safe_ground;
mod selection;
mod ssd;
mod yolo;

pub use activation::ScoreActivation;
pub use anchors::{AnchorParams, FeatureMap};
pub use class_mask::{ClassMask, UNKNOWN};
pub use deeplab::{DeepLabDecoder, DeepLabParams};
pub use detection::{Detection, Labels, Prediction, Segmentation};
pub use logit_smoother::LogitSmoother;
pub use nms::join_scales;
pub use predictions::RowLayout;
pub use safe_ground::{SafeGround, SafeGroundFinder};
pub use selection::WantedClass;
pub use ssd::{BoxCoding, SsdDecoder, SsdParams};
pub use yolo::{
    AnchorMapLayout, AnchorUnit, BoxUnit, SizeCoding, YoloAnchorMap, YoloDecoder, YoloFormat,
    YoloParams,
};
