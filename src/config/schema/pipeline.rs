//! A pipeline: the whole YAML file, or one of its streams.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ClassifyConfig, ClassifyTracksConfig, DetectConfig, GatingConfig, InferenceConfig, LineConfig,
    ModelConfig, NamedModelConfig, OverlayConfig, SegmentConfig, SinkConfig, SourceConfig,
    TelemetryConfig, TrackConfig, ZoneConfig,
};

/// A pipeline: source, model, analysis and sinks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    /// Name of the stream in every record. Default: the YAML file's name without its extension.
    #[schemars(
        regex(pattern = "^[A-Za-z0-9_.-]+$"),
        extend("x-expected" = "letters, digits, \"_\", \".\" and \"-\"")
    )]
    pub stream: Option<String>,
    /// Source of the frames.
    pub source: SourceConfig,
    /// File to replay when the camera is not available; the same keys as `source`, without cameras.
    pub fallback: Option<SourceConfig>,
    /// Telemetry of a drone: position and camera angles, in addition to its subtitle file.
    pub telemetry: Option<TelemetryConfig>,
    /// Model: the path of its card, or a mapping with the path and options.
    pub model: ModelConfig,
    /// Several detection models by name, instead of `model` and `detect`. The first runs as `gating` says,
    /// the others after it. A stream of several lists the names of those that it runs. Default: one model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, NamedModelConfig>,
    /// Detection settings: score threshold, non-maximum suppression, classes.
    #[serde(default)]
    pub detect: DetectConfig,
    /// Segmentation settings: what is recorded and which rules make events.
    #[serde(default)]
    pub segment: SegmentConfig,
    /// Classification settings: how many classes of a picture are recorded, and from which score on.
    #[serde(default)]
    pub classify: ClassifyConfig,
    /// Multi-object tracking: detections get a track id that is kept from frame to frame. Default:
    /// no tracking.
    pub track: Option<TrackConfig>,
    /// Second networks by name, which classify tracked objects: vehicle type, colour, with or without a
    /// helmet. What each says of a track stands in records and events as the attribute of that name. Needs
    /// `track`.
    #[serde(default)]
    pub classify_tracks: BTreeMap<String, ClassifyTracksConfig>,
    /// Zones by name: polygons in the picture. With `track`, objects that enter, leave or loiter
    /// make events.
    #[serde(default)]
    pub zones: BTreeMap<String, ZoneConfig>,
    /// Counting lines by name: tracked objects that cross them make events.
    #[serde(default)]
    pub lines: BTreeMap<String, LineConfig>,
    /// Inference gating: on which frames and regions the network runs. Default: on all of every
    /// frame.
    #[serde(default)]
    pub gating: GatingConfig,
    /// Inference settings: number format, workers, threads and the age limit of live frames.
    #[serde(default)]
    pub inference: InferenceConfig,
    /// Overlay settings: how results are drawn on the picture.
    #[serde(default)]
    pub overlay: OverlayConfig,
    /// On Linux, restrict the program to the files of this pipeline (Landlock), and what decodes to
    /// reading (seccomp).
    #[serde(default = "enabled")]
    pub sandbox: bool,
    /// Read this file again when it changes, and go on under what it says then. Default: on `mobilens reload` and
    /// SIGHUP alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watch: bool,
    /// Sinks: where results go.
    #[serde(default)]
    pub sinks: Vec<SinkConfig>,
}

fn enabled() -> bool {
    true
}
