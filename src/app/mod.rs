//! Builds a pipeline from its description and runs it. The only module that knows all others.
//!
//! [`run`] reads from top to bottom as a frame travels: source, workers, records, overlay, sinks.
//!
//! | thread | work | edge to the next (live / replay) |
//! |---|---|---|
//! | `0-capture` | read, number, pace | newest wins, 1 / blocks, 2 |
//! | `1-infer-N` | preprocess, infer, postprocess | blocks, in order |
//! | `2-emit` | records | blocks, 4 (records); see below (pictures) |
//! | `3-overlay` | convert and draw, only if somebody looks | blocks, or newest wins for the window |
//! | `4-SINK` | write | |
//! | main | the window, or waiting | |
//!
//! Only the source is told to stop; the rest drains because its input closes. The last record is
//! made when all that comes before the sinks has ended, so its counts are final.

mod analyst;
mod detector;
mod emit;
mod feed;
mod fit;
mod inference;
mod model;
mod pipeline;
mod progress;
mod rules;
mod segmenter;
mod show;
mod source;
mod summary;
mod watch;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

pub use analyst::Analyst;
pub use detector::{Detector, DetectorModel, classes_to_keep};
pub use feed::{Feed, FeedCounts, Pace, SourceNews};
pub use fit::ModelError;
pub use inference::{ChainLatency, Inference};
pub use model::Model;
pub use pipeline::{Chain, NamedSink, Pipeline};
pub use progress::Progress;
pub use segmenter::{Segmenter, SegmenterModel};
pub use source::OpenSource;
pub use summary::RunReport;

use crate::analytics::AreaRules;
use crate::attention::{self, Attention, Every, Feedback, Gate, Regions, Tiles};
use crate::capture::{CaptureError, SourceInfo};
use crate::config::{
    AttentionSpec, PictureFormat, PipelineConfig, RegionsOn, SinkSpec, WEB_BIND, WindowSpec,
    ensure_json, expand_env,
};
use crate::flow::StopSignal;
use crate::nn::NnError;
use crate::overlay::{Overlay, OverlayStyle};
use crate::postprocess::Labels;
use crate::records::{
    AreaDetail, LabelRecord, ModelRecord, Recorder, RunRecord, SCHEMA_VERSION, SourceRecord,
};
use crate::sink::{
    CocoSink, ExpectSink, ImagesSink, JsonlSink, MasksSink, Metrics, MotSink, PictureEncoding,
    SinkError, WebServer, Window,
};
use crate::telemetry::Locator;
use rules::{area_rules, polygon};
use show::WebArtist;
use source::open_source;

/// A live frame that waited longer is dropped, where the pipeline does not say.
const MAX_AGE: Duration = Duration::from_millis(500);

/// What the command line says beside the pipeline.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Stop after so many frames.
    pub frames: Option<u64>,
    /// Show a progress bar if standard error is a terminal.
    pub progress: bool,
    /// Compare the run with these records.
    pub expect: Option<PathBuf>,
    /// Throw the results away, for measuring.
    pub discard: bool,
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The model does not serve the pipeline.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network cannot be made ready.
    #[error(transparent)]
    Network(#[from] NnError),
    /// The source cannot be opened.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A sink cannot be opened.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The system has no thread to give.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Runs a pipeline until its source ends or `stop` is given.
///
/// # Errors
/// When it cannot begin; what goes wrong later is in the report.
pub fn run(
    mut config: PipelineConfig,
    options: &RunOptions,
    stop: &StopSignal,
) -> Result<RunReport, RunError> {
    let model = Model::load(&config)?;
    if options.discard {
        config.spec.sinks.clear();
    }
    let window = open_window(&mut config);
    let is_watched = window.is_some() || config.spec.sinks.iter().any(|sink| sink.web.is_some());
    let source = open_source(&config.spec, is_watched)?;
    let (info, drops) = (source.source.info().clone(), source.drops);
    let labels = Arc::new(config.card.labels());
    let latency = ChainLatency::default();
    let (workers, threads) = workers_and_threads(&config, drops);
    let feedback = Arc::<Feedback>::default();
    let mut chains: Vec<Box<dyn Chain>> = Vec::new();
    for _ in 0..workers {
        chains.push(model.chain(threads, &latency, &feedback)?);
    }
    let max_age = config.spec.inference.max_age_ms;
    let overlay = Overlay::new(overlay_style(&config, &labels), Arc::clone(&labels));
    let mut records = open_record_sinks(&config, &run_record(&config, &info))?;
    if let Some(expected) = &options.expect {
        records.push(("4-expect".to_owned(), Box::new(ExpectSink::open(expected)?)));
    }
    let web = open_web(&config, &labels, &latency)?;
    if let Some((server, _)) = &web {
        records.push(("4-web-records".to_owned(), server.records()));
    }
    let pipeline = Pipeline {
        stream: config.stream.as_str().into(),
        source,
        frame_limit: options.frames,
        chains,
        turns: None,
        max_age: max_age.map_or(MAX_AGE, Duration::from_millis),
        records,
        recorder: Recorder {
            labels: Arc::clone(&labels),
            detail: area_detail(&config),
            locator: locator(&config),
            attends: attends(&config),
            sizes: info.size.is_none(),
        },
        rules: AreaRules::new(area_rules(&config, &labels)),
        analyst: Analyst::new(&config, &labels),
        attention: attention(&config, drops),
        feedback,
        images: open_images_sinks(&config)?,
        masks: open_masks_sinks(&config, &overlay)?,
        window,
        web,
        overlay,
        progress: progress(&config, options, &info),
    };
    let mut report = pipeline.run(stop)?;
    // Between decoding and drawing.
    report.latencies.splice(1..1, latency.in_order());
    Ok(report)
}

/// Opens the pipeline's window. Without a display the run goes on headless, and says so.
fn open_window(config: &mut PipelineConfig) -> Option<Window> {
    let spec: WindowSpec = config.spec.sinks.iter().find_map(|s| s.window.clone())?;
    let title = spec.title.as_deref().unwrap_or(&config.stream);
    let (width, height) = (spec.width_px.unwrap_or(960), spec.height_px.unwrap_or(540));
    match Window::open(title, width as usize, height as usize) {
        Ok(window) => Some(window),
        Err(error) => {
            tracing::warn!("{error}: going on headless, JSON lines go to standard output");
            config.spec.sinks.retain(|sink| sink.window.is_none());
            ensure_json(config);
            None
        }
    }
}

fn run_record(config: &PipelineConfig, info: &SourceInfo) -> RunRecord {
    let card = &config.card;
    RunRecord {
        schema: SCHEMA_VERSION,
        tool: format!("mobilens {}", env!("CARGO_PKG_VERSION")),
        stream: config.stream.clone(),
        source: SourceRecord {
            kind: info.kind.to_owned(),
            uri: info.uri.clone(),
            width: info.size.map(|s| s.width),
            height: info.size.map(|s| s.height),
            fps: info.fps,
        },
        model: ModelRecord {
            name: card.name.clone(),
            sha256: config.model_sha256.clone(),
            input: [card.input.width_px, card.input.height_px],
        },
        labels: card
            .labels
            .iter()
            .map(|l| LabelRecord {
                id: l.id,
                name: l.name.clone(),
            })
            .collect(),
        config_sha256: config.sha256(),
        analysis_sha256: config.analysis_sha256(),
    }
}

/// The pipeline's JSON sinks, each with the name of its thread.
fn open_record_sinks(
    config: &PipelineConfig,
    run: &RunRecord,
) -> Result<Vec<NamedSink>, SinkError> {
    let mut sinks: Vec<NamedSink> = Vec::new();
    for spec in &config.spec.sinks {
        if let Some(jsonl) = &spec.jsonl {
            let sink = JsonlSink::open(&jsonl.path, run, jsonl.timings)?;
            sinks.push(("4-jsonl".to_owned(), Box::new(sink)));
        }
        if let Some(coco) = &spec.coco {
            sinks.push(("4-coco".to_owned(), Box::new(CocoSink::open(&coco.path)?)));
        }
        if let Some(mot) = &spec.mot {
            sinks.push(("4-mot".to_owned(), Box::new(MotSink::open(&mot.path)?)));
        }
    }
    Ok(sinks)
}

/// Starts the pipeline's web server.
fn open_web(
    config: &PipelineConfig,
    labels: &Arc<Labels>,
    latency: &ChainLatency,
) -> Result<Option<(WebServer, WebArtist)>, SinkError> {
    let Some(spec) = config.spec.sinks.iter().find_map(|sink| sink.web.as_ref()) else {
        return Ok(None);
    };
    let bind = spec.bind.as_deref().unwrap_or(WEB_BIND);
    let token = spec.token.as_deref().map(expand_env).transpose();
    let token = token.map_err(|name| SinkError::Unsayable {
        target: format!("http://{bind}"),
        why: format!("the environment has no {name}"),
    })?;
    let metrics = Metrics::default();
    metrics.add_latencies(latency.clone().in_order());
    let most = spec.max_watchers.unwrap_or(64) as usize;
    let server = WebServer::start(bind, token, most, &config.stream, metrics)?;
    let artist = WebArtist {
        hub: Arc::clone(server.hub()),
        style: overlay_style(config, labels),
        labels: Arc::clone(labels),
        quality: spec.quality.unwrap_or(80),
    };
    Ok(Some((server, artist)))
}

/// The pipeline's folders of annotated pictures.
fn open_images_sinks(config: &PipelineConfig) -> Result<Vec<ImagesSink>, SinkError> {
    let specs = config.spec.sinks.iter().filter_map(|s| s.images.as_ref());
    specs
        .map(|images| {
            let encoding = match images.format {
                PictureFormat::Png => PictureEncoding::Png,
                PictureFormat::Jpeg => PictureEncoding::Jpeg {
                    quality: images.quality.unwrap_or(90),
                },
            };
            ImagesSink::open(&images.dir, encoding)
        })
        .collect()
}

/// The pipeline's folders of masks.
fn open_masks_sinks(
    config: &PipelineConfig,
    overlay: &Overlay,
) -> Result<Vec<MasksSink>, SinkError> {
    let specs = config.spec.sinks.iter().filter_map(|s| s.masks.as_ref());
    specs
        .map(|masks| MasksSink::open(&masks.dir, overlay.class_colours()))
        .collect()
}

/// What records say of areas: what was asked for, and the masks that COCO results consist of.
fn area_detail(config: &PipelineConfig) -> AreaDetail {
    let spec = &config.spec;
    AreaDetail {
        rle: spec.segment.rle || spec.sinks.iter().any(|sink| sink.coco.is_some()),
        polygons: spec.segment.polygons,
    }
}

/// What gives things their place on the ground, if the camera's field of view is known.
fn locator(config: &PipelineConfig) -> Option<Locator> {
    let spec = config.spec.telemetry.as_ref()?;
    Some(Locator {
        hfov_deg: spec.hfov_deg?,
        height_m: spec.height_m,
        gimbal_pitch_deg: spec.gimbal_pitch_deg,
        gimbal_yaw_deg: spec.gimbal_yaw_deg,
    })
}

/// Whether the network may look at less than all of every frame.
fn attends(config: &PipelineConfig) -> bool {
    config.spec.attention != AttentionSpec::default()
}

/// What decides where to look, if there is something to decide, or cuts and the camera's motion are
/// needed further on.
fn attention(config: &PipelineConfig, drops: bool) -> Option<Attention> {
    let spec = &config.spec.attention;
    if !attends(config) && config.spec.track.is_none() {
        return None;
    }
    let ms = |ms: Option<u64>, default: u64| ms.unwrap_or(default) as f64;
    let gate = spec.motion_gate.as_ref().map(|gate| Gate {
        share: gate.share.unwrap_or(0.002),
        force_ms: ms(gate.force_ms, 5000),
        after_ms: ms(gate.after_ms, 0),
    });
    let every = spec.interval.as_ref().and_then(|interval| {
        let governed = interval.latency_ms.map(|target_ms| Every::Latency {
            target_ms,
            most: 30,
        });
        interval.every.map(Every::Frames).or(governed)
    });
    let input = &config.card.input;
    let regions = spec.regions.as_ref().map(|regions| Regions {
        on_tracks: regions.on == RegionsOn::Tracks,
        most: regions.max.unwrap_or(4) as usize,
        side_px: input.width_px.max(input.height_px) as f32,
        whole_ms: ms(regions.whole_ms, 1000),
    });
    let tiles = spec.tiles.as_ref().map(|tiles| Tiles {
        columns: tiles.columns.unwrap_or(2),
        rows: tiles.rows.unwrap_or(2),
        overlap: tiles.overlap.unwrap_or(0.2),
        at_once: tiles.at_once.map(|n| n as usize),
        budget_ms: tiles.budget_ms,
        whole: tiles.whole.unwrap_or(true),
    });
    let camera = config
        .spec
        .track
        .as_ref()
        .is_some_and(|track| track.camera_motion);
    let spec = attention::AttentionSpec {
        gate,
        every,
        regions,
        tiles,
        camera,
    };
    Some(Attention::new(spec, drops))
}

/// Replay: a worker a core, for frames/s. Live: one worker with all cores, for latency.
fn workers_and_threads(config: &PipelineConfig, live: bool) -> (usize, usize) {
    let cores = available_parallelism().map_or(1, usize::from);
    let inference = &config.spec.inference;
    let waits = config
        .spec
        .attention
        .regions
        .as_ref()
        .is_some_and(|r| r.on == RegionsOn::Tracks);
    if config.spec.segment.smoothing.is_some() || waits {
        // What looks at frames one after another cannot be shared.
        return (1, inference.threads.unwrap_or(cores));
    }
    match (inference.workers, inference.threads) {
        (Some(workers), Some(threads)) => (workers, threads),
        (Some(workers), None) => (workers, (cores / workers).max(1)),
        (None, Some(threads)) => ((cores / threads).max(1), threads),
        (None, None) if live => (1, cores),
        (None, None) => (cores, 1),
    }
}

fn overlay_style(config: &PipelineConfig, labels: &Labels) -> OverlayStyle {
    let overlay = &config.spec.overlay;
    OverlayStyle {
        line_px: overlay.line_px,
        text_px: overlay.text_px,
        hide_labels: overlay.labels == Some(false),
        hide_scores: overlay.scores == Some(false),
        alpha: overlay.alpha,
        hide_edges: overlay.edges == Some(false),
        hide_legend: overlay.legend == Some(false),
        zones: config
            .spec
            .zones
            .keys()
            .filter_map(|zone| polygon(config, zone))
            .collect(),
        lines: config
            .spec
            .lines
            .values()
            .map(|line| (line.from, line.to))
            .collect(),
        trail_ms: overlay.trail_ms.map(|ms| ms as f64),
        tracks: config.spec.track.is_some(),
        hide_boxes: false,
        hide_zones: false,
        hide_masks: false,
        colours: overlay
            .colours
            .iter()
            .filter_map(|(label, colour)| Some((labels.id(label)?, colour.rgb())))
            .collect(),
    }
}

fn progress(config: &PipelineConfig, options: &RunOptions, info: &SourceInfo) -> Progress {
    if !options.progress {
        return Progress::hidden();
    }
    let prints = |sink: &SinkSpec| {
        let path = sink.jsonl.as_ref().map(|s| &s.path);
        path.or(sink.coco.as_ref().map(|s| &s.path))
            .or(sink.mot.as_ref().map(|s| &s.path))
            .is_some_and(|path| path == Path::new("-"))
    };
    let frames = match (info.frames, options.frames) {
        (Some(all), Some(limit)) => Some(all.min(limit)),
        (all, limit) => all.or(limit),
    };
    Progress::on_terminal(frames, config.spec.sinks.iter().any(prints))
}
