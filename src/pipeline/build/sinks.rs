//! Opens the sinks that a pipeline describes: those that streams share once, the others for each.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::gating::compares_pictures;
use super::overlay::overlay_style;
use crate::config::{
    ImageFormat, LoadedPipeline, MqttConfig, MqttFramesConfig, RecordedPicture, SinkConfig,
    WebConfig, WebhookConfig, expand_env, server_url,
};
use crate::overlay::Overlay;
use crate::pipeline::stages::encode::EncodeStage;
use crate::pipeline::stages::web::WebRenderer;
use crate::pipeline::threads::StreamSinks;
use crate::postprocess::Labels;
use crate::records::RunRecord;
use crate::sink::{
    ClipRules, Clips, CocoSink, ImagesSink, JsonlSink, LineWriter, MasksSink, MotSink, MqttClient,
    MqttFrames, MqttRequest, MqttSink, PictureEncoding, RetentionPolicy, Segments, SinkError,
    VideoRecording, WebServer, Webhook, WebhookRequest, WebhookSink,
};

/// What several streams write to.
#[derive(Default)]
pub struct SharedSinks(Vec<(SinkConfig, SharedSink)>);

#[derive(Clone)]
enum SharedSink {
    Lines(LineWriter),
    Web(Arc<WebServer>),
    Mqtt(Arc<MqttClient>),
    Webhook(Arc<Webhook>),
}

impl SharedSinks {
    /// All streams are there: those who wait at them are let in.
    pub fn begin(&self) {
        for (_, shared) in &self.0 {
            if let SharedSink::Web(server) = shared {
                server.begin();
            }
        }
    }

    /// What `spec` describes: opened with `open`, unless another stream did.
    fn get(
        &mut self,
        spec: &SinkConfig,
        is_shared: bool,
        open: impl FnOnce() -> Result<SharedSink, SinkError>,
    ) -> Result<SharedSink, SinkError> {
        let known = self.0.iter().find(|(known, _)| is_shared && known == spec);
        if let Some((_, shared)) = known {
            return Ok(shared.clone());
        }
        let shared = open()?;
        // Kept in any case: it ends when all streams have.
        self.0.push((spec.clone(), shared.clone()));
        Ok(shared)
    }
}

/// Opens what `pipeline` describes.
///
/// # Errors
/// When one cannot be opened.
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
        if let Some(web) = &spec.web {
            let server = || Ok(SharedSink::Web(Arc::new(web_server(web)?)));
            if let SharedSink::Web(server) = shared.get(spec, *is_shared, server)? {
                let (views, records) = server.add(&pipeline.stream);
                record("4-web-records", records);
                sinks.web.push(WebRenderer {
                    views,
                    style: overlay_style(pipeline, labels),
                    labels: Arc::clone(labels),
                    quality: web.quality,
                });
            }
        }
        if let Some(mqtt) = &spec.mqtt {
            let client = || Ok(SharedSink::Mqtt(Arc::new(mqtt_client(mqtt)?)));
            if let SharedSink::Mqtt(client) = shared.get(spec, *is_shared, client)? {
                let frames = match mqtt.frames {
                    MqttFramesConfig::Changes => MqttFrames::Changes,
                    MqttFramesConfig::All => MqttFrames::All,
                    MqttFramesConfig::None => MqttFrames::None,
                };
                let discovery = Some(mqtt.discovery.as_str()).filter(|prefix| !prefix.is_empty());
                let (stream, moves) = (&pipeline.stream, compares_pictures(pipeline));
                let sink = MqttSink::new(client, stream, frames, discovery, moves);
                record("4-mqtt", Box::new(sink));
            }
        }
        if let Some(webhook) = &spec.webhook {
            let server = || Ok(SharedSink::Webhook(Arc::new(start_webhook(webhook)?)));
            if let SharedSink::Webhook(server) = shared.get(spec, *is_shared, server)? {
                let sink = WebhookSink::new(server, webhook.events.clone());
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
    sinks.recordings = recordings(pipeline, labels)?;
    Ok(sinks)
}

/// What records the pipeline's pictures: those that are encoded alike are encoded once.
fn recordings(
    pipeline: &LoadedPipeline,
    labels: &Arc<Labels>,
) -> Result<Vec<EncodeStage>, SinkError> {
    let mut all: Vec<((RecordedPicture, u8), EncodeStage)> = Vec::new();
    let mut with = |picture: RecordedPicture, qp: u8| {
        let kind = (picture, qp);
        let known = all.iter().position(|(known, _)| *known == kind);
        known.unwrap_or_else(|| {
            let is_annotated = picture == RecordedPicture::Annotated;
            let overlay = || Overlay::new(overlay_style(pipeline, labels), Arc::clone(labels));
            let encoder = EncodeStage {
                recording: VideoRecording::new(kind.1),
                overlay: is_annotated.then(overlay),
            };
            all.push((kind, encoder));
            all.len() - 1
        })
    };
    let retention = |dir: &Path, max_mb: u32, max_days: f64| RetentionPolicy {
        dir: dir.to_owned(),
        stream: pipeline.stream.clone(),
        max_bytes: u64::from(max_mb) * 1_000_000,
        max_age: Duration::from_secs_f64(max_days * 86_400.0),
    };
    let us = |ms: u64| i64::try_from(ms * 1000).unwrap_or(i64::MAX);
    let mut wanted = Vec::new();
    for spec in &pipeline.config.sinks {
        if let Some(video) = &spec.video {
            let at = with(video.picture, video.qp);
            wanted.push((at, Some(video), None));
        }
        if let Some(clips) = &spec.clips {
            let at = with(clips.picture, clips.qp);
            wanted.push((at, None, Some(clips)));
        }
    }
    for (at, video, clips) in wanted {
        let recording = &mut all[at].1.recording;
        if let Some(video) = video {
            let retention = retention(&video.dir, video.max_mb, video.max_days);
            let split_us = us(u64::from(video.split_s) * 1000);
            let segments = Segments::open(retention, split_us)?;
            recording.segments.push(segments);
        }
        if let Some(clips) = clips {
            let retention = retention(&clips.dir, clips.max_mb, clips.max_days);
            let rules = ClipRules {
                kinds: clips.events.clone(),
                before_us: us(clips.before_ms),
                after_us: us(clips.after_ms),
                longest_us: us(clips.longest_ms),
            };
            let clips = Clips::open(retention, rules)?;
            recording.clips.push(clips);
        }
    }
    Ok(all.into_iter().map(|(_, encoder)| encoder).collect())
}

fn web_server(spec: &WebConfig) -> Result<WebServer, SinkError> {
    let bind = &spec.bind;
    let token = secret(spec.token.as_deref(), &format!("http://{bind}"))?;
    WebServer::start(bind, token, spec.max_watchers as usize)
}

fn mqtt_client(spec: &MqttConfig) -> Result<MqttClient, SinkError> {
    let url =
        server_url(&spec.url, &["mqtt", "mqtts"]).map_err(|why| unrepresentable("mqtt", why))?;
    let ca = spec.ca_file.as_ref().map(|file| {
        let io = |e| SinkError::from_io(&file.display().to_string(), e);
        std::fs::read(file).map_err(io)
    });
    MqttClient::start(&MqttRequest {
        url,
        ca: ca.transpose()?,
        topic: spec.topic.clone(),
        buffer: spec.buffer as usize,
    })
}

fn start_webhook(spec: &WebhookConfig) -> Result<Webhook, SinkError> {
    let url = server_url(&spec.url, &["http", "https"]);
    let headers = spec.headers.iter().map(|(name, value)| {
        let value = secret(Some(value), "webhook")?.unwrap_or_default();
        Ok((name.clone(), value))
    });
    Webhook::start(WebhookRequest {
        url: url.map_err(|why| unrepresentable("webhook", why))?,
        headers: headers.collect::<Result<_, SinkError>>()?,
        buffer: spec.buffer as usize,
        attempts: spec.attempts,
    })
}

fn unrepresentable(target: &str, why: String) -> SinkError {
    SinkError::Unrepresentable {
        target: target.to_owned(),
        why,
    }
}

/// A secret of the sink `target`, as the environment has it.
fn secret(text: Option<&str>, target: &str) -> Result<Option<String>, SinkError> {
    let expanded = text.map(expand_env).transpose();
    expanded.map_err(|why| unrepresentable(target, why))
}
