//! The edges to sinks that store: bounded outboxes. On a replay they block, and nothing is lost; on a
//! live source a sink that is slow or stalled misses what it is too slow for, and holds nobody up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(any(feature = "recording", feature = "store"))]
use super::stages::sink_edges::RecordedFrame;
use super::stages::sink_edges::SinkMessage;
use crate::flow::{EdgeCounts, Policy, Receiver, Sender, aged_edge, edge};
use crate::sink::{ErrorGuard, SinkEvent, SinkReports};
use mobilens_image::SizePx;

/// Records that wait for a sink of a live source: ten seconds at 25 frames/s.
const LIVE_RECORDS: usize = 256;
/// Items that wait for a sink of a replay.
const REPLAY_ITEMS: usize = 4;
/// Memory of the pictures that wait for a sink of a live source.
const LIVE_PICTURE_BYTES: u64 = 64_000_000;
/// Pictures that wait where their size is not known.
const LIVE_PICTURES: usize = 8;

/// Makes the edges to a stream's sinks.
pub struct Outboxes {
    is_live: bool,
    pictures: usize,
    events: mpsc::Sender<SinkEvent>,
    drops: SinkDrops,
}

/// What the sinks of a stream did not get or could not write; clones share it.
#[derive(Clone, Default)]
pub struct SinkDrops(Arc<Mutex<KnownDrops>>);

#[derive(Default)]
struct KnownDrops {
    of_sinks: Vec<(String, Drops)>,
    /// Of sinks that are gone.
    before: BTreeMap<String, u64>,
}

#[derive(Clone)]
enum Drops {
    TooSlow(EdgeCounts),
    Failed(Arc<AtomicU64>),
}

impl Outboxes {
    /// For pictures of this size, and sinks that report to `events`.
    pub fn new(is_live: bool, size: Option<SizePx>, events: mpsc::Sender<SinkEvent>) -> Self {
        let pictures = size.map(|size| {
            let bytes = u64::from(size.width) * u64::from(size.height) * 3;
            usize::try_from(LIVE_PICTURE_BYTES / bytes.max(1)).unwrap_or(usize::MAX)
        });
        Self {
            is_live,
            pictures: pictures.unwrap_or(LIVE_PICTURES).clamp(4, 64),
            events,
            drops: SinkDrops::default(),
        }
    }

    /// The edge to the thread `name` of a record sink.
    pub fn records(&mut self, name: &str) -> (Sender<SinkMessage>, Receiver<SinkMessage>) {
        let ends = if self.is_live {
            aged_edge(name, LIVE_RECORDS, Policy::Leaky)
        } else {
            edge(name, REPLAY_ITEMS, Policy::Block)
        };
        self.count(name.trim_start_matches("4-"), &ends.0);
        ends
    }

    /// The edge `name` on the way to the sink of kind `sink`, which takes pictures or masks.
    pub fn pictures<T>(&mut self, name: &str, sink: &str) -> (Sender<T>, Receiver<T>) {
        let ends = if self.is_live {
            edge(name, self.pictures, Policy::Leaky)
        } else {
            edge(name, REPLAY_ITEMS, Policy::Block)
        };
        self.count(sink, &ends.0);
        ends
    }

    /// The edge `name` to a thread that takes frames with their pictures, for the sink of kind `sink`.
    #[cfg(any(feature = "recording", feature = "store"))]
    pub fn frames(
        &mut self,
        name: &str,
        sink: &str,
    ) -> (Sender<RecordedFrame>, Receiver<RecordedFrame>) {
        let ends = if self.is_live {
            aged_edge(name, self.pictures, Policy::Leaky)
        } else {
            edge(name, REPLAY_ITEMS, Policy::Block)
        };
        self.count(sink, &ends.0);
        ends
    }

    fn count<T>(&mut self, sink: &str, edge: &Sender<T>) {
        self.drops.add(sink, Drops::TooSlow(edge.counts()));
    }

    /// Has the errors of a sink reported and counted.
    pub fn guard(&mut self, guard: &mut ErrorGuard) {
        let reports = SinkReports {
            events: Some(self.events.clone()),
            ..SinkReports::default()
        };
        let drops = Drops::Failed(Arc::clone(&reports.lost));
        self.drops.add(guard.sink(), drops);
        guard.report_to(reports);
    }

    /// What all sinks miss.
    pub fn drops(&self) -> SinkDrops {
        self.drops.clone()
    }
}

impl Drops {
    fn count(&self) -> u64 {
        match self {
            Self::TooSlow(edge) => edge.evicted(),
            Self::Failed(lost) => lost.load(Ordering::SeqCst),
        }
    }

    /// Whether nobody counts any more.
    fn is_final(&self) -> bool {
        match self {
            Self::TooSlow(edge) => edge.is_final(),
            Self::Failed(lost) => Arc::strong_count(lost) == 1,
        }
    }
}

impl SinkDrops {
    fn add(&self, sink: &str, drops: Drops) {
        let mut known = self.lock();
        let KnownDrops { of_sinks, before } = &mut *known;
        of_sinks.retain(|(sink, drops)| {
            let is_final = drops.is_final();
            if is_final {
                *before.entry(sink.clone()).or_default() += drops.count();
            }
            !is_final
        });
        of_sinks.push((sink.to_owned(), drops));
    }

    /// How much each kind of sink missed so far.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let known = self.lock();
        let mut counts = known.before.clone();
        for (sink, drops) in &known.of_sinks {
            *counts.entry(sink.clone()).or_default() += drops.count();
        }
        counts.into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, KnownDrops> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
