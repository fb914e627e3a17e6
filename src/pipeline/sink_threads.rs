//! The threads of a stream's sinks, and the edges to them. Sinks are started with the stream, or added and removed
//! while it goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak, mpsc};
use std::thread::JoinHandle;

use crate::flow::{
    Failures, Latency, Policy, Receiver, Sender, StopReason, StopSignal, StreamStages, edge,
};
use crate::records::FrameCounts;
use crate::sink::{SinkError, SinkEvent};
use mobilens_image::SizePx;

use super::join::Threads;
use super::outbox::{Outboxes, SinkDrops};
use super::stages::render::{AnalyzedFrame, RenderedFrame, Renderer};
use super::stages::sink_edges::{MissedEvents, SinkEdges, SinkKey};
use super::stages::write::{GuardedSink, write_images, write_masks, write_records};
use super::threads::StreamSinks;

/// Counts of a stream's frames at this moment, and how often its source was lost.
pub type FrameCounter = Arc<dyn Fn() -> (FrameCounts, u64) + Send + Sync>;

/// What the sinks' threads of a stream have in common.
pub struct SinkContext {
    /// Whether frames of the source are dropped.
    pub drops: bool,
    /// Size of the pictures, where all have the same.
    pub size: Option<SizePx>,
    /// Where sinks report their failures.
    pub events: mpsc::Sender<SinkEvent>,
    /// Collects the threads' failures.
    pub failures: Failures,
    /// Stops the stream.
    pub stop: StopSignal,
    /// Watches the stages.
    pub stages: StreamStages,
    /// Time to convert and draw.
    pub overlay: Latency,
    /// Time to encode a picture.
    #[cfg_attr(
        not(feature = "recording"),
        allow(dead_code, reason = "nobody records")
    )]
    pub record: Latency,
    /// Other latencies that a web page shows.
    #[cfg_attr(not(feature = "web"), allow(dead_code, reason = "there is none"))]
    pub shown: Vec<Latency>,
    /// Counts that it shows.
    #[cfg_attr(not(feature = "web"), allow(dead_code, reason = "there is none"))]
    pub counts: FrameCounter,
}

/// Tells a thread of a sink that the sink is removed.
pub struct Removal {
    /// What fails once it is stopped is tried once more, and given up then.
    pub stop: StopSignal,
    /// The thread holds it.
    alive: Weak<()>,
}

impl Removal {
    /// Whether the thread has ended, and what it wrote is whole.
    pub fn is_done(&self) -> bool {
        self.alive.strong_count() == 0
    }
}

/// The threads of a stream's sinks.
pub struct SinkThreads {
    context: SinkContext,
    outboxes: Outboxes,
    records: Threads<Option<GuardedSink>>,
    pictures: Threads<()>,
    /// Tells the threads of a sink that it is removed.
    removals: Vec<(SinkKey, Removal)>,
    has_ended: bool,
}

impl SinkThreads {
    /// None yet.
    pub fn new(context: SinkContext) -> Self {
        Self {
            outboxes: Outboxes::new(context.drops, context.size, context.events.clone()),
            context,
            records: Threads::default(),
            pictures: Threads::default(),
            removals: Vec::new(),
            has_ended: false,
        }
    }

    /// Starts the threads of `sinks`; gives the edges to them.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(&mut self, sinks: StreamSinks) -> std::io::Result<SinkEdges> {
        let mut edges = SinkEdges::default();
        for (key, name, mut to) in sinks.records {
            let (tx, rx) = self.outboxes.records(&name);
            let counts = tx.counts();
            let missed = MissedEvents::default();
            edges.records.push((Arc::clone(&key), tx, missed));
            self.outboxes.guard(&mut to.guard);
            let stop = self.context.stop.clone();
            let write = move |removed: &_| write_records(to, &rx, &stop, removed);
            let thread = self.spawn(&name, key, write)?;
            self.records.push_sink(&name, counts, thread);
        }
        for (key, mut to) in sinks.images {
            let (tx, rx) = self.outboxes.pictures("images", "images");
            let counts = tx.counts();
            self.outboxes.guard(&mut to.1);
            let write = move |removed: &_| write_images(to, &rx, removed);
            let thread = self.spawn("4-images", Arc::clone(&key), write)?;
            self.pictures.push_sink("4-images", counts, thread);
            let (frames_tx, frames) = self.outboxes.pictures("overlay", "images");
            edges.pictures.push((key, frames_tx));
            self.render(tx, frames)?;
        }
        for (key, mut to) in sinks.masks {
            let (tx, rx) = self.outboxes.pictures("masks", "masks");
            let counts = tx.counts();
            edges.masks.push((Arc::clone(&key), tx));
            self.outboxes.guard(&mut to.1);
            let write = move |removed: &_| write_masks(to, &rx, removed);
            let thread = self.spawn("4-masks", key, write)?;
            self.pictures.push_sink("4-masks", counts, thread);
        }
        #[cfg(feature = "recording")]
        for (key, mut encoder) in sinks.recordings {
            let (tx, rx) = self.outboxes.frames("record", "recording");
            let counts = tx.counts();
            let missed = MissedEvents::default();
            edges.recordings.push((Arc::clone(&key), tx, missed));
            for guard in encoder.recording.guards_mut() {
                self.outboxes.guard(guard);
            }
            let latency = self.context.record.clone();
            let encode = move |_: &_| encoder.run(&rx, &latency);
            let thread = self.spawn("4-encode", key, encode)?;
            self.pictures.push_sink("4-encode", counts, thread);
        }
        #[cfg(feature = "store")]
        for (key, mut stage) in sinks.stores {
            let (tx, rx) = self.outboxes.frames("store", "store");
            let (counts, missed) = (tx.counts(), MissedEvents::default());
            edges.stores.push((Arc::clone(&key), tx, missed.clone()));
            self.outboxes.guard(&mut stage.guard);
            let store = move |_: &_| stage.run(&rx, &missed);
            let thread = self.spawn("4-store", key, store)?;
            self.pictures.push_sink("4-store", counts, thread);
        }
        #[cfg(feature = "web")]
        for (key, renderer) in sinks.web {
            let metrics = renderer.views.metrics();
            metrics.add_latencies(self.context.shown.iter().cloned());
            let counts = Arc::clone(&self.context.counts);
            metrics.set_counts(move || counts());
            let drops = self.outboxes.drops();
            metrics.set_sink_drops(move || drops.counts());
            let (tx, rx) = edge("web", 1, Policy::NewestWins);
            edges.pictures.push((key, tx));
            let thread = self.context.failures.spawn("4-web", move || {
                renderer.run(&rx);
                Ok::<(), String>(())
            })?;
            self.pictures.push("4-web", thread);
        }
        Ok(edges)
    }

    /// Draws for a window; gives its pictures.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start_window(
        &mut self,
        edges: &mut SinkEdges,
    ) -> std::io::Result<Receiver<RenderedFrame>> {
        let (viewer, pictures) = edge("window", 1, Policy::NewestWins);
        let (tx, frames) = edge("overlay", 2, Policy::NewestWins);
        edges.pictures.push(("window".into(), tx));
        self.render(viewer, frames)?;
        Ok(pictures)
    }

    fn render(
        &mut self,
        viewer: Sender<RenderedFrame>,
        frames: Receiver<Arc<AnalyzedFrame>>,
    ) -> std::io::Result<()> {
        let renderer = Renderer {
            viewer,
            latency: self.context.overlay.clone(),
        };
        let stage = self.context.stages.stage("3-render");
        let thread = self.context.failures.spawn("3-render", move || {
            stage.watch(|| renderer.run(&frames));
            Ok::<(), String>(())
        })?;
        self.pictures.push("3-render", thread);
        Ok(())
    }

    /// Starts the thread of a sink. What fails there when the sink is removed already does not end the run.
    fn spawn<T: Default + Send + 'static>(
        &mut self,
        name: &str,
        key: SinkKey,
        body: impl FnOnce(&StopSignal) -> Result<T, SinkError> + Send + 'static,
    ) -> std::io::Result<JoinHandle<Option<T>>> {
        let (removed, alive) = (self.context.stop.child(), Arc::new(()));
        let removal = Removal {
            stop: removed.clone(),
            alive: Arc::downgrade(&alive),
        };
        self.removals.push((key, removal));
        let sink = name.trim_start_matches("4-").to_owned();
        self.context.failures.spawn(name, move || {
            let result = body(&removed).or_else(|error| match removed.reason() {
                Some(StopReason::Removed) => {
                    tracing::error!("the sink {sink} was removed, and is not whole: {error}");
                    Ok(T::default())
                }
                _ => Err(error),
            });
            drop(alive);
            result
        })
    }

    /// What tells the threads of the sinks `keys` that they are removed.
    pub fn removals(&mut self, keys: &BTreeSet<SinkKey>) -> Vec<Removal> {
        let removed = self.removals.extract_if(.., |(key, _)| keys.contains(key));
        removed.map(|(_, removed)| removed).collect()
    }

    /// Forgets threads that have ended.
    pub fn reap(&mut self) {
        // A sink whose stream has ended waits for its last record.
        self.records.reap(Option::is_some);
        self.pictures.reap(|()| false);
    }

    /// Whether the stream has ended, and nothing can be started any more.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// What the sinks miss.
    pub fn drops(&self) -> SinkDrops {
        self.outboxes.drops()
    }

    /// The threads, which end because their edges are closed. No more are started.
    pub fn end(&mut self) -> (Threads<Option<GuardedSink>>, Threads<()>) {
        self.has_ended = true;
        let records = std::mem::take(&mut self.records);
        (records, std::mem::take(&mut self.pictures))
    }
}
