//! Parameters of a YOLO head.

use super::super::activation::ScoreActivation;
use super::super::input_boxes::BoxUnit;
use super::super::predictions::RowLayout;
use super::super::selection::WantedClass;
use mobilens_image::SizePx;

/// Parameters of a [`YoloDecoder`](super::YoloDecoder).
#[derive(Clone, Debug, PartialEq)]
pub struct YoloParams {
    /// Size of the network's input.
    pub input: SizePx,
    /// What the outputs hold, and their order.
    pub format: YoloFormat,
    /// What the rows hold behind the classes.
    pub task: YoloTask,
    /// Number of class channels, wanted or not; 0 where the objectness is the score of the only class.
    /// [`YoloFormat::class_channels`] reads it from the outputs' shapes. Not used by `EndToEnd`.
    pub class_channels: usize,
    /// The requested classes. Channel 0 is the first class; of `EndToEnd`, class 0.
    pub classes: Vec<WantedClass>,
    /// Whether a box is a candidate of each class that passes its threshold, as in Darknet and in
    /// Ultralytics' validation, instead of its best class only, as in Ultralytics' prediction and YOLOX.
    pub multi_label: bool,
    /// IoU threshold of NMS. Not used by `EndToEnd`.
    pub nms_iou: f32,
    /// Most detections per frame.
    pub max_detections: usize,
}

/// What rows hold behind the classes; of [`YoloFormat::Rows`] and [`YoloFormat::EndToEnd`] only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum YoloTask {
    /// Nothing.
    #[default]
    Detect,
    /// Keypoints: x, y in the unit of the boxes and, where there are three values, a visibility.
    Pose {
        /// Number of keypoints.
        count: usize,
        /// Values of each: 2 or 3.
        values: usize,
    },
    /// Coefficients of prototypes, which are one more output `[1, coefficients, rows, columns]`.
    Segment {
        /// Their number.
        coefficients: usize,
        /// Rows and columns of the prototypes.
        grid: (usize, usize),
    },
}

impl YoloTask {
    /// Values behind the classes.
    pub fn channels(&self) -> usize {
        match self {
            Self::Detect => 0,
            Self::Pose { count, values } => count * values,
            Self::Segment { coefficients, .. } => *coefficients,
        }
    }

    /// Segmentation with prototypes of this shape.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn with_prototypes(shape: &[usize]) -> Result<Self, String> {
        match *shape {
            [1, coefficients, rows, columns] if coefficients * rows * columns > 0 => {
                Ok(Self::Segment {
                    coefficients,
                    grid: (rows, columns),
                })
            }
            _ => Err(format!(
                "the shape of the prototypes is {shape:?}; expected [1, M, h, w]"
            )),
        }
    }
}

/// What the outputs of a YOLO hold.
#[derive(Clone, Debug, PartialEq)]
pub enum YoloFormat {
    /// Raw maps at anchors (v2, v3, v4; v5 and v7 without their last layer): one output for each of `maps`,
    /// in their order.
    AnchorMaps {
        /// One for each output.
        maps: Vec<YoloAnchorMap>,
        /// Unit of the anchors.
        anchor_unit: AnchorUnit,
        /// How widths and heights are encoded.
        size_coding: SizeCoding,
        /// Factor of the sigmoid of tx and ty ("scale_x_y", grid sensitivity): 1 for v2 and v3, 1.05 to 1.2
        /// for v4, 2 for v5 and v7.
        scale_xy: f32,
        /// Activation of the classes: softmax for v2, sigmoid for the others.
        activation: ScoreActivation,
        /// Order of the axes.
        layout: AnchorMapLayout,
    },
    /// Decoded boxes (centre and size), with or without objectness (v5 to v9, v11, v12): one output.
    Rows {
        /// Whether channel 4 is the objectness.
        objectness: bool,
        /// Order of the axes: `RowsFirst` for v5 to v7, `ChannelsFirst` for v8 and newer.
        layout: RowLayout,
        /// Unit of the boxes.
        box_unit: BoxUnit,
        /// Activation of objectness and classes that the network has not applied.
        activation: ScoreActivation,
    },
    /// Raw maps with a distribution for each of the four distances from a cell's centre to the edges of its
    /// box (v6, v8, v9, v11, v12 without their last layer): one output for each stride, or two.
    DistributionMaps {
        /// Strides of the maps, in the order of the outputs.
        strides: Vec<u32>,
        /// Bins of each distribution ("reg_max" of v8, "reg_max + 1" of v6); 1 for plain distances.
        bins: usize,
        /// Whether the classes are outputs of their own: boxes, classes of the first stride, boxes, classes
        /// of the second, ...
        split: bool,
        /// Activation of the classes: sigmoid where they are logits.
        activation: ScoreActivation,
    },
    /// Boxes as offsets from their cells and logarithms of their sizes, in strides, of all maps (YOLOX): one
    /// output.
    GridRows {
        /// Strides of the maps, in the order of the rows.
        strides: Vec<u32>,
        /// Activation of objectness and classes that the network has not applied.
        activation: ScoreActivation,
    },
    /// Detections without duplicates: corners, score, class (v10 and newer): one output.
    EndToEnd {
        /// Unit of the boxes.
        box_unit: BoxUnit,
    },
}

/// One output with anchors.
#[derive(Clone, Debug, PartialEq)]
pub struct YoloAnchorMap {
    /// Pixels of the input from cell to cell.
    pub stride: u32,
    /// Widths and heights of the anchors of each cell.
    pub anchors: Vec<(f32, f32)>,
}

/// Unit of anchors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorUnit {
    /// Pixels of the network's input (v3 and newer).
    Pixels,
    /// Cells of the map (region layer of v2).
    Cells,
}

/// Coding of widths and heights at anchors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeCoding {
    /// `anchor * exp(t)` (v2 to v4).
    Exp,
    /// `anchor * (2 * sigmoid(t))^2` (v5, v7).
    SquaredSigmoid,
}

/// Axes of a raw map with `A` anchors and `C` classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorMapLayout {
    /// `[1, A*(5+C), h, w]`: PyTorch, Darknet.
    ChannelsFirst,
    /// `[1, h, w, A*(5+C)]`: TensorFlow; also `[1, h, w, A, 5+C]`.
    ChannelsLast,
    /// `[1, A, h, w, 5+C]`: v5 and v7 exported with their training outputs.
    AnchorsFirst,
}
