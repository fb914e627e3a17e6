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
    /// Input width and height in pixels, for a segmentation model. Default: the card's.
    #[schemars(range(min = 33, max = 2049))]
    pub input_px: Option<u32>,
    /// Output stride in input pixels, for a segmentation model whose card lists siblings with the
    /// same weights. Default: the card's.
    #[schemars(range(min = 1, max = 64))]
    pub output_stride: Option<u32>,
}
