//! Opens the sinks that a pipeline describes: those that streams share once, the others for each.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::recording::Recordist;
use super::rules::compares_pictures;
use super::show::{WebArtist, overlay_style};
use crate::config::{
    MqttFramesSpec, MqttSpec, PictureFormat, PipelineConfig, RecordedPicture, SinkSpec, WEB_BIND,
    WebSpec, WebhookSpec, expand_env, server_url,
};
use crate::overlay::Overlay;
use crate::postprocess::Labels;
use crate::records::RunRecord;
use crate::sink::{
    ClipRules, Clips, CocoSink, ImagesSink, JsonlSink, Keep, Lines, MasksSink, MotSink, MqttClient,
    MqttFrames, MqttRequest, MqttSink, PictureEncoding, RecordSink, Recording, Segments, SinkError,
    WebServer, Webhook, WebhookRequest, WebhookSink,
};

/// What several streams write to.
#[derive(Default)]
pub struct SharedSinks(Vec<(SinkSpec, Shared)>);

#[derive(Clone)]
enum Shared {
    Lines(Lines),
    Web(Arc<WebServer>),
    Mqtt(Arc<MqttClient>),
    Webhook(Arc<Webhook>),
}

impl SharedSinks {
    /// All streams are there: those who wait at them are let in.
    pub fn begin(&self) {
        for (_, shared) in &self.0 {
            if let Shared::Web(server) = shared {
                server.begin();
            }
        }
    }

    /// What `spec` describes: opened with `open`, unless another stream did.
    fn get(
        &mut self,
        spec: &SinkSpec,
        is_shared: bool,
        open: impl FnOnce() -> Result<Shared, SinkError>,
    ) -> Result<Shared, SinkError> {
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

/// A sink and the name of its thread.
pub type NamedSink = (String, Box<dyn RecordSink>);

/// The sinks of one stream.
#[derive(Default)]
pub struct StreamSinks {
    /// Those that take records, each with the name of its thread.
    pub records: Vec<NamedSink>,
    /// Folders of annotated pictures.
    pub images: Vec<ImagesSink>,
    /// Folders of masks.
    pub masks: Vec<MasksSink>,
    /// Who draws for those who watch from afar.
    pub web: Vec<WebArtist>,
    /// What records pictures.
    pub recordings: Vec<Recordist>,
}

impl StreamSinks {
    /// Opens what `config` describes.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open(
        config: &PipelineConfig,
        run: &RunRecord,
        labels: &Arc<Labels>,
        overlay: &Overlay,
        shared: &mut SharedSinks,
    ) -> Result<Self, SinkError> {
        let mut sinks = Self::default();
        for (spec, is_shared) in config.spec.sinks.iter().zip(&config.shared) {
            let mut record = |name: &str, sink| sinks.records.push((name.to_owned(), sink));
            if let Some(jsonl) = &spec.jsonl {
                let lines = || Ok(Shared::Lines(Lines::open(&jsonl.path)?));
                if let Shared::Lines(lines) = shared.get(spec, *is_shared, lines)? {
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
                let server = || Ok(Shared::Web(Arc::new(web_server(web)?)));
                if let Shared::Web(server) = shared.get(spec, *is_shared, server)? {
                    let (hub, records) = server.add(&config.stream);
                    record("4-web-records", records);
                    sinks.web.push(WebArtist {
                        hub,
                        style: overlay_style(config, labels),
                        labels: Arc::clone(labels),
                        quality: web.quality.unwrap_or(80),
                    });
                }
            }
            if let Some(mqtt) = &spec.mqtt {
                let client = || Ok(Shared::Mqtt(Arc::new(mqtt_client(mqtt)?)));
                if let Shared::Mqtt(client) = shared.get(spec, *is_shared, client)? {
                    let frames = match mqtt.frames {
                        MqttFramesSpec::Changes => MqttFrames::Changes,
                        MqttFramesSpec::All => MqttFrames::All,
                        MqttFramesSpec::None => MqttFrames::None,
                    };
                    let discovery = mqtt.discovery.as_deref().unwrap_or("homeassistant");
                    let discovery = Some(discovery).filter(|prefix| !prefix.is_empty());
                    let (stream, moves) = (&config.stream, compares_pictures(config));
                    let sink = MqttSink::new(client, stream, frames, discovery, moves);
                    record("4-mqtt", Box::new(sink));
                }
            }
            if let Some(webhook) = &spec.webhook {
                let server = || Ok(Shared::Webhook(Arc::new(start_webhook(webhook)?)));
                if let Shared::Webhook(server) = shared.get(spec, *is_shared, server)? {
                    let sink = WebhookSink::new(server, webhook.events.clone());
                    record("4-webhook", Box::new(sink));
                }
            }
            if let Some(images) = &spec.images {
                let encoding = match images.format {
                    PictureFormat::Png => PictureEncoding::Png,
                    PictureFormat::Jpeg => PictureEncoding::Jpeg {
                        quality: images.quality.unwrap_or(90),
                    },
                };
                sinks.images.push(ImagesSink::open(&images.dir, encoding)?);
            }
            if let Some(masks) = &spec.masks {
                let colours = overlay.class_colours();
                sinks.masks.push(MasksSink::open(&masks.dir, colours)?);
            }
        }
        sinks.recordings = recordings(config, labels)?;
        Ok(sinks)
    }
}

/// What records the pipeline's pictures: those that are encoded alike are encoded once.
fn recordings(config: &PipelineConfig, labels: &Arc<Labels>) -> Result<Vec<Recordist>, SinkError> {
    let mut all: Vec<((RecordedPicture, u8), Recordist)> = Vec::new();
    let mut with = |picture: RecordedPicture, qp: Option<u8>| {
        let kind = (picture, qp.unwrap_or(30));
        let known = all.iter().position(|(known, _)| *known == kind);
        known.unwrap_or_else(|| {
            let is_annotated = picture == RecordedPicture::Annotated;
            let overlay = || Overlay::new(overlay_style(config, labels), Arc::clone(labels));
            let recordist = Recordist {
                recording: Recording::new(kind.1),
                overlay: is_annotated.then(overlay),
            };
            all.push((kind, recordist));
            all.len() - 1
        })
    };
    let keep = |dir: &Path, max_mb: u32, max_days: f64| Keep {
        dir: dir.to_owned(),
        stream: config.stream.clone(),
        max_bytes: u64::from(max_mb) * 1_000_000,
        max_age: Duration::from_secs_f64(max_days * 86_400.0),
    };
    let us = |ms: u64| i64::try_from(ms * 1000).unwrap_or(i64::MAX);
    let mut wanted = Vec::new();
    for spec in &config.spec.sinks {
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
            let (max_mb, max_days) = (
                video.max_mb.unwrap_or(10_000),
                video.max_days.unwrap_or(30.0),
            );
            let split_us = us(u64::from(video.split_s.unwrap_or(600)) * 1000);
            let segments = Segments::open(keep(&video.dir, max_mb, max_days), split_us)?;
            recording.segments.push(segments);
        }
        if let Some(clips) = clips {
            let (max_mb, max_days) = (clips.max_mb.unwrap_or(2000), clips.max_days.unwrap_or(30.0));
            let rules = ClipRules {
                kinds: clips.events.clone(),
                before_us: us(clips.before_ms.unwrap_or(5000)),
                after_us: us(clips.after_ms.unwrap_or(5000)),
                longest_us: us(clips.longest_ms.unwrap_or(60_000)),
            };
            let clips = Clips::open(keep(&clips.dir, max_mb, max_days), rules)?;
            recording.clips.push(clips);
        }
    }
    Ok(all.into_iter().map(|(_, recordist)| recordist).collect())
}

fn web_server(spec: &WebSpec) -> Result<WebServer, SinkError> {
    let bind = spec.bind.as_deref().unwrap_or(WEB_BIND);
    let token = secret(spec.token.as_deref(), &format!("http://{bind}"))?;
    WebServer::start(bind, token, spec.max_watchers.unwrap_or(64) as usize)
}

fn mqtt_client(spec: &MqttSpec) -> Result<MqttClient, SinkError> {
    let url = server_url(&spec.url, &["mqtt", "mqtts"]).map_err(|why| unsayable("mqtt", why))?;
    let ca = spec.ca_file.as_ref().map(|file| {
        let io = |e| SinkError::from_io(&file.display().to_string(), e);
        std::fs::read(file).map_err(io)
    });
    MqttClient::start(&MqttRequest {
        url,
        ca: ca.transpose()?,
        topic: spec.topic.clone().unwrap_or_else(|| "mobilens".to_owned()),
        buffer: spec.buffer.unwrap_or(1000) as usize,
    })
}

fn start_webhook(spec: &WebhookSpec) -> Result<Webhook, SinkError> {
    let url = server_url(&spec.url, &["http", "https"]);
    let headers = spec.headers.iter().map(|(name, value)| {
        let value = secret(Some(value), "webhook")?.unwrap_or_default();
        Ok((name.clone(), value))
    });
    Webhook::start(WebhookRequest {
        url: url.map_err(|why| unsayable("webhook", why))?,
        headers: headers.collect::<Result<_, SinkError>>()?,
        buffer: spec.buffer.unwrap_or(100) as usize,
        attempts: spec.attempts.unwrap_or(8),
    })
}

fn unsayable(target: &str, why: String) -> SinkError {
    SinkError::Unsayable {
        target: target.to_owned(),
        why,
    }
}

/// A secret of the sink `target`, as the environment has it.
fn secret(text: Option<&str>, target: &str) -> Result<Option<String>, SinkError> {
    let expanded = text.map(expand_env).transpose();
    expanded.map_err(|name| unsayable(target, format!("the environment has no {name}")))
}
