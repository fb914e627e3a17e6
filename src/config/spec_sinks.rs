//! Where results go.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Exactly one kind of sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SinkConfig {
    /// A window with the live picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowConfig>,
    /// A page to watch in a browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<WebConfig>,
    /// Events, states and frames for other programs, through an MQTT broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<MqttConfig>,
    /// Events for a web server, one POST each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookConfig>,
    /// Records as JSON lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jsonl: Option<JsonlConfig>,
    /// Detections as one COCO results file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coco: Option<CocoConfig>,
    /// Tracks in the MOTChallenge's results format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mot: Option<MotConfig>,
    /// Everything that is seen, as MP4 in pieces of some minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoSinkConfig>,
    /// A clip of each event, as MP4, with what came before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clips: Option<ClipsConfig>,
    /// Annotated pictures, a file a frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<ImagesSinkConfig>,
    /// Segmentation masks, a file a frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masks: Option<MasksSinkConfig>,
}

/// Segmentation masks: PNG files of the frame's size with the class's number for each pixel (255:
/// unknown) and the overlay's colours as their palette.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MasksSinkConfig {
    /// Folder, relative to this YAML file; made if it is not there.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub dir: PathBuf,
}

/// A window with the live picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// Title; default: the stream's name.
    pub title: Option<String>,
    /// Columns at the beginning (default 960).
    #[schemars(range(min = 64, max = 7680))]
    pub width_px: Option<u32>,
    /// Rows at the beginning (default 540).
    #[schemars(range(min = 64, max = 4320))]
    pub height_px: Option<u32>,
}

/// A page to watch in a browser: the live picture, the last events; records, metrics and snapshots
/// for other programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebConfig {
    /// Address and port to listen on (default 127.0.0.1:8080).
    pub bind: Option<String>,
    /// Who comes must have it; needed for other addresses than this machine's own. `${NAME}` is
    /// taken from the environment.
    #[schemars(length(min = 8), extend("x-expected" = "a text of at least 8 letters"))]
    pub token: Option<String>,
    /// Pictures and record streams that may be open at once (default 64).
    #[schemars(range(min = 1, max = 10_000))]
    pub max_watchers: Option<u32>,
    /// Quality of the JPEGs (default 80).
    #[schemars(range(min = 1, max = 100))]
    pub quality: Option<u8>,
}

/// Events, states and frames for other programs, through an MQTT broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// `mqtt://USER:PASSWORD@HOST:1883`, or `mqtts://` for TLS; `${NAME}` is taken from the
    /// environment.
    #[schemars(length(min = 1), extend("x-expected" = "a URL"))]
    pub url: String,
    /// Begins every topic (default mobilens).
    #[schemars(
        regex(pattern = "^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$"),
        extend("x-expected" = "a topic of letters, digits, \"_\", \".\", \"-\" and \"/\"")
    )]
    pub topic: Option<String>,
    /// Which frames are told.
    #[serde(default)]
    pub frames: MqttFramesConfig,
    /// Where Home Assistant looks for what there is (default homeassistant; empty: not told).
    pub discovery: Option<String>,
    /// Messages that may wait while the broker is away; then the oldest are dropped (default 1000).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub buffer: Option<u32>,
    /// Certificates (PEM) to trust instead of the system's, relative to this YAML file.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub ca_file: Option<PathBuf>,
}

/// Which frames are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MqttFramesConfig {
    /// Those in which something else is seen than before.
    #[default]
    Changes,
    /// All.
    All,
    /// None.
    None,
}

/// Events for a web server, one POST each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// The address; `${NAME}` is taken from the environment.
    #[schemars(length(min = 1), extend("x-expected" = "a URL"))]
    pub url: String,
    /// Headers, such as `Authorization`, with `${NAME}` from the environment.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Kinds of events that are told: `zone`, `line`, `loiter`, `source`, ...; empty: all.
    #[serde(default)]
    pub events: Vec<String>,
    /// Events that may wait while the server is away; then the oldest are dropped (default 100).
    #[schemars(range(min = 1, max = 100_000))]
    pub buffer: Option<u32>,
    /// How often an event is tried before it is dropped (default 8, about a minute and a half).
    #[schemars(range(min = 1, max = 100))]
    pub attempts: Option<u32>,
}

/// Records as JSON lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonlConfig {
    /// File, relative to this YAML file, or `-` for standard output.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
    /// Add latencies to each frame; such files do not compare.
    #[serde(default)]
    pub timings: bool,
}

/// Detections as one COCO results file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CocoConfig {
    /// File, relative to this YAML file, or `-` for standard output.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
}

/// Tracks in the MOTChallenge's results format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MotConfig {
    /// File, relative to this YAML file, or `-` for standard output.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
}

/// Everything that is seen, as MP4 in pieces of some minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VideoSinkConfig {
    /// Folder, relative to this YAML file; made if it is not there.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub dir: PathBuf,
    /// What is recorded.
    #[serde(default)]
    pub picture: RecordedPicture,
    /// Seconds after which another file begins (default 600).
    #[schemars(range(min = 1, max = 86_400))]
    pub split_s: Option<u32>,
    /// Quantiser, from 0 (best) to 51 (smallest) (default 30).
    #[schemars(range(min = 0, max = 51))]
    pub qp: Option<u8>,
    /// Beyond so many megabytes the stream's oldest files go (default 10000).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_mb: Option<u32>,
    /// Files older than so many days go (default 30).
    #[schemars(range(min = 0.0001, max = 100_000.0))]
    pub max_days: Option<f64>,
}

/// What is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordedPicture {
    /// The picture as it was captured.
    #[default]
    Clean,
    /// With boxes, areas, zones and lines drawn on it.
    Annotated,
}

/// A clip of each event, as MP4, with what came before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClipsConfig {
    /// Folder, relative to this YAML file; made if it is not there.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub dir: PathBuf,
    /// What is recorded.
    #[serde(default)]
    pub picture: RecordedPicture,
    /// Kinds of events: `zone`, `loiter`, `line`, `area_above`, `area_below`, `source`; empty: all
    /// that are seen.
    #[serde(default)]
    pub events: Vec<String>,
    /// How much before the event is in the clip (default 5000).
    #[schemars(range(max = 120_000))]
    pub before_ms: Option<u64>,
    /// How much after its end (default 5000).
    #[schemars(range(max = 600_000))]
    pub after_ms: Option<u64>,
    /// A clip is over so long after its event began, however long that lasts (default 60000).
    #[schemars(range(min = 100, max = 86_400_000))]
    pub longest_ms: Option<u64>,
    /// Quantiser, from 0 (best) to 51 (smallest) (default 30).
    #[schemars(range(min = 0, max = 51))]
    pub qp: Option<u8>,
    /// Beyond so many megabytes the stream's oldest clips go (default 2000).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_mb: Option<u32>,
    /// Clips older than so many days go (default 30).
    #[schemars(range(min = 0.0001, max = 100_000.0))]
    pub max_days: Option<f64>,
}

/// Annotated pictures, a file a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagesSinkConfig {
    /// Folder, relative to this YAML file; made if it is not there.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub dir: PathBuf,
    /// File format (default png).
    #[serde(default)]
    pub format: PictureFormat,
    /// Quality of JPEG files (default 90).
    #[schemars(range(min = 1, max = 100))]
    pub quality: Option<u8>,
}

/// A picture file's format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PictureFormat {
    /// Without loss.
    #[default]
    Png,
    /// Small.
    Jpeg,
}
