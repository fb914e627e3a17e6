//! Opens the sinks that a pipeline describes: those that streams share once, the others for each.

use std::sync::Arc;

#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "recording")]
mod recording;
#[cfg(feature = "web")]
mod web;
#[cfg(feature = "webhook")]
mod webhook;

use crate::config::{ImageFormat, LoadedPipeline, SinkConfig};
use crate::flow::Health;
use crate::overlay::Overlay;
use crate::pipeline::threads::StreamSinks;
use crate::postprocess::Labels;
use crate::records::RunRecord;
#[cfg(feature = "mqtt")]
use crate::sink::MqttClient;
#[cfg(feature = "web")]
use crate::sink::WebServer;
use crate::sink::{
    CocoSink, ImagesSink, JsonlSink, LineWriter, MasksSink, MotSink, PictureEncoding, SinkError,
};
#[cfg(feature = "webhook")]
use crate::sink::{WebhookClient, WebhookSink};

/// Sinks that several streams write to.
pub struct SharedSinks {
    open: Vec<(SinkConfig, SharedSink)>,
    #[cfg_attr(not(feature = "web"), allow(dead_code, reason = "no server tells it"))]
    health: Health,
}

#[derive(Clone)]
enum SharedSink {
    Lines(LineWriter),
    #[cfg(feature = "web")]
    Web(Arc<WebServer>),
    #[cfg(feature = "mqtt")]
    Mqtt(Arc<MqttClient>),
    #[cfg(feature = "webhook")]
    Webhook(Arc<WebhookClient>),
}

impl SharedSink {
    fn is_server(&self) -> bool {
        #[cfg(feature = "web")]
        if matches!(self, Self::Web(_)) {
            return true;
        }
        false
    }
}

impl Drop for SharedSinks {
    fn drop(&mut self) {
        // All clients send what they have left at the same time; each is waited for when it is dropped.
        #[cfg(any(feature = "mqtt", feature = "webhook"))]
        for (_, shared) in &self.open {
            match shared {
                #[cfg(feature = "mqtt")]
                SharedSink::Mqtt(client) => client.close(),
                #[cfg(feature = "webhook")]
                SharedSink::Webhook(client) => client.close(),
                _ => {}
            }
        }
    }
}

impl SharedSinks {
    /// No sinks yet; `health` is what a web server tells of the run.
    pub fn new(health: &Health) -> Self {
        Self {
            open: Vec::new(),
            health: health.clone(),
        }
    }

    /// Starts the web servers of `pipeline` and registers its stream, before its source is opened.
    ///
    /// # Errors
    /// When one cannot be started.
    #[cfg(feature = "web")]
    pub fn register(&mut self, pipeline: &LoadedPipeline) -> Result<(), SinkError> {
        for (spec, is_shared) in pipeline.config.sinks.iter().zip(&pipeline.shared) {
            let Some(config) = &spec.web else {
                continue;
            };
            let health = self.health.clone();
            let server = || {
                Ok(SharedSink::Web(Arc::new(web::start_server(
                    config, health,
                )?)))
            };
            if let SharedSink::Web(server) = self.get(spec, *is_shared, server)? {
                server.add(&pipeline.stream);
            }
        }
        Ok(())
    }

    /// Opens the web servers to visitors, once all streams are registered.
    pub fn begin(&self) {
        #[cfg(feature = "web")]
        for (_, shared) in &self.open {
            if let SharedSink::Web(server) = shared {
                server.begin();
            }
        }
    }

    /// The sink that `spec` describes: opened with `open`, unless another stream did.
    fn get(
        &mut self,
        spec: &SinkConfig,
        is_shared: bool,
        open: impl FnOnce() -> Result<SharedSink, SinkError>,
    ) -> Result<SharedSink, SinkError> {
        let is_known = |known: &SinkConfig, sink: &SharedSink| {
            // A server is started before its stream is built, also one that is not shared.
            let is_server = sink.is_server();
            (is_shared || is_server) && known == spec
        };
        let known = self.open.iter().find(|(known, sink)| is_known(known, sink));
        if let Some((_, shared)) = known {
            return Ok(shared.clone());
        }
        let shared = open()?;
        // Kept in any case: it ends when all streams have.
        self.open.push((spec.clone(), shared.clone()));
        Ok(shared)
    }
}

/// Opens what `pipeline` describes.
///
/// # Errors
/// When one cannot be opened.
#[cfg_attr(
    not(any(feature = "mqtt", feature = "web", feature = "webhook")),
    allow(irrefutable_let_patterns, reason = "one kind of shared sink is left")
)]
#[cfg_attr(
    not(any(feature = "recording", feature = "web")),
    allow(unused_variables, reason = "nobody draws")
)]
pub fn open_sinks(
    pipeline: &LoadedPipeline,
    run: &RunRecord,
    labels: &Arc<Labels>,
    overlay: &Overlay,
    shared: &mut SharedSinks,
) -> Result<StreamSinks, SinkError> {
    let mut sinks = StreamSinks::default();
    for (spec, is_shared) in pipeline.config.sinks.iter().zip(&pipeline.shared) {
        let mut record = |name: &str, sink| sinks.records.push((name.to_owned(), sink));
        if let Some(jsonl) = &spec.jsonl {
            let lines = || Ok(SharedSink::Lines(LineWriter::open(&jsonl.path)?));
            if let SharedSink::Lines(lines) = shared.get(spec, *is_shared, lines)? {
                let sink = JsonlSink::new(lines, run, jsonl.timings)?;
                record("4-jsonl", Box::new(sink));
            }
        }
        if let Some(coco) = &spec.coco {
            record("4-coco", Box::new(CocoSink::open(&coco.path)?));
        }
        if let Some(mot) = &spec.mot {
            record("4-mot", Box::new(MotSink::open(&mot.path)?));
        }
        #[cfg(feature = "web")]
        if let Some(config) = &spec.web {
            let health = shared.health.clone();
            let server = || {
                Ok(SharedSink::Web(Arc::new(web::start_server(
                    config, health,
                )?)))
            };
            if let SharedSink::Web(server) = shared.get(spec, *is_shared, server)? {
                let (renderer, records) = web::add_stream(&server, config, pipeline, labels);
                record("4-web-records", records);
                sinks.web.push(renderer);
            }
        }
        #[cfg(feature = "mqtt")]
        if let Some(config) = &spec.mqtt {
            let client = || Ok(SharedSink::Mqtt(Arc::new(mqtt::connect(config)?)));
            if let SharedSink::Mqtt(client) = shared.get(spec, *is_shared, client)? {
                record("4-mqtt", Box::new(mqtt::sink(client, config, pipeline)));
            }
        }
        #[cfg(feature = "webhook")]
        if let Some(config) = &spec.webhook {
            let sender = || Ok(SharedSink::Webhook(Arc::new(webhook::start(config)?)));
            if let SharedSink::Webhook(sender) = shared.get(spec, *is_shared, sender)? {
                let sink = WebhookSink::new(sender, config.events.clone());
                record("4-webhook", Box::new(sink));
            }
        }
        if let Some(images) = &spec.images {
            let encoding = match images.format {
                ImageFormat::Png => PictureEncoding::Png,
                ImageFormat::Jpeg => PictureEncoding::Jpeg {
                    quality: images.jpeg_quality(),
                },
            };
            sinks.images.push(ImagesSink::open(&images.dir, encoding)?);
        }
        if let Some(masks) = &spec.masks {
            let colours = overlay.class_colours();
            sinks.masks.push(MasksSink::open(&masks.dir, colours)?);
        }
    }
    #[cfg(feature = "recording")]
    {
        sinks.recordings = recording::open(pipeline, labels)?;
    }
    Ok(sinks)
}

#[cfg(any(feature = "mqtt", feature = "web", feature = "webhook"))]
fn unrepresentable(target: &str, why: String) -> SinkError {
    SinkError::Unrepresentable {
        target: target.to_owned(),
        why,
    }
}

/// A text of the sink `target`, with environment variables expanded.
#[cfg(any(feature = "mqtt", feature = "web", feature = "webhook"))]
fn secret(text: Option<&str>, target: &str) -> Result<Option<String>, SinkError> {
    let expanded = text.map(crate::config::expand_env).transpose();
    expanded.map_err(|why| unrepresentable(target, why))
}
