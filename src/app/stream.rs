//! Builds what one stream consists of.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use super::analyst::Analyst;
use super::inference::ChainLatency;
use super::model::Model;
use super::pipeline::{Chain, Pipeline};
use super::progress::Progress;
use super::rules::{area_rules, attends, attention};
use super::show::overlay_style;
use super::sinks::{SharedSinks, StreamSinks};
use super::source::open_source;
use super::summary::RunReport;
use super::{RunError, RunOptions};
use crate::analytics::AreaRules;
use crate::attention::Feedback;
use crate::capture::SourceInfo;
use crate::config::{PipelineConfig, RegionsOn, SinkSpec, WindowSpec, ensure_json};
use crate::flow::{Latency, StopSignal, TurnTaker};
use crate::overlay::Overlay;
use crate::records::{
    AreaDetail, LabelRecord, ModelRecord, Recorder, RunRecord, SCHEMA_VERSION, SourceRecord,
};
use crate::sink::{ExpectSink, Window};
use crate::telemetry::Locator;

/// A live frame that waited longer is dropped, where the pipeline does not say.
const MAX_AGE: Duration = Duration::from_millis(500);

/// A stream that is ready to run.
pub struct Stream {
    /// Its threads-to-be.
    pub pipeline: Pipeline,
    /// Time of its chains' own stages.
    pub latency: [Latency; 3],
}

impl Stream {
    /// Opens the source and the sinks that `config` names, and builds all that is between, and the
    /// window beside it. `turns` are this stream's, where several share the machine.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn build(
        mut config: PipelineConfig,
        model: &Model,
        options: &RunOptions,
        turns: Option<TurnTaker>,
        shared: &mut SharedSinks,
    ) -> Result<(Self, Option<Window>), RunError> {
        let window = open_window(&mut config);
        let has_web = config.spec.sinks.iter().any(|sink| sink.web.is_some());
        let source = open_source(&config.spec, window.is_some() || has_web)?;
        let (info, drops) = (source.source.info().clone(), source.drops);
        let labels = Arc::new(config.card.labels());
        let latency = ChainLatency::default();
        let (workers, threads) = workers_and_threads(&config, drops, turns.is_some());
        let feedback = Arc::<Feedback>::default();
        let mut chains: Vec<Box<dyn Chain>> = Vec::new();
        for _ in 0..workers {
            chains.push(model.chain(threads, &latency, &feedback)?);
        }
        let overlay = Overlay::new(overlay_style(&config, &labels), Arc::clone(&labels));
        let run = run_record(&config, &info);
        let mut sinks = StreamSinks::open(&config, &run, &labels, &overlay, shared)?;
        if let Some(expected) = &options.expect {
            let sink = Box::new(ExpectSink::open(expected)?);
            sinks.records.push(("4-expect".to_owned(), sink));
        }
        for web in &sinks.web {
            web.hub.metrics().add_latencies(latency.clone().in_order());
        }
        let max_age = config.spec.inference.max_age_ms;
        let pipeline = Pipeline {
            stream: config.stream.as_str().into(),
            source,
            frame_limit: options.frames,
            chains,
            turns,
            max_age: max_age.map_or(MAX_AGE, Duration::from_millis),
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
            sinks,
            overlay,
            progress: progress(&config, options, &info),
        };
        let stream = Self {
            pipeline,
            latency: latency.in_order(),
        };
        Ok((stream, window))
    }

    /// Runs it until its source ends or `stop` is given, with its window on this thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn run(self, window: Option<Window>, stop: &StopSignal) -> Result<RunReport, RunError> {
        let mut report = self.pipeline.run(window, stop)?;
        // Between decoding and drawing.
        report.latencies.splice(1..1, self.latency);
        Ok(report)
    }
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

/// Replay: a worker a core, for frames/s. Live: one worker with all cores, for latency. Streams that
/// share the machine: one thread for each frame, as many frames at once as it is somebody's turn.
fn workers_and_threads(config: &PipelineConfig, live: bool, shares: bool) -> (usize, usize) {
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
    if shares {
        let workers = if live { 1 } else { turns_at_once(config) };
        return (workers, inference.threads.unwrap_or(1));
    }
    match (inference.workers, inference.threads) {
        (Some(workers), Some(threads)) => (workers, threads),
        (Some(workers), None) => (workers, (cores / workers).max(1)),
        (None, Some(threads)) => ((cores / threads).max(1), threads),
        (None, None) if live => (1, cores),
        (None, None) => (cores, 1),
    }
}

/// How many frames of all streams may be looked at at once.
pub fn turns_at_once(config: &PipelineConfig) -> usize {
    let cores = available_parallelism().map_or(1, usize::from);
    let inference = &config.spec.inference;
    let default = (cores / inference.threads.unwrap_or(1)).max(1);
    inference.workers.unwrap_or(default)
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
