//! The model card: what the pipeline must know of a network and the ONNX file does not say.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::postprocess::Labels;

/// A model card, `models/NAME.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardConfig {
    /// Name in the records.
    pub name: String,
    /// The ONNX file, relative to the card.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub file: PathBuf,
    /// The ONNX file's fingerprint; a file with another is refused.
    #[schemars(
        regex(pattern = "^[0-9a-f]{64}$"),
        extend("x-expected" = "64 hexadecimal digits")
    )]
    pub sha256: Option<String>,
    /// From a picture to the input tensor.
    pub input: InputConfig,
    /// From the output tensors to results.
    pub head: HeadConfig,
    /// Names of the label ids; an id is the index of its channel.
    #[schemars(length(min = 1))]
    pub labels: Vec<LabelConfig>,
    /// Licence of the weights.
    pub licence: Option<String>,
    /// Where the weights come from.
    pub source: Option<String>,
    /// How the file was made.
    pub converted: Option<String>,
    /// What was measured, and with which command.
    pub accuracy: Option<String>,
}

/// From a picture to the input tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputConfig {
    /// Columns.
    #[schemars(range(min = 8, max = 4096))]
    pub width_px: u32,
    /// Rows.
    #[schemars(range(min = 8, max = 4096))]
    pub height_px: u32,
    /// Order of the channels.
    #[serde(default)]
    pub colour: ChannelOrder,
    /// Subtracted from each channel (pixels are 0 to 255), in the tensor's channel order.
    pub mean: [f32; 3],
    /// What is left is divided by this.
    pub std: [f32; 3],
    /// How the picture is fitted.
    #[serde(default)]
    pub resize: ResizeConfig,
    /// Whether pixel centres lie at half coordinates (OpenCV, PyTorch) or whole ones
    /// (TensorFlow 1).
    #[serde(default)]
    pub half_pixel: bool,
    /// Grey value around a letterboxed picture (default 127.5).
    #[schemars(range(min = 0.0, max = 255.0))]
    pub pad_value: Option<f32>,
    /// Where a letterboxed picture lies (default `center`).
    pub anchor: Option<LetterboxAnchor>,
}

/// Order of the channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

/// How a picture is fitted into the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResizeConfig {
    /// Over all of the input, whatever that does to its shape.
    #[default]
    Stretch,
    /// With its shape kept, and padding beside it.
    Letterbox,
}

/// Where a letterboxed picture lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LetterboxAnchor {
    /// Padding at the right and below.
    TopLeft,
    /// Padding on both sides.
    #[default]
    Center,
}

/// Exactly one kind of head.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct HeadConfig {
    /// Boxes and class scores at anchors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssd: Option<SsdHeadConfig>,
    /// A class for each pixel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deeplab: Option<DeeplabHeadConfig>,
}

/// Boxes and class scores at anchors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SsdHeadConfig {
    /// Name of the output with the box encodings, `[1, anchors, 4]`.
    pub boxes: String,
    /// Name of the output with the class logits, `[1, anchors, channels]`.
    pub scores: String,
    /// Layout of the anchors.
    pub anchors: AnchorsConfig,
    /// Divisors of the encodings.
    pub box_coding: BoxCodingConfig,
    /// How logits become scores.
    pub activation: ActivationConfig,
    /// Whether channel 0 is the background.
    pub background: bool,
    /// Boxes of one class that overlap more than this are one object.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub nms_iou: f32,
    /// Most detections of a frame.
    #[schemars(range(min = 1, max = 1000))]
    pub max_detections: u32,
}

/// Layout of the anchors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnchorsConfig {
    /// Side of each square feature map, largest first.
    #[schemars(length(min = 1), inner(range(min = 1, max = 512)))]
    pub feature_maps: Vec<u32>,
    /// Scale of each feature map's anchors as a share of the picture.
    #[schemars(inner(range(min = 0.001, max = 2.0)))]
    pub scales: Vec<f32>,
    /// Width over height of the anchors at each place.
    #[schemars(length(min = 1), inner(range(min = 0.01, max = 100.0)))]
    pub aspect_ratios: Vec<f32>,
    /// Aspect ratio of one more anchor between this scale and the next; 0 for none.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub interpolated_scale_aspect_ratio: f32,
    /// The first feature map has three anchors only.
    pub reduce_boxes_in_lowest_layer: bool,
}

/// Divisors of the box encodings.
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

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivationConfig {
    /// Each class by itself.
    Sigmoid,
    /// Over all channels.
    Softmax,
}

/// A class for each pixel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeeplabHeadConfig {
    /// Name of the output with the class logits, `[1, classes, rows, columns]`.
    pub logits: String,
    /// Input pixels for each logit.
    #[schemars(range(min = 1, max = 64))]
    pub output_stride: u32,
    /// Whether the corners of logits and input coincide when they are resized.
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
