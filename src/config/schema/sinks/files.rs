//! Sinks that write records and images into files.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::on_error::OnErrorConfig;
use crate::config::schema::default_of::{count, yes};

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
    /// Rotation of the file of a live source, which is continued by each run. Default: it grows
    /// without limit.
    pub rotate: Option<RotateConfig>,
    /// Have the disk keep the lines of each second, and the last one, also through a power cut.
    #[serde(default = "yes")]
    pub sync: bool,
    /// What to do when it cannot be written. Default: `retry` where frames of a live source are
    /// dropped, else `end`.
    pub on_error: Option<OnErrorConfig>,
}

impl JsonlConfig {
    /// The file at `path`, with every other key at its default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            timings: false,
            rotate: None,
            sync: yes(),
            on_error: None,
        }
    }
}

/// Rotation: a full file `NAME` is renamed to `NAME.1`, the next one to `NAME.2`, and so on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotateConfig {
    /// Size in megabytes above which the file is renamed and a new one begun.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub mb: u32,
    /// Retention: age in days above which renamed files are deleted.
    #[schemars(range(min = 0.0001, max = 100_000.0))]
    pub days: f64,
}

impl Default for RotateConfig {
    fn default() -> Self {
        Self {
            mb: 100,
            days: 30.0,
        }
    }
}

/// Events in a database, which `mobilens events` asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// SQLite file, relative to this YAML file; created if it does not exist.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
    /// Keep the best picture of each track, and one of each area event.
    #[serde(default = "yes")]
    pub thumbnails: bool,
    /// Retention: age in days above which events of live sources are deleted.
    #[serde(default = "store_days")]
    #[schemars(range(min = 0.0001, max = 100_000.0))]
    pub keep_days: f64,
    /// Retention: megabytes of events and thumbnails above which the oldest are deleted.
    #[serde(default = "count::<2000>")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_mb: u32,
    /// Have the disk keep each second as soon as it is written, also through a power cut.
    #[serde(default = "yes")]
    pub sync: bool,
    /// What to do when it cannot be written. Default: `retry` where frames of a live source are
    /// dropped, else `end`.
    pub on_error: Option<OnErrorConfig>,
}

fn store_days() -> f64 {
    30.0
}

/// Results as one COCO results file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CocoConfig {
    /// File, relative to this YAML file, or `-` for standard output.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
    /// What to do when it cannot be written. Default: `retry` where frames of a live source are
    /// dropped, else `end`.
    pub on_error: Option<OnErrorConfig>,
}

/// Tracks in MOTChallenge format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MotConfig {
    /// File, relative to this YAML file, or `-` for standard output.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
    /// What to do when it cannot be written. Default: `retry` where frames of a live source are
    /// dropped, else `end`.
    pub on_error: Option<OnErrorConfig>,
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
    /// What to do when it cannot be written. Default: `retry` where frames of a live source are
    /// dropped, else `end`.
    pub on_error: Option<OnErrorConfig>,
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
    /// What to do when it cannot be written. Default: `retry` where frames of a live source are
    /// dropped, else `end`.
    pub on_error: Option<OnErrorConfig>,
}
