//! `sinks`: where results go.

mod files;
mod on_error;
mod recording;
mod servers;
mod sink;

pub use files::{
    CocoConfig, ImageFormat, ImagesSinkConfig, JsonlConfig, MasksSinkConfig, MotConfig,
    RotateConfig, StoreConfig,
};
pub use on_error::OnErrorConfig;
pub use recording::{ClipsConfig, RecordedPicture, VideoSinkConfig};
pub use servers::{MqttConfig, MqttFramesConfig, WebConfig, WebhookConfig};
pub use sink::{SinkConfig, WindowConfig};
