//! Pipelines and model cards in YAML: loading, validation, JSON Schema and reference.
//!
//! `schema` holds the blocks of the YAML as types, with each key's default and description. A file
//! is parsed once into a `document` tree in which every key and value has its line and column;
//! `--set` and `streams:` change and divide that tree. `validate` checks it against the JSON
//! Schema that `mobilens schema` prints, then what a schema cannot express, and collects all errors.
//! [`load()`] puts these together.

mod arguments;
mod diagnostic;
mod document;
mod effective;
mod environment;
mod input;
mod input_size;
mod load;
mod load_card;
mod loaded;
mod loaded_model;
mod masked;
mod reference;
mod schema;
mod track_cards;
mod validate;

pub use arguments::{JsonFormat, RunArguments, ensure_json};
pub use diagnostic::{ConfigError, Diagnostic, Location};
pub use document::{Override, ensure_used};
pub use effective::effective_yaml;
pub use environment::{expand_env, is_url, server_url};
pub use input::InputSource;
pub use input_size::SsdInputSizes;
pub use load::{load, load_all, load_for_analysis};
pub use load_card::{card_from_text, load_card};
pub use loaded::{LoadedPipeline, hex_sha256};
pub use loaded_model::LoadedModel;
pub use reference::{markdown_reference, pipeline_reference};
pub use schema::{
    ActivationConfig, AnchorCodingConfig, AnchorConfig, AnchorListConfig, AnchorMapLayoutConfig,
    AnchorUnitConfig, AnchorsConfig, AreaConfig, AreaRuleConfig, BoxCodingConfig, BoxOrderConfig,
    BoxUnitConfig, CameraConfig, CardConfig, CenternetCodingConfig, CenternetHeadConfig,
    ChannelLayoutConfig, ChannelOrder, ClassConfig, ClassifyActivationConfig, ClassifyConfig,
    ClassifyHeadConfig, ClassifyTracksConfig, ClipsConfig, CocoConfig, ColourConfig, DecoderConfig,
    DeeplabHeadConfig, DefaultBoxesConfig, DetectConfig, DetrHeadConfig, FilterConfig, FitConfig,
    FixedAnchorsConfig, GatingConfig, GflHeadConfig, HeadConfig, ImageFormat, ImagesConfig,
    ImagesSinkConfig, InferenceConfig, InputConfig, InsideConfig, IntervalConfig, JsonlConfig,
    LabelConfig, LetterboxAnchorConfig, LineConfig, LooksConfig, MasksSinkConfig, ModelConfig,
    MotConfig, MotionGateConfig, MqttConfig, MqttFramesConfig, MultiscaleAnchorsConfig,
    NamedModelConfig, OnErrorConfig, OverlayConfig, PaceConfig, PipelineConfig, PrecisionConfig,
    ReconnectConfig, RecordedPicture, RegionTrigger, RegionsConfig, ResizeConfig,
    RetinafaceHeadConfig, RotateConfig, RowLayoutConfig, RtspConfig, RtspTransport,
    SafeGroundConfig, SegmentConfig, SegmentHeadConfig, SegmentValuesConfig, SinkConfig,
    SizeCodingConfig, SourceConfig, SsdHeadConfig, SsdMapConfig, SsdNmsConfig, SsdSizeCodingConfig,
    StoreConfig, TelemetryConfig, TileMergeConfig, TilesConfig, TrackConfig, VideoConfig,
    VideoSinkConfig, WebConfig, WebhookConfig, WindowConfig, YoloAnchorMapConfig,
    YoloAnchorMapsConfig, YoloDistributionMapsConfig, YoloEndToEndConfig, YoloFormatConfig,
    YoloGridRowsConfig, YoloHeadConfig, YoloRowsConfig, ZoneConfig, pipeline_schema, schema_of,
};
pub use track_cards::TrackCard;
