//! Model cards: preprocessing, head and labels of a network, which its ONNX file does not tell.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classify::ClassifyHeadConfig;
use crate::postprocess::Labels;

use super::segment_head::SegmentHeadConfig;
use super::ssd_anchors::{
    AnchorListConfig, BoxOrderConfig, DefaultBoxesConfig, FixedAnchorsConfig,
    MultiscaleAnchorsConfig, SsdMapConfig, SsdNmsConfig, SsdSizeCodingConfig,
};

use super::heads::{
    CenternetHeadConfig, DetrHeadConfig, GflHeadConfig, RetinafaceHeadConfig, YoloHeadConfig,
};

/// A model card, `models/NAME.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardConfig {
    /// Name in the records.
    pub name: String,
    /// The ONNX file, relative to the card.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub file: PathBuf,
    /// SHA-256 of the ONNX file; a file with another one is refused.
    #[schemars(
        regex(pattern = "^[0-9a-f]{64}$"),
        extend("x-expected" = "64 hexadecimal digits")
    )]
    pub sha256: Option<String>,
    /// Preprocessing: from a picture to the input tensor.
    pub input: InputConfig,
    /// Head: from the output tensors to results.
    pub head: HeadConfig,
    /// Labels by id; an id is the index of its output channel.
    #[schemars(length(min = 1))]
    pub labels: Vec<LabelConfig>,
    /// Licence of the weights.
    pub licence: Option<String>,
    /// Origin of the weights.
    pub source: Option<String>,
    /// How the ONNX file was converted.
    pub converted: Option<String>,
    /// Measured accuracy, and the command that measures it.
    pub accuracy: Option<String>,
}

/// Preprocessing: from a picture to the input tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputConfig {
    /// Width of the input.
    #[schemars(range(min = 8, max = 4096))]
    pub width_px: u32,
    /// Height of the input.
    #[schemars(range(min = 8, max = 4096))]
    pub height_px: u32,
    /// Channel order.
    #[serde(default)]
    pub colour: ChannelOrder,
    /// Mean of each channel, in the tensor's channel order: `(pixel - mean) / std`, pixels 0 to 255.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, in the same order.
    pub std: [f32; 3],
    /// How the picture is resized to the input.
    #[serde(default)]
    pub resize: ResizeConfig,
    /// Half-pixel centres when resizing (OpenCV, PyTorch), instead of whole ones (TensorFlow 1).
    #[serde(default)]
    pub half_pixel: bool,
    /// Which pixels of the picture make one of the input.
    #[serde(default)]
    pub filter: FilterConfig,
    /// Padding value of a letterboxed picture; only with `resize: letterbox`.
    #[schemars(range(min = 0.0, max = 255.0), extend("default" = PAD_VALUE))]
    pub pad_value: Option<f32>,
    /// Padding colour of a letterboxed picture, in the tensor's channel order, instead of `pad_value`.
    #[schemars(inner(range(min = 0.0, max = 255.0)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_colour: Option<[f32; 3]>,
    /// Position of a letterboxed picture; only with `resize: letterbox`.
    #[schemars(extend("default" = LetterboxAnchorConfig::default()))]
    pub anchor: Option<LetterboxAnchorConfig>,
    /// Shorter side before the crop, torchvision's `Resize(shorter_px)`; only with `resize:
    /// center_crop`, which needs this or `crop_share`.
    #[schemars(range(min = 8, max = 8192))]
    pub shorter_px: Option<u32>,
    /// The crop's share of the shorter side, timm's `crop_pct`: the shorter side is brought to the
    /// input's longer one divided by it, rounded down; only with `resize: center_crop`.
    #[schemars(range(min = 0.05, max = 1.0))]
    pub crop_share: Option<f64>,
    /// Width and height of the file's input, where the pipeline has another.
    #[serde(skip)]
    #[schemars(skip)]
    pub trained_px: Option<(u32, u32)>,
}

/// Channel order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

/// How a picture is resized to the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResizeConfig {
    /// To the input's size, without regard to the aspect ratio.
    #[default]
    Stretch,
    /// With its aspect ratio, and padding.
    Letterbox,
    /// With its aspect ratio, by the shorter side; then the middle is cut out (classifiers only).
    CenterCrop,
}

/// Which pixels of the picture make one of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterConfig {
    /// The nearest four: OpenCV's `INTER_LINEAR`, TensorFlow, ONNX `Resize`.
    #[default]
    Bilinear,
    /// Antialiased bilinear of Pillow and torchvision, whatever `half_pixel` says.
    PilBilinear,
    /// Antialiased bicubic of Pillow and timm, whatever `half_pixel` says.
    PilBicubic,
}

/// Position of a letterboxed picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LetterboxAnchorConfig {
    /// Padding on the right and at the bottom.
    TopLeft,
    /// Padding on both sides.
    #[default]
    Center,
    /// Padding on the left and at the bottom.
    TopRight,
    /// Padding on the right and at the top.
    BottomLeft,
    /// Padding on the left and at the top.
    BottomRight,
}

/// The head.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct HeadConfig {
    /// SSD: boxes and class scores at anchors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssd: Option<SsdHeadConfig>,
    /// DeepLab: a class for each pixel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deeplab: Option<DeeplabHeadConfig>,
    /// Segmentation: a class for each pixel, from logits, probabilities or class ids of any size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<SegmentHeadConfig>,
    /// YOLO: version 2 to 12, YOLOX.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yolo: Option<YoloHeadConfig>,
    /// Generalized focal loss (NanoDet, PicoDet): class scores and distributions of distances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gfl: Option<GflHeadConfig>,
    /// CenterNet, CenterFace: a heat map of centres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub centernet: Option<CenternetHeadConfig>,
    /// RetinaFace: priors with variances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retinaface: Option<RetinafaceHeadConfig>,
    /// DETR (RT-DETR, D-FINE): logits and boxes of queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detr: Option<DetrHeadConfig>,
    /// Classifier: scores for the whole picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classify: Option<ClassifyHeadConfig>,
}

/// SSD: boxes and class scores at anchors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SsdHeadConfig {
    /// Name of the output with the box encodings, `[1, anchors, 4]`; with `keypoints` `[1, anchors, 4 + 2*K]`.
    pub boxes: String,
    /// Name of the output with the class logits, `[1, anchors, channels]`.
    pub scores: String,
    /// More outputs of the same kind, whose rows follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_maps: Vec<SsdMapConfig>,
    /// Anchors by the rules of TensorFlow's `ssd_anchor_generator`. Exactly one of the five kinds of anchors
    /// must be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchors: Option<AnchorsConfig>,
    /// Anchors of a feature pyramid (FPN-Lite).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiscale_anchors: Option<MultiscaleAnchorsConfig>,
    /// Anchors of torchvision's SSD and SSDLite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_boxes: Option<DefaultBoxesConfig>,
    /// Anchors as large as the picture (BlazeFace).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_anchors: Option<FixedAnchorsConfig>,
    /// Anchors from an output, a constant of the ONNX file or a text file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor_list: Option<AnchorListConfig>,
    /// Scale factors of the box encodings: 10, 10, 5, 5 or 1, 1, 1, 1; of BlazeFace the input's size.
    pub box_coding: BoxCodingConfig,
    /// Order of the box encodings.
    #[serde(default)]
    pub box_order: BoxOrderConfig,
    /// Coding of widths and heights.
    #[serde(default)]
    pub size_coding: SsdSizeCodingConfig,
    /// Largest th and tw after division by their scale factors: 4.135 = ln(1000/16) in torchvision
    /// (`bbox_xform_clip`).
    #[schemars(range(min = 0.0, max = 100.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_log_size: Option<f32>,
    /// Clip boxes to the input before non-maximum suppression, as torchvision does.
    #[serde(default)]
    pub clip_to_input: bool,
    /// Keypoints behind each box: x and y, coded like its centre. They become the records' `keypoints`.
    #[serde(default)]
    #[schemars(range(max = 1000))]
    pub keypoints: u32,
    /// Activation from logits to scores.
    pub activation: ActivationConfig,
    /// Whether channel 0 is the background.
    pub background: bool,
    /// Which boxes suppress each other.
    #[serde(default)]
    pub nms: SsdNmsConfig,
    /// Most candidates of a class before non-maximum suppression, the best ones (`topk_candidates` of
    /// torchvision: 300). Default: all.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates_per_class: Option<u32>,
    /// IoU above which non-maximum suppression merges boxes of one class.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub nms_iou: f32,
    /// Most detections of a frame.
    #[schemars(range(min = 1, max = 1000))]
    pub max_detections: u32,
}

/// Anchor layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnchorsConfig {
    /// Side of each square feature map, largest first.
    #[schemars(length(min = 1), inner(range(min = 1, max = 512)))]
    pub feature_maps: Vec<u32>,
    /// Scale of each feature map's anchors as a share of the picture.
    #[schemars(inner(range(min = 0.001, max = 2.0)))]
    pub scales: Vec<f32>,
    /// Aspect ratios (width over height) of the anchors at each position.
    #[schemars(length(min = 1), inner(range(min = 0.01, max = 100.0)))]
    pub aspect_ratios: Vec<f32>,
    /// Aspect ratio of one more anchor between this scale and the next; 0 for none.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub interpolated_scale_aspect_ratio: f32,
    /// Use three anchors only on the first feature map.
    pub reduce_boxes_in_lowest_layer: bool,
}

/// Scale factors of the box encodings: each encoding is divided by its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoxCodingConfig {
    /// Of ty.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub y: f32,
    /// Of tx.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub x: f32,
    /// Of th.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub h: f32,
    /// Of tw.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub w: f32,
}

/// Activation from logits to scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivationConfig {
    /// The network's outputs are scores.
    None,
    /// Sigmoid: each class independently.
    Sigmoid,
    /// Softmax over all channels.
    Softmax,
}

/// DeepLab: a class for each pixel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeeplabHeadConfig {
    /// Name of the output with the class logits, `[1, classes, rows, columns]`.
    pub logits: String,
    /// Output stride: input pixels for each logit.
    #[schemars(range(min = 1, max = 64))]
    pub output_stride: u32,
    /// Align corners when the logits are resized to the input.
    pub align_corners: bool,
    /// Cards of the same weights at other output strides, relative to this card.
    #[serde(default)]
    pub siblings: Vec<PathBuf>,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelConfig {
    /// Index of its channel, and category id in the records.
    #[schemars(range(max = 65_535))]
    pub id: u32,
    /// Name.
    pub name: String,
}

/// Padding value of a letterboxed picture that has no other.
const PAD_VALUE: f32 = 127.5;

impl InputConfig {
    /// Width and height of the file's input.
    pub fn trained_size_px(&self) -> (u32, u32) {
        self.trained_px.unwrap_or((self.width_px, self.height_px))
    }

    /// Padding of a letterboxed picture, in the tensor's channel order.
    pub fn letterbox_pad_value(&self) -> [f32; 3] {
        let grey = self.pad_value.unwrap_or(PAD_VALUE);
        self.pad_colour.unwrap_or([grey; 3])
    }

    /// Shorter side of the picture before the centre crop; the input's longer side where the card says
    /// neither how long it is nor the crop's share.
    pub fn center_crop_shorter_px(&self) -> u32 {
        let longer = self.width_px.max(self.height_px);
        let of_share = |share: f64| (f64::from(longer) / share) as u32;
        let shorter = self.shorter_px.or(self.crop_share.map(of_share));
        shorter.unwrap_or(longer)
    }

    /// Position of a letterboxed picture.
    pub fn letterbox_anchor(&self) -> LetterboxAnchorConfig {
        self.anchor.unwrap_or_default()
    }
}

impl ActivationConfig {
    /// A default.
    pub(super) fn none() -> Self {
        Self::None
    }

    /// A default.
    pub(super) fn sigmoid() -> Self {
        Self::Sigmoid
    }
}

impl HeadConfig {
    /// Whether it finds boxes.
    pub fn detects(&self) -> bool {
        self.ssd.is_some()
            || self.yolo.is_some()
            || self.gfl.is_some()
            || self.centernet.is_some()
            || self.retinaface.is_some()
            || self.detr.is_some()
    }

    /// The anchors of an SSD that may have other input sizes than its own.
    pub fn sizable_anchors(&self) -> Option<&AnchorsConfig> {
        self.ssd.as_ref()?.anchors.as_ref()
    }

    /// Whether it gives each pixel a class.
    pub fn segments(&self) -> bool {
        self.deeplab.is_some() || self.segment.is_some()
    }

    /// Whether channel 0 is the background, so that labels start at 1.
    pub fn has_background(&self) -> bool {
        self.ssd.as_ref().is_some_and(|ssd| ssd.background) || self.retinaface.is_some()
    }
}

impl CardConfig {
    /// The labels, to be looked up by id.
    pub fn labels(&self) -> Labels {
        Labels::new(
            self.labels
                .iter()
                .map(|label| (label.id, label.name.clone()))
                .collect(),
        )
    }
}
