//! The YAML's blocks as types, one file each.
//!
//! The types are the single source of each key's name, type, range, default and description: the
//! JSON Schema that `mobilens schema` prints, the reference in Markdown and the program itself are
//! derived from them. A block whose keys all have a default has them in its `Default`; elsewhere
//! they stand on the fields. An `Option` has no fixed default: its description says what applies
//! instead.

mod card;
mod classify;
mod classify_tracks;
mod default_of;
mod detect;
mod gating;
mod generate;
mod heads;
mod inference;
mod lines;
mod model;
mod models;
mod overlay;
mod pipeline;
mod segment;
mod segment_head;
mod sinks;
mod source;
mod ssd_anchors;
mod telemetry;
mod track;
mod zones;

pub use card::{
    ActivationConfig, AnchorsConfig, BoxCodingConfig, CardConfig, ChannelOrder, DeeplabHeadConfig,
    FilterConfig, HeadConfig, InputConfig, LabelConfig, LetterboxAnchorConfig, ResizeConfig,
    SsdHeadConfig,
};
pub use classify::{ClassifyActivationConfig, ClassifyConfig, ClassifyHeadConfig};
pub use classify_tracks::ClassifyTracksConfig;
pub use detect::{ClassConfig, DetectConfig};
pub use gating::{
    GatingConfig, IntervalConfig, LooksConfig, MotionGateConfig, RegionTrigger, RegionsConfig,
    TileMergeConfig, TilesConfig,
};
pub use generate::{pipeline_schema, schema_of};
pub use heads::{
    AnchorMapLayoutConfig, AnchorUnitConfig, BoxUnitConfig, CenternetCodingConfig,
    CenternetHeadConfig, DetrHeadConfig, GflHeadConfig, RetinafaceHeadConfig, RowLayoutConfig,
    SizeCodingConfig, YoloAnchorMapConfig, YoloAnchorMapsConfig, YoloDistributionMapsConfig,
    YoloEndToEndConfig, YoloFormatConfig, YoloGridRowsConfig, YoloHeadConfig, YoloRowsConfig,
};
pub use inference::{InferenceConfig, PrecisionConfig};
pub use lines::LineConfig;
pub use model::{FitConfig, ModelConfig};
pub use models::{InsideConfig, NamedModelConfig};
pub use overlay::{ColourConfig, OverlayConfig};
pub use pipeline::PipelineConfig;
pub use segment::{AreaConfig, AreaRuleConfig, SafeGroundConfig, SegmentConfig};
pub use segment_head::{ChannelLayoutConfig, SegmentHeadConfig, SegmentValuesConfig};
pub use sinks::{
    ClipsConfig, CocoConfig, ImageFormat, ImagesSinkConfig, JsonlConfig, MasksSinkConfig,
    MotConfig, MqttConfig, MqttFramesConfig, OnErrorConfig, RecordedPicture, RotateConfig,
    SinkConfig, StoreConfig, VideoSinkConfig, WebConfig, WebhookConfig, WindowConfig,
};
pub use source::{
    CameraConfig, DecoderConfig, ImagesConfig, PaceConfig, ReconnectConfig, RtspConfig,
    RtspTransport, SourceConfig, VideoConfig,
};
pub use ssd_anchors::{
    AnchorCodingConfig, AnchorListConfig, BoxOrderConfig, DefaultBoxesConfig, FixedAnchorsConfig,
    MultiscaleAnchorsConfig, SsdMapConfig, SsdNmsConfig, SsdSizeCodingConfig,
};
pub use telemetry::TelemetryConfig;
pub use track::TrackConfig;
pub use zones::{AnchorConfig, ZoneConfig};
