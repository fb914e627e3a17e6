//! The pipeline's YAML and the model's card: load, check all of it, describe it.
//!
//! The types in the `spec` files and `card` are one to one with the YAML, and their JSON Schema is derived
//! from them; the same schema that `mobilens schema` prints is what a file is checked against, so
//! that all faults are found at once, each with its line and column. What a schema cannot say
//! (does the file exist, has the model such a label) is checked in `named`.

mod arguments;
mod card;
mod check;
mod fault;
mod load;
mod locate;
mod named;
mod named_sinks;
mod overrides;
mod secret;
mod spec;
mod spec_analysis;
mod spec_sinks;
mod streams;
mod values;
mod yaml;

pub use arguments::{JsonFormat, RunArguments, ensure_json};
pub use card::{
    ActivationConfig, AnchorsConfig, BoxCodingConfig, CardConfig, ChannelOrder, DeeplabHeadConfig,
    HeadConfig, InputConfig, LabelConfig, LetterboxAnchor, ResizeConfig, SsdHeadConfig,
};
pub use fault::{ConfigFaults, Fault, Place};
pub use load::{LoadedPipeline, load, load_all, load_card, load_for_analysis};
pub use named_sinks::server_url;
pub use overrides::Override;
pub use secret::{expand_env, is_url};
pub use spec::{
    AnchorConfig, AreaConfig, AreaRuleConfig, CameraConfig, ClassConfig, ClipsConfig, CocoConfig,
    ColourConfig, DecoderConfig, DetectConfig, GatingConfig, ImagesConfig, ImagesSinkConfig,
    InferenceConfig, IntervalConfig, JsonlConfig, LineConfig, MasksSinkConfig, ModelConfig,
    MotConfig, MotionGateConfig, MqttConfig, MqttFramesConfig, OverlayConfig, PaceConfig,
    PictureFormat, PipelineConfig, ReconnectConfig, RecordedPicture, RegionsConfig, RegionsOn,
    RtspConfig, RtspTransport, SafeGroundConfig, SegmentConfig, SinkConfig, SourceConfig,
    TelemetryConfig, TilesConfig, TrackConfig, VideoConfig, VideoSinkConfig, WEB_BIND, WebConfig,
    WebhookConfig, WindowConfig, ZoneConfig,
};
pub use streams::pipeline_schema;
pub use yaml::schema_of;
