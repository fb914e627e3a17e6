//! The threads of a run, and the edges between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::analytics::AreaRules;
use crate::flow::{
    EdgeCounts, Failures, Latency, Policy, StopSignal, StreamHealth, StreamSlot, SystemClock,
    aged_edge, edge, health, ordered_pool,
};
use crate::gating::{Feedback, Gating};
use crate::overlay::{Overlay, Trails};
use crate::records::{DroppedFrames, EndRecord, FrameCounts, RecordBuilder};
use crate::sandbox::restrict_thread;
use crate::sink::{DisplayWindow, ErrorGuard, ImagesSink, MasksSink, RecordSink};

use super::join::{Shutdown, Threads};
use super::outbox::Outboxes;
use super::progress::Progress;
use super::report::RunReport;
use super::stages::analyze::Analyzer;
use super::stages::capture::{CaptureCounts, CaptureStage, OpenSource};
use super::stages::classify_tracks::{TrackClassification, TrackClassifier};
#[cfg(feature = "recording")]
use super::stages::encode::EncodeStage;
use super::stages::infer::InferenceWorker;
use super::stages::publish::{MissedEvents, PublishStage};
use super::stages::render::Renderer;
#[cfg(feature = "store")]
use super::stages::store::StoreStage;
#[cfg(feature = "web")]
use super::stages::web::WebRenderer;
use super::stages::window::watch_window;
use super::stages::write::{GuardedSink, write_images, write_masks, write_records};

/// How long a sink may take for the last record when another one has used the time up.
const LAST_RECORD: Duration = Duration::from_secs(1);

/// A sink and the name of its thread.
pub type NamedSink = (String, Box<dyn RecordSink>);

/// The sinks of one stream.
#[derive(Default)]
pub struct StreamSinks {
    /// Sinks that take records, each with the name of its thread.
    pub records: Vec<(String, GuardedSink)>,
    /// Folders of annotated pictures.
    pub images: Vec<(ImagesSink, ErrorGuard)>,
    /// Folders of masks.
    pub masks: Vec<(MasksSink, ErrorGuard)>,
    /// Stages that encode pictures for the web page.
    #[cfg(feature = "web")]
    pub web: Vec<WebRenderer>,
    /// Stages that encode video.
    #[cfg(feature = "recording")]
    pub recordings: Vec<EncodeStage>,
    /// Stages that store events.
    #[cfg(feature = "store")]
    pub stores: Vec<StoreStage>,
}

/// All stages of a stream, opened and ready to run.
pub struct Pipeline {
    /// Name of the stream.
    pub stream: Arc<str>,
    /// The source.
    pub source: OpenSource,
    /// Stop after so many frames.
    pub frame_limit: Option<u64>,
    /// One for each inference thread.
    pub workers: Vec<Box<dyn InferenceWorker>>,
    /// Latencies inside the workers, in order.
    pub latency: Vec<Latency>,
    /// This stream's slot in the scheduler, where several streams share the network.
    pub slot: Option<StreamSlot>,
    /// Live frames that waited longer are dropped.
    pub max_age: Duration,
    /// Builds the records.
    pub builder: RecordBuilder,
    /// Rules on segmented areas, which make events.
    pub rules: AreaRules,
    /// Adds tracks and their events.
    pub analyzer: Analyzer,
    /// Second networks, which classify tracks.
    pub track_classifiers: Vec<TrackClassifier>,
    /// Decides on which frames and regions the network runs; on all of every frame without.
    pub gating: Option<Gating>,
    /// Feedback of later stages to the gating.
    pub feedback: Arc<Feedback>,
    /// The sinks.
    pub sinks: StreamSinks,
    /// Draws for the window and the image sinks.
    pub overlay: Overlay,
    /// Counts the frames that are done.
    pub progress: Progress,
    /// Whether the thread that decodes gives up what it needs no more.
    pub sandbox: bool,
    /// Watches the stages up to the sinks, and the source.
    pub health: StreamHealth,
}

impl Pipeline {
    /// Runs until the source ends or `stop` is given, and shows it in `window` on this thread.
    /// Latencies of the workers' own stages are not in the report.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn run(
        self,
        window: Option<DisplayWindow>,
        stop: &StopSignal,
    ) -> std::io::Result<RunReport> {
        let started = Instant::now();
        let failures = Failures::new(stop.clone());
        let info = self.source.source.info().clone();
        let drops = self.source.drops;

        // The sinks' threads, and the edges to them.
        let (events, sink_events) = mpsc::channel();
        let mut outboxes = Outboxes::new(drops, info.size, events);
        let mut record_sinks = Threads::default();
        let mut picture_sinks = Threads::default();
        let (mut records, mut viewers) = (Vec::new(), Vec::new());
        for (name, mut to) in self.sinks.records {
            let (tx, rx) = outboxes.records(&name);
            let counts = tx.counts();
            records.push((tx, MissedEvents::default()));
            outboxes.guard(&mut to.guard);
            let stop = stop.clone();
            let thread = failures.spawn(&name, move || write_records(to, &rx, &stop))?;
            record_sinks.push_sink(&name, counts, thread);
        }
        let has_image_sinks = !self.sinks.images.is_empty();
        for mut to in self.sinks.images {
            let (tx, rx) = outboxes.pictures("images", "images");
            let counts = tx.counts();
            viewers.push(tx);
            outboxes.guard(&mut to.1);
            let stop = stop.clone();
            let thread = failures.spawn("4-images", move || write_images(to, &rx, &stop))?;
            picture_sinks.push_sink("4-images", counts, thread);
        }
        let mut masks = Vec::new();
        for mut to in self.sinks.masks {
            let (tx, rx) = outboxes.pictures("masks", "masks");
            let counts = tx.counts();
            masks.push(tx);
            outboxes.guard(&mut to.1);
            let stop = stop.clone();
            let thread = failures.spawn("4-masks", move || write_masks(to, &rx, &stop))?;
            picture_sinks.push_sink("4-masks", counts, thread);
        }
        let window = window.map(|window| {
            let (tx, rx) = edge("window", 1, Policy::NewestWins);
            viewers.push(tx);
            (window, rx)
        });

        // 0-capture
        let (policy, capacity) = match (drops, self.gating.is_some()) {
            (true, _) => (Policy::NewestWins, 1),
            (false, false) => (Policy::Block, 2),
            // Inference comes in bursts; meanwhile the source goes on.
            (false, true) => (Policy::Block, 12),
        };
        let (captured_tx, captured_rx) = aged_edge("capture", capacity, policy);
        let capture_counts = captured_tx.counts();
        let counts = Arc::<CaptureCounts>::default();
        let decode = Latency::new("decode");
        let stage = CaptureStage {
            source: self.source.source,
            stream: Arc::clone(&self.stream),
            telemetry: self.source.telemetry,
            gating: self.gating,
            feedback: Arc::clone(&self.feedback),
            pace: self.source.pace,
            looping: self.source.looping,
            frame_limit: self.frame_limit,
            counts: Arc::clone(&counts),
            latency: decode.clone(),
        };
        let mut stages = Threads::default();
        stages.push("0-capture", {
            let (stop, sandbox) = (stop.clone(), self.sandbox);
            let health = self.health.stage("0-capture");
            failures.spawn("0-capture", move || {
                if sandbox && !stage.source.starts_processes() {
                    restrict_thread();
                }
                health.watch(|| stage.run(&captured_tx, &SystemClock, &stop))
            })?
        });

        // 1-infer-N
        let max_age = drops.then_some(self.max_age);
        let (pool, ordered) = ordered_pool(captured_rx, self.workers.len(), max_age, self.slot);
        for (i, mut worker) in self.workers.into_iter().enumerate() {
            let (pool, name) = (pool.clone(), format!("1-infer-{i}"));
            let stage = self.health.stage(&name);
            let work = move || {
                while let Some((message, job)) = health::while_idle(|| pool.take()) {
                    job.finish(message.try_map(|packet| worker.run(packet))?);
                }
                Ok::<(), String>(())
            };
            let thread = failures.spawn(&name, move || stage.watch(work))?;
            stages.push(&name, thread);
        }
        drop(pool);

        let emitted = Arc::<AtomicU64>::default();
        let end_to_end = Latency::new("end to end");

        // 3-render, before 2-publish has anything to give it.
        let trails = Arc::new(Trails::new(self.overlay.style().trail_ms));
        let overlay = Latency::new("overlay");
        let classify = Latency::new("classify");
        let mut pictures = Vec::new();
        if !viewers.is_empty() {
            let (tx, rx) = if has_image_sinks {
                outboxes.pictures("overlay", "images")
            } else {
                edge("overlay", 2, Policy::NewestWins)
            };
            let renderer = Renderer {
                overlay: self.overlay,
                viewers,
                latency: overlay.clone(),
            };
            let stage = self.health.stage("3-render");
            let thread = failures.spawn("3-render", move || {
                stage.watch(|| renderer.run(&rx));
                Ok::<(), String>(())
            })?;
            picture_sinks.push("3-render", thread);
            pictures.push(tx);
        }
        let record = Latency::new("record");
        #[cfg_attr(
            not(feature = "recording"),
            allow(unused_mut, reason = "nobody records")
        )]
        let mut recordings = Vec::new();
        #[cfg(feature = "recording")]
        for mut encoder in self.sinks.recordings {
            let (tx, rx) = outboxes.frames("record", "recording");
            let counts = tx.counts();
            recordings.push((tx, MissedEvents::default()));
            let guards = encoder.recording.guards_mut();
            guards.for_each(|guard| outboxes.guard(guard));
            let latency = record.clone();
            let thread = failures.spawn("4-encode", move || encoder.run(&rx, &latency))?;
            picture_sinks.push_sink("4-encode", counts, thread);
        }
        #[cfg_attr(not(feature = "store"), allow(unused_mut, reason = "nobody stores"))]
        let mut stores = Vec::new();
        #[cfg(feature = "store")]
        for mut stage in self.sinks.stores {
            let (tx, rx) = outboxes.frames("store", "store");
            let (counts, missed) = (tx.counts(), MissedEvents::default());
            stores.push((tx, missed.clone()));
            outboxes.guard(&mut stage.guard);
            let thread = failures.spawn("4-store", move || stage.run(&rx, &missed))?;
            picture_sinks.push_sink("4-store", counts, thread);
        }
        let sink_drops = outboxes.into_drops();
        #[cfg(feature = "web")]
        for renderer in self.sinks.web {
            let metrics = renderer.views.metrics();
            metrics.add_latencies([decode.clone(), overlay.clone(), end_to_end.clone()]);
            if !self.track_classifiers.is_empty() {
                metrics.add_latencies([classify.clone()]);
            }
            let (captured, edge_counts) = (Arc::clone(&counts), capture_counts.clone());
            let done = Arc::clone(&emitted);
            metrics.set_counts(move || {
                let lost = captured.outages.load(Ordering::SeqCst);
                (frame_counts(&captured, &edge_counts, &done), lost)
            });
            let drops = sink_drops.clone();
            metrics.set_sink_drops(move || drops.counts());
            let (tx, rx) = edge("web", 1, Policy::NewestWins);
            pictures.push(tx);
            let thread = failures.spawn("4-web", move || {
                renderer.run(&rx);
                Ok::<(), String>(())
            })?;
            picture_sinks.push("4-web", thread);
        }

        // 2-classify
        let (track_classification, crops) =
            TrackClassification::start(self.track_classifiers, drops, classify.clone());
        let classified = track_classification.as_ref().map(|stage| stage.counts());
        let crops = crops.map(|crops| {
            let stage = self.health.stage("2-classify");
            failures.spawn("2-classify", move || stage.watch(|| crops.run()))
        });
        let crops = crops.transpose()?;

        // 2-publish
        let publisher = PublishStage {
            stream: Arc::clone(&self.stream),
            builder: self.builder,
            rules: self.rules,
            analyzer: self.analyzer,
            track_classification,
            feedback: self.feedback,
            records,
            masks,
            trails,
            pictures,
            recordings,
            stores,
            sink_events,
            emitted: Arc::clone(&emitted),
            end_to_end: end_to_end.clone(),
            progress: self.progress,
        };
        let stage = self.health.stage("2-publish");
        let thread = failures.spawn("2-publish", move || stage.watch(|| publisher.run(ordered)))?;
        stages.push("2-publish", thread);
        // It ends after the stage that gives it crops.
        if let Some(thread) = crops {
            stages.push("2-classify", thread);
        }

        // The window runs on this thread; some systems require the main one.
        if let Some((mut window, pictures)) = window {
            let hold = info.kind == "images";
            failures.watch("window", || watch_window(&mut window, pictures, hold, stop));
        }
        let mut shutdown = Shutdown::new(stop, drops);
        stages.wait_for_first(&mut shutdown);
        shutdown.source_ended();
        stages.join(&mut shutdown, &failures);
        drop(self.health);
        let frames = frame_counts(&counts, &capture_counts, &emitted);
        let end = EndRecord::new(&self.stream, stop.reason(), frames);
        let mut finishing = Threads::default();
        for to in record_sinks
            .join(&mut shutdown, &failures)
            .into_iter()
            .flatten()
        {
            let (name, end) = (format!("4-{}", to.guard.sink()), end.clone());
            let thread = failures.spawn("sink", move || to.finish(&end))?;
            finishing.push(&name, thread);
        }
        shutdown.allow(LAST_RECORD);
        finishing.join(&mut shutdown, &failures);
        picture_sinks.join(&mut shutdown, &failures);
        Ok(RunReport {
            end,
            failures: failures.all(),
            sink_drops: sink_drops.counts(),
            latencies: std::iter::once(decode)
                .chain(self.latency)
                .chain([classify, overlay, record, end_to_end])
                .collect(),
            elapsed: started.elapsed(),
            network: None,
            others: Vec::new(),
            track_classifiers: classified.map_or_else(Vec::new, |counts| counts.get()),
        })
    }
}

/// Final once the stages before the sinks have ended: what was captured and is nowhere else was in the
/// pipeline when a stage failed.
fn frame_counts(capture: &CaptureCounts, edge: &EdgeCounts, emitted: &AtomicU64) -> FrameCounts {
    let captured = capture.captured.load(Ordering::SeqCst);
    let emitted = emitted.load(Ordering::SeqCst);
    let mut dropped = DroppedFrames {
        queue: edge.evicted() + capture.source_dropped.load(Ordering::SeqCst),
        stale: edge.stale(),
        decode_error: capture.decode_error.load(Ordering::SeqCst),
        shutdown: 0,
    };
    dropped.shutdown = captured.saturating_sub(emitted + dropped.total());
    FrameCounts {
        captured,
        emitted,
        dropped,
    }
}
