//! One entry of `sinks`, and the window.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ClipsConfig, CocoConfig, ImagesSinkConfig, JsonlConfig, MasksSinkConfig, MotConfig, MqttConfig,
    StoreConfig, VideoSinkConfig, WebConfig, WebhookConfig,
};

/// A sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SinkConfig {
    /// A window with the live picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowConfig>,
    /// A web page with the live picture, events and metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<WebConfig>,
    /// Messages to an MQTT broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<MqttConfig>,
    /// Events as HTTP POST requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookConfig>,
    /// Records as JSON lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jsonl: Option<JsonlConfig>,
    /// Events in a database, with thumbnails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreConfig>,
    /// Results as one COCO results file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coco: Option<CocoConfig>,
    /// Tracks in MOTChallenge format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mot: Option<MotConfig>,
    /// Continuous recording as MP4 segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoSinkConfig>,
    /// Event clips as MP4, with pre-roll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clips: Option<ClipsConfig>,
    /// Annotated images, one file a frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<ImagesSinkConfig>,
    /// Segmentation masks, one file a frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masks: Option<MasksSinkConfig>,
}

/// A window with the live picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WindowConfig {
    /// Title. Default: the stream's name.
    pub title: Option<String>,
    /// Initial width.
    #[schemars(range(min = 64, max = 7680))]
    pub width_px: u32,
    /// Initial height.
    #[schemars(range(min = 64, max = 4320))]
    pub height_px: u32,
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self {
            title: None,
            width_px: 960,
            height_px: 540,
        }
    }
}
