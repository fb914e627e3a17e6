//! `model`: the network and its options.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The model and its options; a string is short for `card`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-short-for" = "card",
    "x-expected" = "a path, or a mapping with card: and options"
))]
pub struct ModelConfig {
    /// Path of the model card, relative to this YAML file.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub card: PathBuf,
    /// Input width and height in pixels. An SSD takes the card's, and those that differ from it by a
    /// multiple of 64 (at strides of 16 and 32); its anchors keep their size in pixels. Default: the
    /// card's.
    #[schemars(range(min = 33, max = 2049))]
    pub input_px: Option<u32>,
    /// Input width in pixels, with `height_px` instead of `input_px`.
    #[schemars(range(min = 33, max = 2049))]
    pub width_px: Option<u32>,
    /// Input height in pixels, with `width_px` instead of `input_px`.
    #[schemars(range(min = 33, max = 2049))]
    pub height_px: Option<u32>,
    /// How a picture is fitted into the input. Default: the card's `resize`.
    pub fit: Option<FitConfig>,
    /// Output stride in input pixels, for a segmentation model whose card lists siblings with the
    /// same weights. Default: the card's.
    #[schemars(range(min = 1, max = 64))]
    pub output_stride: Option<u32>,
}

/// How a picture is fitted into the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FitConfig {
    /// To the input's size, without regard to the aspect ratio.
    Stretch,
    /// With its aspect ratio, and padding.
    Letterbox,
    /// The input takes the picture's aspect ratio, at about as many pixels (SSD only).
    Rectangle,
}
