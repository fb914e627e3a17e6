//! The pipeline's YAML, one to one. The doc comments are the schema's descriptions.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::spec_analysis::{
    AnchorConfig, GatingConfig, IntervalConfig, LineConfig, MotionGateConfig, RegionsConfig,
    RegionsOn, TilesConfig, TrackConfig, ZoneConfig,
};
pub use super::spec_sinks::{
    ClipsConfig, CocoConfig, ImagesSinkConfig, JsonlConfig, MasksSinkConfig, MotConfig, MqttConfig,
    MqttFramesConfig, PictureFormat, RecordedPicture, SinkConfig, VideoSinkConfig, WebConfig,
    WebhookConfig, WindowConfig,
};

/// Where the web page listens, unless the pipeline says otherwise.
pub const WEB_BIND: &str = "127.0.0.1:8080";

/// A pipeline: where frames come from, what looks at them, where results go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    /// Name of the stream in every record; default: the YAML file's name without its ending.
    #[schemars(
        regex(pattern = "^[A-Za-z0-9_.-]+$"),
        extend("x-expected" = "letters, digits, \"_\", \".\" and \"-\"")
    )]
    pub stream: Option<String>,
    /// Where frames come from.
    pub source: SourceConfig,
    /// What to replay when the camera is not there.
    pub fallback: Option<SourceConfig>,
    /// Where a drone and its camera are, beside what its clip's subtitles say.
    pub telemetry: Option<TelemetryConfig>,
    /// The model: the path of its card, or that and how to run it.
    pub model: ModelConfig,
    /// What to look for (detectors).
    #[serde(default)]
    pub detect: DetectConfig,
    /// What to say of the ground (segmentation).
    #[serde(default)]
    pub segment: SegmentConfig,
    /// Give objects a number that they keep from frame to frame (detectors).
    pub track: Option<TrackConfig>,
    /// Parts of the picture, by name. With `track`, objects that enter and leave them make events.
    #[serde(default)]
    pub zones: BTreeMap<String, ZoneConfig>,
    /// Lines that tracked objects cross, by name.
    #[serde(default)]
    pub lines: BTreeMap<String, LineConfig>,
    /// Where and when the network looks; default: at all of every frame.
    #[serde(default)]
    pub gating: GatingConfig,
    /// How much of the machine to use.
    #[serde(default)]
    pub inference: InferenceConfig,
    /// How results are drawn.
    #[serde(default)]
    pub overlay: OverlayConfig,
    /// Where results go.
    #[serde(default)]
    pub sinks: Vec<SinkConfig>,
}

/// The model and how to run it; a text by itself is the path of the card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "x-short-for" = "card",
    "x-expected" = "a path, or card: with a path and what else is wanted"
))]
pub struct ModelConfig {
    /// Path of the model's card, relative to this YAML file.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub card: PathBuf,
    /// Rows and columns of the input, for a segmentation model, which runs at any size; default:
    /// the card's.
    #[schemars(range(min = 33, max = 2049))]
    pub input_px: Option<u32>,
    /// Input pixels for each logit, if the card names a sibling with the same weights; default:
    /// the card's.
    #[schemars(range(min = 1, max = 64))]
    pub output_stride: Option<u32>,
}

/// Exactly one kind of source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SourceConfig {
    /// A camera of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<CameraConfig>,
    /// A network camera.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtsp: Option<RtspConfig>,
    /// A recorded clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoConfig>,
    /// A picture or a folder of pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<ImagesConfig>,
}

/// A camera of this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    /// Number of the camera, from 0 (the default); not together with `device`.
    #[schemars(range(max = 255))]
    pub index: Option<u32>,
    /// Path of the device, for instance `/dev/video2`; not together with `index`.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub device: Option<String>,
    /// Wanted columns (default 640); the camera's nearest usual size is taken.
    #[schemars(range(min = 16, max = 7680))]
    pub width_px: Option<u32>,
    /// Wanted rows (default 480).
    #[schemars(range(min = 16, max = 4320))]
    pub height_px: Option<u32>,
    /// Wanted frames a second (default 30).
    #[schemars(range(min = 1, max = 240))]
    pub fps: Option<u32>,
    /// A camera that gives no frame for so long has failed (default 5000).
    #[schemars(range(min = 500, max = 600_000))]
    pub stall_ms: Option<u64>,
    /// When a camera is waited for.
    #[serde(default)]
    pub reconnect: ReconnectConfig,
}

/// When a camera is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReconnectConfig {
    /// Once it was there: unplugged, stalled or cut off, it is tried again for ever.
    #[default]
    Lost,
    /// Also at the beginning, where it is missing or busy.
    Always,
    /// Never: losing it ends the run.
    Never,
}

/// A network camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RtspConfig {
    /// `rtsp://USER:PASSWORD@HOST/PATH`; `${NAME}` is taken from the environment.
    #[schemars(length(min = 1), extend("x-expected" = "a URL"))]
    pub url: String,
    /// How pictures come (default tcp).
    #[serde(default)]
    pub transport: RtspTransport,
    /// A camera that sends nothing for so long is lost (default 5000).
    #[schemars(range(min = 500, max = 600_000))]
    pub stall_ms: Option<u64>,
    /// When a camera is waited for.
    #[serde(default)]
    pub reconnect: ReconnectConfig,
    /// What decodes it: the built-in one knows H.264.
    #[serde(default)]
    pub decoder: DecoderConfig,
    /// Arguments for ffmpeg, before its input: `["-hwaccel", "vaapi"]`.
    #[serde(default)]
    pub ffmpeg_args: Vec<String>,
}

/// How pictures come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RtspTransport {
    /// Over the connection itself; nothing is lost on the way.
    #[default]
    Tcp,
    /// As packets of their own.
    Udp,
}

/// A recorded clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VideoConfig {
    /// A clip, relative to this YAML file, a URL (with `${NAME}` from the environment), or `-` for
    /// Y4M from standard input.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
    /// What decodes it.
    #[serde(default)]
    pub decoder: DecoderConfig,
    /// Arguments for ffmpeg, before its input: `["-hwaccel", "vaapi"]`.
    #[serde(default)]
    pub ffmpeg_args: Vec<String>,
    /// Begin again at the end.
    #[serde(default, rename = "loop")]
    pub looping: bool,
    /// When frames are due.
    #[serde(default)]
    pub pace: PaceConfig,
}

/// What decodes a clip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecoderConfig {
    /// The built-in one where it can, else ffmpeg.
    #[default]
    Auto,
    /// The built-in one.
    Builtin,
    /// An ffmpeg process.
    Ffmpeg,
}

/// A picture or a folder of pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagesConfig {
    /// A picture, or a folder (natural order, not its subfolders), relative to this YAML file.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub path: PathBuf,
    /// Begin again at the end.
    #[serde(default, rename = "loop")]
    pub looping: bool,
    /// Pictures a second of media time (default 1).
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub fps: Option<f64>,
    /// When pictures are due.
    #[serde(default)]
    pub pace: PaceConfig,
}

/// When recorded frames are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaceConfig {
    /// As soon as somebody is ready; nothing is lost.
    #[default]
    Fast,
    /// At their own time, if the machine keeps up; nothing is lost.
    Realtime,
    /// At their own time, as from a camera: what nobody is ready for is dropped and counted.
    Live,
}

/// Where a drone and its camera are. A `.srt` beside the clip is read along without being named;
/// what is given here is for what it does not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The drone's subtitles, relative to this YAML file; default: the `.srt` beside the clip, if
    /// there is one.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub srt: Option<PathBuf>,
    /// The subtitles' time at the clip's beginning (default 0).
    #[schemars(range(min = -86_400_000, max = 86_400_000))]
    pub offset_ms: Option<i64>,
    /// The camera's field of view from the left to the right edge; without it nothing gets a place
    /// on the ground.
    #[schemars(range(min = 1.0, max = 170.0))]
    pub hfov_deg: Option<f64>,
    /// Height above the ground, where the drone does not say.
    #[schemars(range(min = 0.1, max = 10_000.0))]
    pub height_m: Option<f64>,
    /// The camera's angle above the horizon, where the drone does not say: -90 looks straight down.
    #[schemars(range(min = -90.0, max = 90.0))]
    pub gimbal_pitch_deg: Option<f64>,
    /// The camera's heading clockwise from north, where the drone does not say.
    #[schemars(range(min = -360.0, max = 360.0))]
    pub gimbal_yaw_deg: Option<f64>,
}

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectConfig {
    /// Detections below are dropped (default 0.4).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score_threshold: Option<f32>,
    /// Boxes of one class that overlap more than this are one object; default: the card's.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub nms_iou: Option<f32>,
    /// Most detections of a frame; default: the card's.
    #[schemars(range(min = 1, max = 1000))]
    pub max_detections: Option<u32>,
    /// The classes to look for, by label; empty means every class of the model.
    #[serde(default)]
    pub classes: BTreeMap<String, ClassConfig>,
}

/// One class to look for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassConfig {
    /// Detections of this class below are dropped; default: `detect.score_threshold`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score_threshold: Option<f32>,
    /// Objects whose longer side is shorter are dropped.
    #[schemars(range(min = 0.0, max = 100_000.0))]
    pub min_px: Option<f64>,
    /// Objects whose longer side is longer are dropped.
    #[schemars(range(min = 0.0, max = 100_000.0))]
    pub max_px: Option<f64>,
}

/// What to say of the ground.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SegmentConfig {
    /// Pixels whose best class is less probable than this are `unknown`; default: none are.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence_floor: Option<f32>,
    /// Weight of the past in an average of the logits over frames, forgotten at a cut; needs frames
    /// in order, and so one worker (default: none).
    #[schemars(range(min = 0.0, max = 0.99))]
    pub smoothing: Option<f32>,
    /// Put each class's mask into the record, run-length encoded as COCO does (default false; a
    /// `coco` sink turns it on).
    #[serde(default)]
    pub rle: bool,
    /// Put each class's areas into the record as polygons, as COCO annotations have them (default
    /// false).
    #[serde(default)]
    pub polygons: bool,
    /// Look for the largest circle of free ground.
    pub safe_ground: Option<SafeGroundConfig>,
    /// Events when a class covers more, or less, of a zone than it should.
    #[serde(default)]
    pub rules: Vec<AreaRuleConfig>,
}

/// Exactly one kind of rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct AreaRuleConfig {
    /// An event while the class covers more than the share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub area_above: Option<AreaConfig>,
    /// An event while it covers less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub area_below: Option<AreaConfig>,
}

/// What must cover how much of what, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AreaConfig {
    /// Name in the events; default: label, rule and zone.
    pub name: Option<String>,
    /// Label of the class.
    pub class: String,
    /// Share of the zone.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
    /// Name of a zone; default: the whole picture.
    pub zone: Option<String>,
    /// How long it must last to begin an event, and be over to end it (default 1000).
    #[schemars(range(max = 3_600_000))]
    pub for_ms: Option<u64>,
    /// An event ends only when the share is back past its limit by this part of it (default 0.1).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub hysteresis: Option<f64>,
}

/// The largest circle that keeps away from what must not be landed on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SafeGroundConfig {
    /// Labels to keep away from.
    #[schemars(length(min = 1))]
    pub avoid: Vec<String>,
    /// Pixels of the frame to keep between them and the circle (default 0).
    #[schemars(range(min = 0.0, max = 10_000.0))]
    pub margin_px: Option<f32>,
    /// Keep away from where the network is not sure, too (default true).
    pub avoid_unknown: Option<bool>,
    /// Name of the zone to stay in; default: the whole picture.
    pub zone: Option<String>,
}

/// How much of the machine to use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InferenceConfig {
    /// Frames in the network at once; default: from the machine's cores.
    #[schemars(range(min = 1, max = 64))]
    pub workers: Option<usize>,
    /// Threads inside one inference; default: from the machine's cores.
    #[schemars(range(min = 1, max = 64))]
    pub threads: Option<usize>,
    /// Live frames that waited longer are dropped (default 500).
    #[schemars(range(min = 1, max = 60_000))]
    pub max_age_ms: Option<u64>,
}

/// How results are drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverlayConfig {
    /// Write the label beside each box (default true).
    pub labels: Option<bool>,
    /// Write the score behind the label (default true).
    pub scores: Option<bool>,
    /// How much of a track's way is drawn behind it (default 2000; 0: none).
    #[schemars(range(max = 600_000))]
    pub trail_ms: Option<u64>,
    /// Width of the boxes' lines; default: from the picture's size.
    #[schemars(range(min = 1, max = 64))]
    pub line_px: Option<u32>,
    /// Height of the text; default: from the picture's size.
    #[schemars(range(min = 6, max = 200))]
    pub text_px: Option<u32>,
    /// How much of a segmented class's colour covers the picture (default 0.5).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: Option<f32>,
    /// Draw a line around segmented areas (default true).
    pub edges: Option<bool>,
    /// Write each segmented class's share into a corner (default true).
    pub legend: Option<bool>,
    /// Colours by label, as `"#rrggbb"`; default: a fixed palette.
    #[serde(default)]
    pub colours: BTreeMap<String, ColourConfig>,
}

/// A colour as `"#rrggbb"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ColourConfig(
    #[schemars(
        regex(pattern = "^#[0-9a-fA-F]{6}$"),
        extend("x-expected" = "a colour like \"#e6194b\", in quotes")
    )]
    pub String,
);

impl ColourConfig {
    /// Red, green, blue; black if the text is no colour (which the schema excludes).
    pub fn rgb(&self) -> [u8; 3] {
        let part = |i: usize| {
            self.0
                .get(i..i + 2)
                .and_then(|hex| u8::from_str_radix(hex, 16).ok())
                .unwrap_or(0)
        };
        [part(1), part(3), part(5)]
    }
}
