//! What publishing sends to the sinks, and the edges to them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::render::AnalyzedFrame;
use crate::flow::{Aged, Sender};
use crate::frame::FrameMeta;
use crate::postprocess::ClassMask;
use crate::records::{EndRecord, EventRecord, FrameRecord};

/// What record sinks are sent: a frame with its events, events without a frame, or their last record.
#[derive(Clone, Debug, Default)]
pub struct SinkMessage {
    /// Events of messages that were dropped before it.
    pub missed: MissedEvents,
    /// Events without their frame's record.
    pub events: Vec<EventRecord>,
    /// A frame, with its events.
    pub frame: Option<Arc<FrameRecord>>,
    /// The last record of a sink that is removed while the stream goes on.
    pub end: Option<EndRecord>,
}

/// A frame to be recorded.
#[derive(Clone, Debug)]
pub struct RecordedFrame {
    /// Events of frames that were dropped before it.
    pub missed: MissedEvents,
    /// The frame.
    pub frame: Arc<AnalyzedFrame>,
}

/// The events of what one edge dropped: a slow sink misses frames, but no events. Beyond a thousand
/// the oldest go.
#[derive(Clone, Debug, Default)]
pub struct MissedEvents(Arc<Mutex<VecDeque<EventRecord>>>);

impl MissedEvents {
    /// Adds events, oldest first.
    pub fn add<'a>(&self, events: impl IntoIterator<Item = &'a EventRecord>) {
        const MOST: usize = 1000;
        let mut missed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        missed.extend(events.into_iter().cloned());
        let too_many = missed.len().saturating_sub(MOST);
        missed.drain(..too_many);
    }

    /// Takes those up to frame `last`.
    pub fn take(&self, last: u64) -> Vec<EventRecord> {
        let mut missed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = missed.partition_point(|event| event.frame <= last);
        missed.drain(..end).collect()
    }
}

impl SinkMessage {
    /// Its events without their frame's record, oldest first, with those that were missed before.
    pub fn take_events(&mut self) -> Vec<EventRecord> {
        let frame = self.frame.as_ref().map(|frame| frame.frame);
        let last = frame.or(self.events.last().map(|event| event.frame));
        let mut events = self.missed.take(last.unwrap_or(u64::MAX));
        events.append(&mut self.events);
        events
    }
}

impl Aged for SinkMessage {
    fn captured_at(&self) -> Option<Instant> {
        None
    }

    fn supersede(&mut self, older: Self) -> bool {
        let of_frame = older.frame.iter().flat_map(|frame| &frame.events);
        self.missed.add(older.events.iter().chain(of_frame));
        older.frame.is_some()
    }
}

impl Aged for RecordedFrame {
    fn captured_at(&self) -> Option<Instant> {
        None
    }

    fn supersede(&mut self, older: Self) -> bool {
        self.missed.add(&older.frame.record.events);
        true
    }
}

/// The class mask of a frame.
pub type FrameMask = (FrameMeta, Arc<ClassMask>);

/// Tells the sinks of a stream apart.
pub type SinkKey = Arc<str>;

/// The edges to the sinks of a stream. One that closes has failed by itself and is passed over.
#[derive(Default)]
pub struct SinkEdges {
    /// To record sinks.
    pub records: Vec<(SinkKey, Sender<SinkMessage>, MissedEvents)>,
    /// To mask sinks.
    pub masks: Vec<(SinkKey, Sender<FrameMask>)>,
    /// To stages that make pictures.
    pub pictures: Vec<(SinkKey, Sender<Arc<AnalyzedFrame>>)>,
    /// To stages that record.
    pub recordings: Vec<(SinkKey, Sender<RecordedFrame>, MissedEvents)>,
    /// To stages that store events; they also get those without a frame.
    pub stores: Vec<(SinkKey, Sender<RecordedFrame>, MissedEvents)>,
}

impl SinkEdges {
    /// Adds those of further sinks.
    pub fn append(&mut self, mut more: Self) {
        self.records.append(&mut more.records);
        self.masks.append(&mut more.masks);
        self.pictures.append(&mut more.pictures);
        self.recordings.append(&mut more.recordings);
        self.stores.append(&mut more.stores);
    }

    /// Closes the edges to the sinks `keys`; record sinks get `end` as their last record.
    pub fn remove(&mut self, keys: &BTreeSet<SinkKey>, end: &EndRecord) {
        self.records.retain(|(key, edge, missed)| {
            let stays = !keys.contains(key);
            if !stays {
                let _ = edge.send(SinkMessage {
                    missed: missed.clone(),
                    end: Some(end.clone()),
                    ..SinkMessage::default()
                });
            }
            stays
        });
        self.masks.retain(|(key, _)| !keys.contains(key));
        self.pictures.retain(|(key, _)| !keys.contains(key));
        self.recordings.retain(|(key, ..)| !keys.contains(key));
        self.stores.retain(|(key, ..)| !keys.contains(key));
    }
}
