//! Sinks that write records and images into files.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Records as JSON lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonlConfig {
    /// File, relative to this YAML file, or `-` for standard output.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
    /// Add latencies to each frame; such files are not reproducible.
    #[serde(default)]
    pub timings: bool,
}

/// Results as one COCO results file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CocoConfig {
    /// File, relative to this YAML file, or `-` for standard output.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
}

/// Tracks in MOTChallenge format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MotConfig {
    /// File, relative to this YAML file, or `-` for standard output.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
}

/// Annotated images, one file a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagesSinkConfig {
    /// Directory, relative to this YAML file; created if it does not exist.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub dir: PathBuf,
    /// File format.
    #[serde(default)]
    pub format: ImageFormat,
    /// JPEG quality; only with `format: jpeg`.
    #[schemars(range(min = 1, max = 100), extend("default" = JPEG_QUALITY))]
    pub quality: Option<u8>,
}

/// Quality of JPEG files that have no other.
const JPEG_QUALITY: u8 = 90;

impl ImagesSinkConfig {
    /// Quality of JPEG files.
    pub fn jpeg_quality(&self) -> u8 {
        self.quality.unwrap_or(JPEG_QUALITY)
    }
}

/// Image file format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// PNG, lossless.
    #[default]
    Png,
    /// JPEG.
    Jpeg,
}

/// Segmentation masks: PNG files of the frame's size with each pixel's class id (255: unknown) and
/// the overlay's colours as their palette.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MasksSinkConfig {
    /// Directory, relative to this YAML file; created if it does not exist.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub dir: PathBuf,
}
