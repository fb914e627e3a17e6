//! The threads of a run, and the edges between them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::flow::{
    EdgeCounts, Failures, Latency, Policy, StopSignal, StreamHealth, StreamSlot, SystemClock,
    aged_edge, health, ordered_pool, updates,
};
use crate::gating::{Feedback, Gating};
use crate::overlay::Trails;
use crate::records::{DroppedFrames, EndRecord, FrameCounts};
use crate::sandbox::restrict_thread;
use crate::sink::{DisplayWindow, ErrorGuard, ImagesSink, MasksSink, RecordSink};

use super::join::{Shutdown, Threads};
use super::progress::Progress;
use super::reload::{Distributor, Handover};
use super::report::RunReport;
use super::sink_threads::{FrameCounter, SinkContext, SinkThreads};
use super::stages::capture::{CaptureCounts, CaptureStage, OpenSource};
use super::stages::classify_tracks::{TrackClassification, TrackClassifier};
#[cfg(feature = "recording")]
use super::stages::encode::EncodeStage;
use super::stages::infer::InferenceWorker;
use super::stages::publish::{PublishParams, PublishStage};
use super::stages::sink_edges::SinkKey;
#[cfg(feature = "store")]
use super::stages::store::StoreStage;
#[cfg(feature = "web")]
use super::stages::web::WebRenderer;
use super::stages::window::watch_window;
use super::stages::write::GuardedSink;

/// How long a sink may take for the last record when another one has used the time up.
const LAST_RECORD: Duration = Duration::from_secs(1);

/// A sink and the name of its thread.
pub type NamedSink = (String, Box<dyn RecordSink>);

/// The sinks of one stream.
#[derive(Default)]
pub struct StreamSinks {
    /// Sinks that take records, each with the name of its thread.
    pub records: Vec<(SinkKey, String, GuardedSink)>,
    /// Folders of annotated pictures.
    pub images: Vec<(SinkKey, (ImagesSink, ErrorGuard))>,
    /// Folders of masks.
    pub masks: Vec<(SinkKey, (MasksSink, ErrorGuard))>,
    /// Stages that encode pictures for the web page.
    #[cfg(feature = "web")]
    pub web: Vec<(SinkKey, WebRenderer)>,
    /// Stages that encode video.
    #[cfg(feature = "recording")]
    pub recordings: Vec<(SinkKey, EncodeStage)>,
    /// Stages that store events.
    #[cfg(feature = "store")]
    pub stores: Vec<(SinkKey, StoreStage)>,
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
    /// What records are made with.
    pub publish: PublishParams,
    /// Second networks, which classify tracks.
    pub track_classifiers: Vec<TrackClassifier>,
    /// Decides on which frames and regions the network runs; on all of every frame without.
    pub gating: Option<Gating>,
    /// Feedback of later stages to the gating.
    pub feedback: Arc<Feedback>,
    /// The sinks.
    pub sinks: StreamSinks,
    /// Counts the frames that are done.
    pub progress: Progress,
    /// Whether the thread that decodes gives up what it needs no more.
    pub sandbox: bool,
    /// Watches the stages up to the sinks, and the source.
    pub health: StreamHealth,
}

/// What reaches into a running stream.
#[derive(Clone)]
pub struct RunningStream {
    /// Where new settings are given.
    pub handover: Handover,
    /// The threads of its sinks.
    pub sinks: Arc<Mutex<SinkThreads>>,
}

impl Pipeline {
    /// Runs until the source ends or `stop` is given, and shows it in `window` on this thread; once all threads
    /// are started, `started` gets what reaches into it. Latencies of the workers' own stages are not in the
    /// report.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn run(
        self,
        window: Option<DisplayWindow>,
        stop: &StopSignal,
        started: impl FnOnce(RunningStream),
    ) -> std::io::Result<RunReport> {
        let began = Instant::now();
        let failures = Failures::new(stop.clone());
        let info = self.source.source.info().clone();
        let drops = self.source.drops;

        // The edge from 0-capture, and what is counted on the way.
        let (policy, capacity) = match (drops, self.gating.is_some()) {
            (true, _) => (Policy::NewestWins, 1),
            (false, false) => (Policy::Block, 2),
            // Inference comes in bursts; meanwhile the source goes on.
            (false, true) => (Policy::Block, 12),
        };
        let (captured_tx, captured_rx) = aged_edge("capture", capacity, policy);
        let captured = Arc::<CaptureCounts>::default();
        let emitted = Arc::<AtomicU64>::default();
        let counter: FrameCounter = {
            let (captured, emitted) = (Arc::clone(&captured), Arc::clone(&emitted));
            let edge = captured_tx.counts();
            Arc::new(move || {
                let outages = captured.outages.load(Ordering::SeqCst);
                (frame_counts(&captured, &edge, &emitted), outages)
            })
        };
        let decode = Latency::new("decode");
        let classify = Latency::new("classify");
        let overlay = Latency::new("overlay");
        let record = Latency::new("record");
        let end_to_end = Latency::new("end to end");

        // 3-render, 4-SINK
        let (events, sink_events) = mpsc::channel();
        let mut shown = vec![decode.clone(), overlay.clone(), end_to_end.clone()];
        if !self.track_classifiers.is_empty() {
            shown.push(classify.clone());
        }
        let mut sink_threads = SinkThreads::new(SinkContext {
            drops,
            size: info.size,
            events,
            failures: failures.clone(),
            stop: stop.clone(),
            stages: self.health.stages(),
            overlay: overlay.clone(),
            record: record.clone(),
            shown,
            counts: Arc::clone(&counter),
        });
        let mut sinks = sink_threads.start(self.sinks)?;
        let window = match window {
            Some(window) => Some((window, sink_threads.start_window(&mut sinks)?)),
            None => None,
        };

        // 0-capture
        let handover = Handover::default();
        let (worker_updates, workers): (Vec<_>, Vec<_>) = self
            .workers
            .into_iter()
            .map(|worker| {
                let (sender, updates) = updates();
                (sender, (worker, updates))
            })
            .unzip();
        let (publish_updates, updates) = updates();
        let mut distributor = Distributor {
            handover: handover.clone(),
            workers: worker_updates,
            publish: publish_updates,
            generation: 0,
        };
        let stage = CaptureStage {
            source: self.source.source,
            stream: Arc::clone(&self.stream),
            telemetry: self.source.telemetry,
            gating: self.gating,
            feedback: Arc::clone(&self.feedback),
            pace: self.source.pace,
            looping: self.source.looping,
            frame_limit: self.frame_limit,
            reload: Box::new(move || distributor.next()),
            counts: captured,
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
        let (pool, ordered) = ordered_pool(captured_rx, workers.len(), max_age, self.slot);
        for (i, (mut worker, mut updates)) in workers.into_iter().enumerate() {
            let (pool, name) = (pool.clone(), format!("1-infer-{i}"));
            let stage = self.health.stage(&name);
            let work = move || {
                while let Some((message, job)) = health::while_idle(|| pool.take()) {
                    if let Some(next) = updates.last_up_to(message.generation) {
                        worker = next;
                    }
                    job.finish(message.try_map(|packet| worker.run(packet))?);
                }
                Ok::<(), String>(())
            };
            let thread = failures.spawn(&name, move || stage.watch(work))?;
            stages.push(&name, thread);
        }
        drop(pool);

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
        let trails = Arc::new(Trails::new(self.publish.drawing.style.trail_ms));
        let frames = Arc::clone(&counter);
        let publisher = PublishStage {
            stream: Arc::clone(&self.stream),
            params: self.publish,
            sinks,
            updates,
            track_classification,
            feedback: self.feedback,
            trails,
            sink_events,
            emitted,
            frames: Box::new(move || frames().0),
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
        let sink_threads = Arc::new(Mutex::new(sink_threads));
        started(RunningStream {
            handover: handover.clone(),
            sinks: Arc::clone(&sink_threads),
        });

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
        let (frames, _) = counter();
        let end = EndRecord::new(&self.stream, stop.reason(), frames);
        // The edges of sinks that wait to be added hold their threads.
        handover.close();
        let (record_sinks, picture_sinks, sink_drops) = {
            let mut threads = sink_threads.lock().unwrap_or_else(PoisonError::into_inner);
            let (records, pictures) = threads.end();
            (records, pictures, threads.drops())
        };
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
            elapsed: began.elapsed(),
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
