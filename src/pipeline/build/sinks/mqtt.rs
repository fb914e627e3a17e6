//! MQTT, from the configuration.

use std::sync::Arc;

use super::{secret, unrepresentable};
use crate::config::{LoadedPipeline, MqttConfig, MqttFramesConfig, server_url};
use crate::pipeline::build::gating::compares_pictures;
use crate::sink::{MqttClient, MqttFrames, MqttParams, MqttSink, SinkError};

/// Starts the client that all streams share.
pub fn connect(config: &MqttConfig) -> Result<MqttClient, SinkError> {
    let url =
        server_url(&config.url, &["mqtt", "mqtts"]).map_err(|why| unrepresentable("mqtt", why))?;
    let ca = config.ca_file.as_ref().map(|file| {
        let io = |e| SinkError::from_io(&file.display().to_string(), e);
        std::fs::read(file).map_err(io)
    });
    MqttClient::start(&MqttParams {
        url,
        ca: ca.transpose()?,
        topic: config.topic.clone(),
        client_id: secret(config.client_id.as_deref(), "mqtt")?,
        buffer: config.buffer as usize,
    })
}

/// The sink of one stream.
pub fn sink(client: Arc<MqttClient>, config: &MqttConfig, pipeline: &LoadedPipeline) -> MqttSink {
    let frames = match config.frames {
        MqttFramesConfig::Changes => MqttFrames::Changes,
        MqttFramesConfig::All => MqttFrames::All,
        MqttFramesConfig::None => MqttFrames::None,
    };
    let discovery = Some(config.discovery.as_str()).filter(|prefix| !prefix.is_empty());
    let has_motion = compares_pictures(pipeline);
    MqttSink::new(client, &pipeline.stream, frames, discovery, has_motion)
}
