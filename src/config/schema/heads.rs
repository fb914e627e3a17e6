//! Heads of detection networks: names of their outputs, and what these hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::card::ActivationConfig;
use super::default_of::{count, yes};

/// YOLO: version 2 to 12, YOLOX.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YoloHeadConfig {
    /// Names of the outputs, in the order that `format` says.
    #[schemars(length(min = 1))]
    pub outputs: Vec<String>,
    /// What the outputs hold.
    pub format: YoloFormatConfig,
    /// Pose models: number of keypoints and values of each, `[17, 3]` (x, y, visibility) or `[K, 2]`, as
    /// in the metadata of Ultralytics' exports. They follow the classes of `rows` (`[1, 4+C+K*3, N]`) and
    /// `end_to_end` (`[1, N, 6+K*3]`), and become the records' `keypoints`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kpt_shape: Option<[u32; 2]>,
    /// Segmentation models: name of the output with the prototypes, `[1, M, H/4, W/4]`. Their M coefficients
    /// follow the classes of `rows` (`[1, 4+C+M, N]`) and `end_to_end` (`[1, N, 6+M]`). An object's mask is
    /// the weighted sum of the prototypes, bilinearly interpolated to the frame and cropped to the box, where
    /// it is above 0; records have it as `segmentation`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prototypes: Option<String>,
    /// Several labels for a box, each whose score passes its threshold, as in Darknet and in Ultralytics'
    /// validation; otherwise the best only, as in Ultralytics' prediction and YOLOX.
    #[serde(default)]
    pub multi_label: bool,
    /// IoU above which non-maximum suppression merges boxes of one class. Required, except with `end_to_end`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub nms_iou: Option<f32>,
    /// Most detections of a frame.
    #[schemars(range(min = 1, max = 1000))]
    pub max_detections: u32,
}

/// What the outputs of a YOLO hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct YoloFormatConfig {
    /// Raw maps at anchors (v2 to v4, v5 and v7 without their last layer), an output for each of `maps`:
    /// tx, ty, tw, th, objectness, classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor_maps: Option<YoloAnchorMapsConfig>,
    /// Decoded boxes (v5 to v9, v11, v12), one output: cx, cy, w, h, perhaps objectness, classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<YoloRowsConfig>,
    /// Raw maps with a distribution for each of four distances (v6, v8, v9, v11, v12 without their last
    /// layer), an output for each of `strides`: left, top, right, bottom, classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution_maps: Option<YoloDistributionMapsConfig>,
    /// Boxes relative to their cells (YOLOX), one output: `[1, N, 5+C]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid_rows: Option<YoloGridRowsConfig>,
    /// Detections that need no non-maximum suppression (v10 and newer), one output: `[1, K, 6]` with x1, y1,
    /// x2, y2, score, class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end: Option<YoloEndToEndConfig>,
}

/// Raw maps at anchors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YoloAnchorMapsConfig {
    /// The maps, in the order of the outputs.
    #[schemars(length(min = 1))]
    pub maps: Vec<YoloAnchorMapConfig>,
    /// Unit of the anchors.
    #[serde(default)]
    pub anchor_unit: AnchorUnitConfig,
    /// Coding of widths and heights.
    pub size_coding: SizeCodingConfig,
    /// Factor of the sigmoid of tx and ty: 1 for v2 and v3, 1.05 to 1.2 for v4 ("scale_x_y"), 2 for v5 and v7.
    #[schemars(range(min = 0.5, max = 4.0))]
    pub scale_xy: f32,
    /// Activation of the classes: softmax for v2, sigmoid for the others. Objectness has a sigmoid, unless
    /// this is none.
    pub activation: ActivationConfig,
    /// Order of the axes.
    #[serde(default)]
    pub layout: AnchorMapLayoutConfig,
}

/// One map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YoloAnchorMapConfig {
    /// Pixels of the input from cell to cell.
    #[schemars(range(min = 1, max = 512))]
    pub stride: u32,
    /// Width and height of each anchor.
    #[schemars(length(min = 1))]
    pub anchors: Vec<[f32; 2]>,
}

/// Unit of anchors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnchorUnitConfig {
    /// Pixels of the input (v3 and newer).
    #[default]
    Pixels,
    /// Cells of the map (region layer of v2).
    Cells,
}

/// Coding of widths and heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SizeCodingConfig {
    /// anchor exp(t) (v2 to v4).
    Exp,
    /// anchor (2 sigmoid(t))^2 (v5, v7).
    SquaredSigmoid,
}

/// Axes of a map with A anchors and C classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnchorMapLayoutConfig {
    /// `[1, A*(5+C), h, w]`.
    #[default]
    ChannelsFirst,
    /// `[1, h, w, A*(5+C)]` or `[1, h, w, A, 5+C]`.
    ChannelsLast,
    /// `[1, A, h, w, 5+C]`.
    AnchorsFirst,
}

/// Decoded boxes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YoloRowsConfig {
    /// Whether the fifth channel is the objectness (v5 to v7).
    pub objectness: bool,
    /// Order of the axes.
    pub layout: RowLayoutConfig,
    /// Unit of the boxes.
    #[serde(default)]
    pub box_unit: BoxUnitConfig,
    /// Activation that the network has not applied.
    #[serde(default = "ActivationConfig::none")]
    pub activation: ActivationConfig,
}

/// Order of the axes of predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowLayoutConfig {
    /// `[1, N, channels]`.
    #[default]
    RowsFirst,
    /// `[1, channels, N]` or `[1, channels, h, w]`.
    ChannelsFirst,
}

/// Unit of boxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BoxUnitConfig {
    /// Pixels of the input.
    #[default]
    Pixels,
    /// Shares of the input's width and height.
    Normalized,
}

/// Raw maps with distributions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YoloDistributionMapsConfig {
    /// Pixels of the input from cell to cell of each map.
    #[schemars(length(min = 1), inner(range(min = 1, max = 512)))]
    pub strides: Vec<u32>,
    /// Bins of a distribution: `reg_max` of v8, `reg_max + 1` of v6; 1 for plain distances.
    #[schemars(range(min = 1, max = 64))]
    pub bins: u32,
    /// Two outputs for each stride, boxes and classes, instead of one with both.
    #[serde(default)]
    pub split: bool,
    /// Activation of the classes that the network has not applied.
    #[serde(default = "ActivationConfig::sigmoid")]
    pub activation: ActivationConfig,
}

/// Boxes relative to their cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YoloGridRowsConfig {
    /// Pixels of the input from cell to cell of each map, in the order of the rows.
    #[schemars(length(min = 1), inner(range(min = 1, max = 512)))]
    pub strides: Vec<u32>,
    /// Activation of objectness and classes that the network has not applied.
    #[serde(default = "ActivationConfig::none")]
    pub activation: ActivationConfig,
}

/// Detections that need no non-maximum suppression.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YoloEndToEndConfig {
    /// Unit of the boxes.
    #[serde(default)]
    pub box_unit: BoxUnitConfig,
}

/// Generalized focal loss (NanoDet, PicoDet): class scores and distributions of distances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GflHeadConfig {
    /// Names of the outputs: the class scores of each stride, then the distributions of each stride; with
    /// `joined` one, that has both of all strides (NanoDet-Plus).
    #[schemars(length(min = 1))]
    pub outputs: Vec<String>,
    /// One output with class scores, then distributions, of all strides.
    #[serde(default)]
    pub joined: bool,
    /// Pixels of the input from cell to cell of each map.
    #[schemars(length(min = 1), inner(range(min = 1, max = 512)))]
    pub strides: Vec<u32>,
    /// Bins of a distribution, `reg_max + 1`.
    #[schemars(range(min = 1, max = 64))]
    pub bins: u32,
    /// The point that distances are measured from, in cells from the cell's corner: 0 for NanoDet-Plus, 0.5 for
    /// NanoDet and PicoDet.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub cell_offset: f32,
    /// Order of the axes.
    #[serde(default)]
    pub layout: RowLayoutConfig,
    /// Activation of the class scores that the network has not applied.
    #[serde(default = "ActivationConfig::none")]
    pub activation: ActivationConfig,
    /// Clip boxes to the input before non-maximum suppression, as NanoDet does and PicoDet does not.
    #[serde(default = "yes")]
    pub clip_to_input: bool,
    /// IoU above which non-maximum suppression merges boxes of one class.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub nms_iou: f32,
    /// Most detections of a frame.
    #[schemars(range(min = 1, max = 1000))]
    pub max_detections: u32,
}

/// CenterNet, CenterFace: a heat map of centres.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CenternetHeadConfig {
    /// Name of the output with the heat map, `[1, classes, h, w]`.
    pub heatmap: String,
    /// Name of the output with the sizes, `[1, 2, h, w]`.
    pub size: String,
    /// Name of the output with the offsets, `[1, 2, h, w]`.
    pub offset: String,
    /// Name of the output with the landmarks, `[1, 2*K, h, w]`, which become the records' `keypoints`: with
    /// `coding: centerface` y, x in heights and widths of the box from its corner, with `centernet` x, y in cells
    /// from the cell's corner.
    pub landmarks: Option<String>,
    /// Coding of the maps.
    pub coding: CenternetCodingConfig,
    /// Pixels of the input from cell to cell.
    #[serde(default = "count::<4>")]
    #[schemars(range(min = 1, max = 512))]
    pub stride: u32,
    /// Activation of the heat map that the network has not applied; not softmax.
    #[serde(default = "ActivationConfig::none")]
    pub activation: ActivationConfig,
    /// IoU above which non-maximum suppression merges boxes of one class. Default: none, the peaks are taken.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub nms_iou: Option<f32>,
    /// Most detections of a frame.
    #[schemars(range(min = 1, max = 1000))]
    pub max_detections: u32,
}

/// Coding of a heat map's boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CenternetCodingConfig {
    /// Width and height in cells, offset x, y; peaks of the heat map.
    Centernet,
    /// Logarithms of height and width in cells, offset y, x from the cell's middle; all cells.
    Centerface,
}

/// RetinaFace: priors with variances; channel 0 of the scores is the background.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetinafaceHeadConfig {
    /// Name of the output with the box encodings, `[1, priors, 4]`.
    pub boxes: String,
    /// Name of the output with the scores, `[1, priors, 2]`.
    pub scores: String,
    /// Name of the output with the landmarks, `[1, priors, 2*K]`: K times x, y, coded like a box's centre. They
    /// become the records' `keypoints`.
    pub landmarks: Option<String>,
    /// Pixels of the input from cell to cell of each map ("steps").
    #[schemars(length(min = 1), inner(range(min = 1, max = 512)))]
    pub strides: Vec<u32>,
    /// Sides of the priors of each map ("min_sizes"), in pixels of the input.
    #[schemars(length(min = 1))]
    pub prior_sizes_px: Vec<Vec<f32>>,
    /// Variances of centres and landmarks, and of sizes: 0.1 and 0.2.
    pub variances: [f32; 2],
    /// Activation of the scores that the network has not applied.
    pub activation: ActivationConfig,
    /// IoU above which non-maximum suppression merges boxes of one class.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub nms_iou: f32,
    /// Most detections of a frame.
    #[schemars(range(min = 1, max = 1000))]
    pub max_detections: u32,
}

/// DETR (RT-DETR, D-FINE): logits and boxes of queries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetrHeadConfig {
    /// Name of the output with the logits, `[1, queries, classes]`; with softmax the last channel is "no
    /// object".
    pub logits: String,
    /// Name of the output with the boxes, `[1, queries, 4]`: cx, cy, w, h as shares of the input's sides.
    pub boxes: String,
    /// Activation of the logits: sigmoid for RT-DETR and D-FINE, softmax for DETR.
    pub activation: ActivationConfig,
    /// Most detections of a frame.
    #[schemars(range(min = 1, max = 1000))]
    pub max_detections: u32,
}

impl YoloFormatConfig {
    /// Number of outputs.
    pub fn output_count(&self) -> usize {
        if let Some(anchors) = &self.anchor_maps {
            anchors.maps.len()
        } else if let Some(maps) = &self.distribution_maps {
            maps.strides.len() * if maps.split { 2 } else { 1 }
        } else {
            1
        }
    }
}
