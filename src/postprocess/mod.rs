//! Decoders of network outputs: boxes of detection heads, DeepLab masks, classes of the whole picture.
//!
//! Coordinates of the model end here: the decoder of a detection head takes the raw outputs and the
//! transform from preprocessing and returns [`Detection`]s in frame pixels; [`SegmentDecoder`] returns a
//! [`ClassMask`] of the frame's size, [`ClassifyDecoder`] the best classes.
//!
//! | decoder | networks |
//! |---|---|
//! | [`SsdDecoder`] | SSD, SSDLite, FPN-Lite, BlazeFace |
//! | [`YoloDecoder`] | YOLOv2 to v12, YOLOX |
//! | [`GflDecoder`] | NanoDet, PicoDet, GFL |
//! | [`CenterNetDecoder`] | CenterNet, CenterFace |
//! | [`RetinaFaceDecoder`] | RetinaFace |
//! | [`DetrDecoder`] | RT-DETR, D-FINE, DETR |

mod activation;
mod anchor_layouts;
mod anchors;
mod centernet;
mod class_mask;
mod classify;
mod decoder;
mod deeplab;
mod detection;
mod detr;
mod gfl;
mod input_boxes;
mod instance_mask;
mod join_tiles;
mod logit_smoother;
mod nms;
mod predictions;
mod retinaface;
mod safe_ground;
mod segment;
mod selection;
mod ssd;
mod weighted_nms;
mod yolo;

pub use activation::ScoreActivation;
pub use anchor_layouts::{AnchorCoding, DefaultBoxes, MultiscaleAnchors, fixed_anchors};
pub use anchors::{Anchor, AnchorParams, FeatureMap};
pub use centernet::{CenterNetCoding, CenterNetDecoder, CenterNetParams};
pub use class_mask::{ClassMask, UNKNOWN};
pub use classify::{ClassActivation, Classification, ClassifyDecoder, ClassifyParams};
pub use decoder::{HeadDecoder, HeadParams};
pub use deeplab::{DeepLabDecoder, DeepLabParams};
pub use detection::{Detection, Keypoint, Labels, Prediction, Segmentation};
pub use detr::{DetrDecoder, DetrParams, detr_class_channels};
pub use gfl::{GflDecoder, GflOutputs, GflParams};
pub use input_boxes::BoxUnit;
pub use instance_mask::InstanceMask;
pub use join_tiles::{CropDetections, JoinParams, TileMerge, join_tiles};
pub use logit_smoother::LogitSmoother;
pub use nms::join_scales;
pub use predictions::RowLayout;
pub use retinaface::{RetinaFaceDecoder, RetinaFaceParams};
pub use safe_ground::{SafeGround, SafeGroundFinder};
pub use segment::{SegmentDecoder, SegmentParams, SegmentValues};
pub use selection::WantedClass;
pub use ssd::{BoxCoding, SsdAnchors, SsdBoxes, SsdDecoder, SsdNms, SsdParams};
pub use yolo::{
    AnchorMapLayout, AnchorUnit, SizeCoding, YoloAnchorMap, YoloDecoder, YoloFormat, YoloParams,
    YoloTask,
};
