//! The head of segmentation networks other than DeepLab.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::default_of::half;

/// Segmentation: a class for each pixel, from logits, probabilities or class ids of any size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SegmentHeadConfig {
    /// Name of the output: `[1, C, rows, columns]` or, with `layout: channels_last`, `[1, rows, columns, C]`.
    /// With C = 1 the value is that of label 1, and label 0 is the rest. With `values: class_ids` also
    /// `[1, rows, columns]`.
    pub output: String,
    /// What the values are.
    pub values: SegmentValuesConfig,
    /// Order of the axes.
    #[serde(default)]
    pub layout: ChannelLayoutConfig,
    /// Probability above which a pixel is of label 1; only of one channel.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f32,
    /// Align corners when the values are resized to the input.
    #[serde(default)]
    pub align_corners: bool,
}

/// What the values of a segmentation output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SegmentValuesConfig {
    /// Before softmax, or before the sigmoid of one channel. Bilinear interpolation, then argmax.
    Logits,
    /// After softmax or sigmoid. Bilinear interpolation, then argmax.
    Probabilities,
    /// The argmax: label ids, as floats or integers of any size. The nearest is taken.
    ClassIds,
}

/// Order of the axes of an output with channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelLayoutConfig {
    /// `[1, C, rows, columns]` (PyTorch).
    #[default]
    ChannelsFirst,
    /// `[1, rows, columns, C]` (TensorFlow).
    ChannelsLast,
}
