//! Sinks that record MP4 files.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::on_error::OnErrorConfig;
use crate::config::schema::default_of::{count, millis, yes};

/// Continuous recording as MP4 segments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VideoSinkConfig {
    /// Directory, relative to this YAML file; created if it does not exist.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub dir: PathBuf,
    /// Picture to record.
    #[serde(default)]
    pub picture: RecordedPicture,
    /// Length of a segment in seconds.
    #[serde(default = "count::<600>")]
    #[schemars(range(min = 1, max = 86_400))]
    pub split_s: u32,
    /// Quantisation parameter of H.264, from 0 (best quality) to 51 (smallest file).
    #[serde(default = "quantiser")]
    #[schemars(range(min = 0, max = 51))]
    pub qp: u8,
    /// Retention: megabytes above which the stream's oldest files are deleted.
    #[serde(default = "count::<10_000>")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_mb: u32,
    /// Retention: age in days above which files are deleted.
    #[serde(default = "retention_days")]
    #[schemars(range(min = 0.0001, max = 100_000.0))]
    pub max_days: f64,
    /// Retention: megabytes of the disk that are kept free: below, the stream's oldest files are deleted,
    /// and with none left, writing fails. 0: no limit.
    #[serde(default = "count::<100>")]
    #[schemars(range(max = 1_000_000_000))]
    pub min_free_mb: u32,
    /// Have the disk keep each second as soon as it is written, also through a power cut.
    #[serde(default = "yes")]
    pub sync: bool,
    /// What to do when it cannot be written. Default: `retry` where frames of a live source are
    /// dropped, else `end`.
    pub on_error: Option<OnErrorConfig>,
}

fn quantiser() -> u8 {
    30
}

fn retention_days() -> f64 {
    30.0
}

/// Picture to record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordedPicture {
    /// The captured picture.
    #[default]
    Clean,
    /// The picture with the overlay.
    Annotated,
}

/// Event clips as MP4, with pre-roll.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClipsConfig {
    /// Directory, relative to this YAML file; created if it does not exist.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub dir: PathBuf,
    /// Picture to record.
    #[serde(default)]
    pub picture: RecordedPicture,
    /// Kinds of events: `zone`, `loiter`, `line`, `area_above`, `area_below`, `source`; empty: all
    /// that concern the picture.
    #[serde(default)]
    pub events: Vec<String>,
    /// Pre-roll: recorded time before the event.
    #[serde(default = "millis::<5000>")]
    #[schemars(range(max = 120_000))]
    pub before_ms: u64,
    /// Post-roll: recorded time after the event's end.
    #[serde(default = "millis::<5000>")]
    #[schemars(range(max = 600_000))]
    pub after_ms: u64,
    /// Longest time from an event's begin to its clip's end.
    #[serde(default = "millis::<60_000>")]
    #[schemars(range(min = 100, max = 86_400_000))]
    pub longest_ms: u64,
    /// Quantisation parameter of H.264, from 0 (best quality) to 51 (smallest file).
    #[serde(default = "quantiser")]
    #[schemars(range(min = 0, max = 51))]
    pub qp: u8,
    /// Retention: megabytes above which the stream's oldest clips are deleted.
    #[serde(default = "count::<2000>")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_mb: u32,
    /// Retention: age in days above which clips are deleted.
    #[serde(default = "retention_days")]
    #[schemars(range(min = 0.0001, max = 100_000.0))]
    pub max_days: f64,
    /// Retention: megabytes of the disk that are kept free: below, the stream's oldest clips are deleted,
    /// and with none left, writing fails. 0: no limit.
    #[serde(default = "count::<100>")]
    #[schemars(range(max = 1_000_000_000))]
    pub min_free_mb: u32,
    /// Have the disk keep each second as soon as it is written, also through a power cut.
    #[serde(default = "yes")]
    pub sync: bool,
    /// What to do when it cannot be written. Default: `retry` where frames of a live source are
    /// dropped, else `end`.
    pub on_error: Option<OnErrorConfig>,
}
