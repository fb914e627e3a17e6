//! Builds what one stream consists of.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::analytics::AreaRules;
use crate::capture::SourceInfo;
use crate::config::{
    CardConfig, LoadedPipeline, RegionTrigger, SinkConfig, WindowConfig, ensure_json,
};
use crate::flow::{Latency, StreamHealth, StreamSlot};
use crate::gating::Feedback;
use crate::overlay::Overlay;
use crate::pipeline::options::{RunError, RunOptions};
use crate::pipeline::progress::Progress;
use crate::pipeline::stages::capture::OpenSource;
use crate::pipeline::stages::infer::{InferenceLatency, InferenceWorker};
use crate::pipeline::stages::write::GuardedSink;
use crate::pipeline::threads::Pipeline;
use crate::postprocess::Labels;
use crate::records::{
    LabelRecord, MaskEncodings, ModelRecord, RecordBuilder, RunRecord, SCHEMA_VERSION, SourceRecord,
};
use crate::sink::{DisplayWindow, ExpectSink};
use crate::telemetry::GroundProjection;
use mobilens_nn::Network;

use super::analysis::analyzer;
use super::areas::area_rules;
use super::gating::{gating, is_gated};
use super::models::StreamModels;
use super::overlay::overlay_style;
use super::sinks::{SharedSinks, open_sinks};
use super::track_classifiers::track_model_records;

/// Opens the sinks that `loaded` names, and builds all that is between them and `source`. `slot` is this
/// stream's, where several share the machine.
///
/// # Errors
/// When one of them cannot be opened.
pub fn build_stream(
    loaded: &LoadedPipeline,
    source: OpenSource,
    models: &StreamModels,
    options: &RunOptions,
    slot: Option<StreamSlot>,
    health: StreamHealth,
    shared: &Mutex<SharedSinks>,
) -> Result<Pipeline, RunError> {
    let (info, drops) = (source.source.info().clone(), source.drops);
    let labels = Arc::new(loaded.labels());
    let gating_config = &loaded.config.gating;
    let has_looks = gating_config.looks.is_some() || gating_config.plan.is_some();
    let latency = InferenceLatency {
        looks: has_looks.then(|| Latency::new("looks")),
        ..InferenceLatency::default()
    };
    let (count, threads) = workers_and_threads(loaded, drops, slot.is_some());
    let feedback = Arc::<Feedback>::default();
    let mut workers: Vec<Box<dyn InferenceWorker>> = Vec::new();
    let later = models.later(loaded, drops);
    let first = loaded.model_name.as_deref().unwrap_or_default();
    let whole = Latency::new(format!("model {first}"));
    for _ in 0..count {
        workers.push(models.worker(&later, threads, &latency, &whole, &feedback)?);
    }
    let mut latencies = latency.in_order();
    if !later.is_empty() {
        latencies.push(whole);
        let of_later = later.into_iter();
        latencies.extend(of_later.flat_map(|later| [later.steps.infer, later.latency]));
    }
    let overlay = Overlay::new(overlay_style(loaded, &labels), Arc::clone(&labels));
    let run = run_record(loaded, &info, models, &labels);
    let mut sinks = {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        open_sinks(loaded, drops, &run, &labels, &overlay, &mut shared)?
    };
    if let Some(expected) = &options.expect {
        let sink = GuardedSink::new("4-expect", Box::new(ExpectSink::open(expected)?));
        sinks.records.push(("4-expect".to_owned(), sink));
    }
    #[cfg(feature = "web")]
    for web in &sinks.web {
        web.views.metrics().add_latencies(latencies.clone());
    }
    let max_age = loaded.config.inference.max_age_ms;
    Ok(Pipeline {
        stream: loaded.stream.as_str().into(),
        source,
        frame_limit: options.frames,
        workers,
        latency: latencies,
        slot,
        max_age: Duration::from_millis(max_age),
        builder: RecordBuilder {
            labels: Arc::clone(&labels),
            mask_encodings: mask_encodings(loaded),
            locator: locator(loaded),
            has_inferred: is_gated(loaded),
            has_size: info.size.is_none(),
        },
        rules: AreaRules::new(area_rules(loaded, &labels)),
        analyzer: analyzer(loaded, &labels),
        track_classifiers: Vec::new(),
        gating: gating(loaded, &info, drops)?,
        feedback,
        sinks,
        overlay,
        progress: progress(loaded, options, &info),
        health,
        sandbox: loaded.config.sandbox,
    })
}

/// Opens the pipeline's window. Without a display the run goes on headless, and says so.
pub fn open_window(pipeline: &mut LoadedPipeline) -> Option<DisplayWindow> {
    let config: WindowConfig = pipeline
        .config
        .sinks
        .iter()
        .find_map(|s| s.window.clone())?;
    let title = config.title.as_deref().unwrap_or(&pipeline.stream);
    match DisplayWindow::open(title, config.width_px as usize, config.height_px as usize) {
        Ok(window) => Some(window),
        Err(error) => {
            tracing::warn!("{error}: going on headless, JSON lines go to standard output");
            ensure_json(pipeline);
            None
        }
    }
}

fn run_record(
    pipeline: &LoadedPipeline,
    info: &SourceInfo,
    models: &StreamModels,
    labels: &Labels,
) -> RunRecord {
    RunRecord {
        schema: SCHEMA_VERSION,
        tool: format!("mobilens {}", env!("CARGO_PKG_VERSION")),
        stream: pipeline.stream.clone(),
        source: SourceRecord {
            kind: info.kind.to_owned(),
            uri: info.uri.clone(),
            width: info.size.map(|s| s.width),
            height: info.size.map(|s| s.height),
            fps: info.fps,
        },
        model: model_record(
            &pipeline.card,
            &pipeline.model_sha256,
            models.first.network(),
        ),
        models: model_records(pipeline, models),
        labels: labels
            .iter()
            .map(|(id, name)| LabelRecord {
                id,
                name: name.to_owned(),
                model: labels.model(id).map(str::to_owned),
            })
            .collect(),
        classify_tracks: track_model_records(pipeline).collect(),
        config_sha256: pipeline.sha256(),
        analysis_sha256: pipeline.analysis_sha256(),
    }
}

fn model_record(card: &CardConfig, sha256: &str, network: &Network) -> ModelRecord {
    ModelRecord {
        name: card.name.clone(),
        sha256: sha256.to_owned(),
        input: [card.input.width_px, card.input.height_px],
        precision: Some(network.precision().to_owned()),
        instruction_set: Some(network.instruction_set().to_owned()),
    }
}

/// All models by name, where several run on the stream.
fn model_records(
    pipeline: &LoadedPipeline,
    models: &StreamModels,
) -> BTreeMap<String, ModelRecord> {
    let Some(first) = &pipeline.model_name else {
        return BTreeMap::new();
    };
    let network = models.first.network();
    let first_record = model_record(&pipeline.card, &pipeline.model_sha256, network);
    let others = pipeline.others.iter().zip(&models.others);
    let others = others.map(|(other, (name, model))| {
        let record = model_record(&other.card, &other.model_sha256, model.network());
        (name.clone(), record)
    });
    std::iter::once((first.clone(), first_record))
        .chain(others)
        .collect()
}

/// What was asked for, and the run lengths that COCO results consist of.
fn mask_encodings(pipeline: &LoadedPipeline) -> MaskEncodings {
    let config = &pipeline.config;
    MaskEncodings {
        rle: config.segment.rle || config.sinks.iter().any(|sink| sink.coco.is_some()),
        polygons: config.segment.polygons,
    }
}

/// What gives things their place on the ground, if the camera's field of view is known.
fn locator(pipeline: &LoadedPipeline) -> Option<GroundProjection> {
    let config = pipeline.config.telemetry.as_ref()?;
    Some(GroundProjection {
        hfov_deg: config.hfov_deg?,
        height_m: config.height_m,
        gimbal_pitch_deg: config.gimbal_pitch_deg,
        gimbal_yaw_deg: config.gimbal_yaw_deg,
    })
}

/// Replay: a worker a core, for frames/s. Live: one worker with all cores, for latency. Streams that
/// share the machine: one thread for each frame, as many frames at once as it is somebody's turn.
fn workers_and_threads(pipeline: &LoadedPipeline, live: bool, shares: bool) -> (usize, usize) {
    let cores = available_parallelism().map_or(1, usize::from);
    let inference = &pipeline.config.inference;
    let waits = pipeline
        .config
        .gating
        .regions
        .as_ref()
        .is_some_and(|r| r.on == RegionTrigger::Tracks);
    if pipeline.config.segment.smoothing.is_some() || waits {
        // What looks at frames one after another cannot be shared.
        return (1, inference.threads.unwrap_or(cores));
    }
    if shares {
        let workers = if live {
            1
        } else {
            max_concurrent_frames(pipeline)
        };
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
pub fn max_concurrent_frames(pipeline: &LoadedPipeline) -> usize {
    let cores = available_parallelism().map_or(1, usize::from);
    let inference = &pipeline.config.inference;
    let default = (cores / inference.threads.unwrap_or(1)).max(1);
    inference.workers.unwrap_or(default)
}

fn progress(pipeline: &LoadedPipeline, options: &RunOptions, info: &SourceInfo) -> Progress {
    if !options.progress {
        return Progress::hidden();
    }
    let prints = |sink: &SinkConfig| {
        let path = sink.jsonl.as_ref().map(|s| &s.path);
        path.or(sink.coco.as_ref().map(|s| &s.path))
            .or(sink.mot.as_ref().map(|s| &s.path))
            .is_some_and(|path| path == Path::new("-"))
    };
    let frames = match (info.frames, options.frames) {
        (Some(all), Some(limit)) => Some(all.min(limit)),
        (all, limit) => all.or(limit),
    };
    Progress::on_terminal(frames, pipeline.config.sinks.iter().any(prints))
}
