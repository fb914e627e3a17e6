//! Builds what one stream consists of.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::analytics::AreaRules;
use crate::capture::SourceInfo;
use crate::config::{LoadedPipeline, RegionTrigger, SinkConfig, WindowConfig, ensure_json};
use crate::flow::{Latency, StreamHealth};
use crate::gating::{Feedback, Gating, GatingParams};
use crate::pipeline::options::{RunError, RunOptions};
use crate::pipeline::progress::Progress;
use crate::pipeline::stages::capture::OpenSource;
use crate::pipeline::stages::infer::{InferenceLatency, InferenceWorker};
use crate::pipeline::stages::publish::PublishParams;
use crate::pipeline::stages::sink_edges::SinkKey;
use crate::pipeline::stages::write::GuardedSink;
use crate::pipeline::threads::{Pipeline, StreamSinks};
use crate::records::{MaskEncodings, RecordBuilder};
use crate::sink::{DisplayWindow, ExpectSink};
use crate::telemetry::GroundProjection;

use super::analysis::analyzer;
use super::areas::area_rules;
use super::gating::{gating, is_gated};
use super::models::StreamModels;
use super::overlay::drawing;
use super::run_record::run_record;
use super::sinks::{SharedSinks, open_sinks, sink_keys};

/// Builds the parts of a stream whose source is open, at its start and at each reload.
pub struct StreamBuilder {
    info: SourceInfo,
    drops: bool,
    /// Whether several streams share the machine.
    shares: bool,
    latency: InferenceLatency,
    /// All that the first of several models does on a frame.
    whole: Latency,
    feedback: Arc<Feedback>,
}

/// What the inference threads of a stream do, and the latencies of their steps.
type Workers = (Vec<Box<dyn InferenceWorker>>, Vec<Latency>);

impl StreamBuilder {
    /// For the stream `loaded` with this source.
    pub fn new(loaded: &LoadedPipeline, source: &OpenSource, shares: bool) -> Self {
        let gating = &loaded.config.gating;
        let has_looks = gating.looks.is_some() || gating.plan.is_some();
        let first = loaded.model_name.as_deref().unwrap_or_default();
        Self {
            info: source.source.info().clone(),
            drops: source.drops,
            shares,
            latency: InferenceLatency {
                looks: has_looks.then(|| Latency::new("looks")),
                ..InferenceLatency::default()
            },
            whole: Latency::new(format!("model {first}")),
            feedback: Arc::default(),
        }
    }

    /// Opens the sinks that `loaded` names, and builds all that is between them and `source`.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn pipeline(
        &self,
        loaded: &LoadedPipeline,
        source: OpenSource,
        models: &StreamModels,
        options: &RunOptions,
        health: StreamHealth,
        shared: &Mutex<SharedSinks>,
    ) -> Result<Pipeline, RunError> {
        let (workers, latency) = self.workers(loaded, models)?;
        let wanted = sink_keys(loaded).into_keys().collect();
        let mut sinks = self.sinks(loaded, models, &wanted, shared)?;
        if let Some(expected) = &options.expect {
            let sink = GuardedSink::new("4-expect", Box::new(ExpectSink::open(expected)?));
            let key = "--expect".into();
            sinks.records.push((key, "4-expect".to_owned(), sink));
        }
        #[cfg(feature = "web")]
        for (_, web) in &sinks.web {
            web.views.metrics().add_latencies(latency.clone());
        }
        Ok(Pipeline {
            stream: loaded.stream.as_str().into(),
            source,
            frame_limit: options.frames,
            workers,
            latency,
            slot: None,
            max_age: Duration::from_millis(loaded.config.inference.max_age_ms),
            publish: self.publish(loaded),
            track_classifiers: Vec::new(),
            gating: gating(loaded, &self.info, self.drops)?,
            feedback: Arc::clone(&self.feedback),
            sinks,
            progress: progress(loaded, options, &self.info),
            health,
            sandbox: loaded.config.sandbox,
        })
    }

    /// The number of inference threads.
    pub fn worker_count(&self, loaded: &LoadedPipeline) -> usize {
        workers_and_threads(loaded, self.drops, self.shares).0
    }

    /// What the inference threads do.
    ///
    /// # Errors
    /// When a network cannot be made ready to run.
    pub fn workers(
        &self,
        loaded: &LoadedPipeline,
        models: &StreamModels,
    ) -> Result<Workers, RunError> {
        let (count, threads) = workers_and_threads(loaded, self.drops, self.shares);
        let later = models.later(loaded, self.drops);
        let mut workers = Vec::new();
        for _ in 0..count {
            workers.push(models.worker(
                &later,
                threads,
                &self.latency,
                &self.whole,
                &self.feedback,
            )?);
        }
        let mut latencies = self.latency.clone().in_order();
        if !later.is_empty() {
            latencies.push(self.whole.clone());
            let of_later = later.into_iter();
            latencies.extend(of_later.flat_map(|later| [later.steps.infer, later.latency]));
        }
        Ok((workers, latencies))
    }

    /// What records are made with.
    pub fn publish(&self, loaded: &LoadedPipeline) -> PublishParams {
        let drawing = Arc::new(drawing(loaded));
        let labels = &drawing.labels;
        PublishParams {
            builder: RecordBuilder {
                labels: Arc::clone(labels),
                mask_encodings: mask_encodings(loaded),
                locator: locator(loaded),
                has_inferred: is_gated(loaded),
                has_size: self.info.size.is_none(),
            },
            rules: AreaRules::new(area_rules(loaded, labels)),
            analyzer: analyzer(loaded, labels),
            drawing,
        }
    }

    /// What decides where the network runs from now on. Where nothing is to be decided any more it still counts
    /// scenes, which are numbered through the whole run.
    ///
    /// # Errors
    /// When the plan of an earlier run cannot be read.
    pub fn next_gating(&self, loaded: &LoadedPipeline) -> Result<Gating, RunError> {
        let gating = gating(loaded, &self.info, self.drops)?;
        Ok(gating.unwrap_or_else(|| Gating::new(GatingParams::default(), self.drops)))
    }

    /// Opens the sinks of `loaded` that are `wanted`.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn sinks(
        &self,
        loaded: &LoadedPipeline,
        models: &StreamModels,
        wanted: &BTreeSet<SinkKey>,
        shared: &Mutex<SharedSinks>,
    ) -> Result<StreamSinks, RunError> {
        let drawing = drawing(loaded);
        let run = run_record(loaded, &self.info, models, &drawing.labels);
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let sinks = open_sinks(
            loaded,
            self.drops,
            &run,
            &drawing.overlay(),
            wanted,
            &mut shared,
        )?;
        Ok(sinks)
    }
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
