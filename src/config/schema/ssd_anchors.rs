//! Anchors and boxes of SSD heads by other rules than those of `anchors`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Anchors of a feature pyramid (FPN-Lite, RetinaNet): TensorFlow's `multiscale_anchor_generator`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MultiscaleAnchorsConfig {
    /// The first level: its cells are 2^level pixels of the input apart.
    #[schemars(range(min = 1, max = 10))]
    pub min_level: u32,
    /// The last level.
    #[schemars(range(min = 1, max = 10))]
    pub max_level: u32,
    /// Side of a square anchor of the first scale, in cells.
    #[schemars(range(min = 0.1, max = 100.0))]
    pub anchor_scale: f32,
    /// Scales in an octave.
    #[schemars(range(min = 1, max = 16))]
    pub scales_per_octave: u32,
    /// Aspect ratios (width over height), each at all scales.
    #[schemars(length(min = 1), inner(range(min = 0.01, max = 100.0)))]
    pub aspect_ratios: Vec<f32>,
}

/// Default boxes of torchvision's SSD and SSDLite: `DefaultBoxGenerator`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefaultBoxesConfig {
    /// Side of each square feature map, largest first.
    #[schemars(length(min = 1), inner(range(min = 1, max = 512)))]
    pub feature_maps: Vec<u32>,
    /// Scale of the first map as a share of the picture: 0.2 of SSDLite320.
    #[schemars(range(min = 0.001, max = 1.0))]
    pub min_ratio: f32,
    /// Scale of the last map: 0.95.
    #[schemars(range(min = 0.001, max = 1.0))]
    pub max_ratio: f32,
    /// Aspect ratios of each map besides 1, each for itself and its inverse: `[2, 3]` six times.
    pub aspect_ratios: Vec<Vec<f32>>,
}

/// Anchors as large as the picture (BlazeFace): MediaPipe's `SsdAnchorsCalculator` with `fixed_anchor_size`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedAnchorsConfig {
    /// Pixels of the input from cell to cell of each map: `[8, 16]`, full range `[4]`.
    #[schemars(length(min = 1), inner(range(min = 1, max = 512)))]
    pub strides: Vec<u32>,
    /// Anchors of each cell of each map: `[2, 6]`, full range `[1]`.
    #[schemars(length(min = 1), inner(range(min = 1, max = 100)))]
    pub per_cell: Vec<u32>,
}

/// Anchors from a tensor or a file; exactly one of `output`, `initializer` and `file`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnchorListConfig {
    /// Name of an output of the network, `[anchors, 4]` or `[1, anchors, 4]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Name of a constant (initializer) in the ONNX file, `[anchors, 4]` or `[1, anchors, 4]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initializer: Option<String>,
    /// A text file, relative to the card: four numbers a line, separated by commas or blanks.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// What the four numbers are.
    pub coding: AnchorCodingConfig,
}

/// What the four numbers of an anchor are, as shares of the picture's sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnchorCodingConfig {
    /// y1, x1, y2, x2.
    Corners,
    /// Centre y and x, height, width, as `TFLite_Detection_PostProcess` has them.
    Centers,
}

/// Outputs of one more map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SsdMapConfig {
    /// Name of the output with the box encodings.
    pub boxes: String,
    /// Name of the output with the class logits.
    pub scores: String,
}

/// Order of the encodings of a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BoxOrderConfig {
    /// ty, tx, th, tw (TensorFlow).
    #[default]
    Yxhw,
    /// tx, ty, tw, th (torchvision, MediaPipe).
    Xywh,
}

/// Coding of widths and heights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SsdSizeCodingConfig {
    /// Logarithms of shares of the anchor's width and height.
    #[default]
    Log,
    /// Shares of the anchor's width and height (BlazeFace).
    Linear,
}

/// Non-maximum suppression of an SSD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SsdNmsConfig {
    /// Boxes of one class suppress each other; a box may have several classes.
    #[default]
    ClassWise,
    /// Each box has its best class only, and suppresses those of other classes, too:
    /// `TFLite_Detection_PostProcess` without `use_regular_nms`.
    ClassAgnostic,
    /// Boxes of one class that overlap become their mean, weighted by the scores (BlazeFace).
    Weighted,
}
