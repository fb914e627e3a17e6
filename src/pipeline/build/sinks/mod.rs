//! Opens the sinks that a pipeline describes: those that streams share once, the others for each.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod keys;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "recording")]
mod recording;
#[cfg(feature = "store")]
mod store;
#[cfg(feature = "web")]
mod web;
#[cfg(feature = "webhook")]
mod webhook;

use crate::config::{
    ImageFormat, JsonlConfig, LoadedPipeline, OnErrorConfig, PaceConfig, SinkConfig, SourceConfig,
};
use crate::flow::Health;
use crate::overlay::Overlay;
use crate::pipeline::stages::sink_edges::SinkKey;
use crate::pipeline::stages::write::GuardedSink;
use crate::pipeline::threads::StreamSinks;
use crate::records::RunRecord;
#[cfg(feature = "mqtt")]
use crate::sink::MqttClient;
#[cfg(feature = "web")]
use crate::sink::WebServer;
use crate::sink::{
    CocoSink, ErrorGuard, ImagesSink, JsonlSink, LineParams, LineWriter, MasksSink, MotSink,
    OnError, PictureEncoding, RecordSink, Rotation, SinkError,
};
#[cfg(feature = "webhook")]
use crate::sink::{WebhookClient, WebhookSink};

use keys::key;
pub use keys::sink_keys;

/// Sinks that several streams write to.
pub struct SharedSinks {
    open: Vec<(SinkConfig, SharedSink)>,
    /// Whether one of the streams is live.
    any_live: bool,
    /// Files that lines were written to: one that is opened again is continued.
    written: BTreeSet<PathBuf>,
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
    /// No sinks yet, for these streams; `health` is what a web server tells of the run.
    pub fn new(streams: &[LoadedPipeline], health: &Health) -> Self {
        Self {
            open: Vec::new(),
            any_live: streams.iter().any(|s| is_live(&s.config.source)),
            written: BTreeSet::new(),
            health: health.clone(),
        }
    }

    /// Forgets the sinks that none of `streams` has any more. Each ends when the last stream that writes to it
    /// does.
    pub fn retain(&mut self, streams: &[&LoadedPipeline]) {
        self.any_live = streams.iter().any(|s| is_live(&s.config.source));
        self.open.retain(|(known, _)| {
            let mut configs = streams.iter().flat_map(|stream| &stream.config.sinks);
            configs.any(|config| config == known)
        });
        #[cfg(feature = "web")]
        for (known, shared) in &self.open {
            if let SharedSink::Web(server) = shared {
                let shown = streams.iter().filter(|s| s.config.sinks.contains(known));
                let names: Vec<&str> = shown.map(|stream| stream.stream.as_str()).collect();
                server.retain(&names);
                let of_known = streams.iter().filter(|s| s.config.sinks.contains(known));
                let files: Vec<_> = of_known
                    .map(|s| web::event_files(&s.config.sinks))
                    .collect();
                server.set_event_files(&files);
            }
        }
    }

    /// Starts the web servers of `pipeline` and registers its stream, before its source is opened.
    ///
    /// # Errors
    /// When one cannot be started.
    #[cfg(feature = "web")]
    pub fn register(&mut self, pipeline: &LoadedPipeline) -> Result<(), SinkError> {
        for (sink_config, is_shared) in pipeline.config.sinks.iter().zip(&pipeline.shared) {
            let Some(config) = &sink_config.web else {
                continue;
            };
            let health = self.health.clone();
            let server = || {
                Ok(SharedSink::Web(Arc::new(web::start_server(
                    config, health,
                )?)))
            };
            if let SharedSink::Web(server) = self.get(sink_config, *is_shared, server)? {
                server.add(&pipeline.stream);
                server.add_event_files(&web::event_files(&pipeline.config.sinks));
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

    /// The sink that `sink_config` describes: opened with `open`, unless another stream did.
    fn get(
        &mut self,
        sink_config: &SinkConfig,
        is_shared: bool,
        open: impl FnOnce() -> Result<SharedSink, SinkError>,
    ) -> Result<SharedSink, SinkError> {
        let is_known = |known: &SinkConfig, sink: &SharedSink| {
            // A server is started before its stream is built, also one that is not shared.
            let is_server = sink.is_server();
            (is_shared || is_server) && known == sink_config
        };
        let known = self.open.iter().find(|(known, sink)| is_known(known, sink));
        if let Some((_, shared)) = known {
            return Ok(shared.clone());
        }
        let shared = open()?;
        // Kept in any case: it ends when all streams have.
        self.open.push((sink_config.clone(), shared.clone()));
        Ok(shared)
    }
}

/// Whether frames of a source are dropped while the pipeline is busy.
fn is_live(source: &SourceConfig) -> bool {
    let video = source.video.as_ref().map(|video| video.pace);
    let pace = video.or(source.images.as_ref().map(|images| images.pace));
    pace.is_none_or(|pace| pace == PaceConfig::Live)
}

/// Handles the errors of a sink of kind `sink`; by default those of a live source are retried.
fn guard(sink: &str, on_error: Option<OnErrorConfig>, is_live: bool) -> ErrorGuard {
    let on_error = match on_error {
        Some(OnErrorConfig::Retry) => OnError::Retry,
        Some(OnErrorConfig::Disable) => OnError::Disable,
        Some(OnErrorConfig::End) => OnError::End,
        None if is_live => OnError::Retry,
        None => OnError::End,
    };
    ErrorGuard::new(sink, on_error)
}

/// Files of live sources are continued, those of replays replaced.
fn line_params(sink_config: &JsonlConfig, is_live: bool) -> LineParams {
    LineParams {
        append: is_live,
        sync: sink_config.sync,
        rotation: sink_config.rotate.as_ref().map(|rotate| Rotation {
            max_bytes: u64::from(rotate.mb) * 1_000_000,
            max_age: Duration::from_secs_f64(rotate.days * 86_400.0),
        }),
    }
}

/// Opens the sinks of `pipeline` that are `wanted`; its source is live or replayed.
///
/// # Errors
/// When one cannot be opened.
#[cfg_attr(
    not(any(feature = "mqtt", feature = "web", feature = "webhook")),
    allow(irrefutable_let_patterns, reason = "one kind of shared sink is left")
)]
pub fn open_sinks(
    pipeline: &LoadedPipeline,
    is_live: bool,
    run: &RunRecord,
    overlay: &Overlay,
    wanted: &BTreeSet<SinkKey>,
    shared: &mut SharedSinks,
) -> Result<StreamSinks, SinkError> {
    let mut sinks = StreamSinks::default();
    #[cfg(feature = "store")]
    let mut reports = crate::sink::FileReports::default();
    for (sink_config, is_shared) in pipeline.config.sinks.iter().zip(&pipeline.shared) {
        let key = key(pipeline, sink_config, *is_shared, overlay);
        let Some(key) = key.filter(|key| wanted.contains(key)) else {
            continue;
        };
        let mut guarded = |sink: Box<dyn RecordSink>, guard: ErrorGuard| {
            let name = format!("4-{}", guard.sink());
            let sink = GuardedSink { sink, guard };
            sinks.records.push((Arc::clone(&key), name, sink));
        };
        if let Some(jsonl) = &sink_config.jsonl {
            let mut guard = guard("jsonl", jsonl.on_error, is_live);
            let is_continued =
                shared.written.contains(&jsonl.path) || is_live || *is_shared && shared.any_live;
            let params = line_params(jsonl, is_continued);
            let lines = || {
                let lines = LineWriter::guarded(&jsonl.path, params, &mut guard)?;
                Ok(SharedSink::Lines(lines))
            };
            if let SharedSink::Lines(lines) = shared.get(sink_config, *is_shared, lines)? {
                shared.written.insert(jsonl.path.clone());
                let sink = JsonlSink::guarded(lines, run, jsonl.timings, &mut guard)?;
                guarded(Box::new(sink), guard);
            }
        }
        if let Some(coco) = &sink_config.coco {
            let guard = guard("coco", coco.on_error, is_live);
            guarded(Box::new(CocoSink::open(&coco.path)?), guard);
        }
        if let Some(mot) = &sink_config.mot {
            let guard = guard("mot", mot.on_error, is_live);
            guarded(Box::new(MotSink::open(&mot.path)?), guard);
        }
        #[cfg(any(feature = "mqtt", feature = "web", feature = "webhook"))]
        let mut record = |name: &str, sink: Box<dyn RecordSink>| {
            let sink = GuardedSink::new(name, sink);
            sinks
                .records
                .push((Arc::clone(&key), name.to_owned(), sink));
        };
        #[cfg(feature = "web")]
        if let Some(config) = &sink_config.web {
            let health = shared.health.clone();
            let server = || {
                Ok(SharedSink::Web(Arc::new(web::start_server(
                    config, health,
                )?)))
            };
            if let SharedSink::Web(server) = shared.get(sink_config, *is_shared, server)? {
                let (renderer, records) = web::add_stream(&server, config, &pipeline.stream);
                record("4-web-records", records);
                sinks.web.push((Arc::clone(&key), renderer));
            }
        }
        #[cfg(feature = "mqtt")]
        if let Some(config) = &sink_config.mqtt {
            let client = || Ok(SharedSink::Mqtt(Arc::new(mqtt::connect(config)?)));
            if let SharedSink::Mqtt(client) = shared.get(sink_config, *is_shared, client)? {
                record("4-mqtt", Box::new(mqtt::sink(client, config, pipeline)));
            }
        }
        #[cfg(feature = "webhook")]
        if let Some(config) = &sink_config.webhook {
            let sender = || Ok(SharedSink::Webhook(Arc::new(webhook::start(config)?)));
            if let SharedSink::Webhook(sender) = shared.get(sink_config, *is_shared, sender)? {
                let sink = WebhookSink::new(sender, config.events.clone());
                record("4-webhook", Box::new(sink));
            }
        }
        #[cfg(feature = "store")]
        if let Some(config) = &sink_config.store {
            let guard = guard("store", config.on_error, is_live);
            let (stage, files) = store::open(config, is_live, run, guard)?;
            sinks.stores.push((Arc::clone(&key), stage));
            reports.0.push(files);
        }
        if let Some(images) = &sink_config.images {
            let encoding = match images.format {
                ImageFormat::Png => PictureEncoding::Png,
                ImageFormat::Jpeg => PictureEncoding::Jpeg {
                    quality: images.jpeg_quality(),
                },
            };
            let guard = guard("images", images.on_error, is_live);
            let sink = ImagesSink::open(&images.dir, encoding)?;
            sinks.images.push((Arc::clone(&key), (sink, guard)));
        }
        if let Some(masks) = &sink_config.masks {
            let colours = overlay.class_colours();
            let guard = guard("masks", masks.on_error, is_live);
            let sink = MasksSink::open(&masks.dir, colours)?;
            sinks.masks.push((Arc::clone(&key), (sink, guard)));
        }
    }
    #[cfg(feature = "recording")]
    {
        sinks.recordings = recording::open(pipeline, is_live, wanted)?;
        #[cfg(feature = "store")]
        for (_, encoder) in &mut sinks.recordings {
            encoder.recording.report_files(&reports);
        }
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
