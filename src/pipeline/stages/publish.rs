//! Publishing: makes the record of each frame, back in order, and hands it to the sinks; frames that
//! are drawn, shown or recorded go on with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use super::analyze::Analyzer;
use super::classify_tracks::TrackClassification;
use super::render::AnalyzedFrame;
use crate::analytics::AreaRules;
use crate::flow::{Aged, Latency, OrderedReceiver, Sender};
use crate::frame::{FrameMeta, InferencePlan, Packet, Region, SourceEvent, StreamMessage};
use crate::gating::Feedback;
use crate::overlay::{FramePictures, Trails};
use crate::pipeline::progress::Progress;
use crate::postprocess::{ClassMask, Prediction};
use crate::records::{EventRecord, FrameRecord, RecordBuilder, TimingsRecord, rounded};
use crate::sink::SinkEvent;
use mobilens_image::{RectPx, Similarity};

/// Score from which a detection keeps its tiles from being left out.
const FOUND_SCORE: f64 = 0.1;

/// What record sinks are sent: a frame with its events, or events without a frame.
#[derive(Clone, Debug, Default)]
pub struct SinkMessage {
    /// Events of messages that were dropped before it.
    pub missed: MissedEvents,
    /// Events without their frame's record.
    pub events: Vec<EventRecord>,
    /// A frame, with its events.
    pub frame: Option<Arc<FrameRecord>>,
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
    fn add<'a>(&self, events: impl IntoIterator<Item = &'a EventRecord>) {
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

/// Makes records and hands them to the sinks.
pub struct PublishStage {
    /// Name of the stream.
    pub stream: Arc<str>,
    /// Makes the records.
    pub builder: RecordBuilder,
    /// Edges to the record sinks. One that closes has failed by itself and is passed over.
    pub records: Vec<(Sender<SinkMessage>, MissedEvents)>,
    /// Rules on segmented areas, which make events.
    pub rules: AreaRules,
    /// Edges to the mask sinks, which fail by themselves too.
    pub masks: Vec<Sender<(FrameMeta, Arc<ClassMask>)>>,
    /// Adds tracks and their events.
    pub analyzer: Analyzer,
    /// Adds what second networks say of the tracks.
    pub track_classification: Option<TrackClassification>,
    /// Gets the tracks and the age of each record.
    pub feedback: Arc<Feedback>,
    /// Where tracked objects were, to be drawn.
    pub trails: Arc<Trails>,
    /// Edges to the stages that make pictures.
    pub pictures: Vec<Sender<Arc<AnalyzedFrame>>>,
    /// Edges to the stages that record.
    pub recordings: Vec<(Sender<RecordedFrame>, MissedEvents)>,
    /// Edges to the stages that store events; they also get those without a frame.
    pub stores: Vec<(Sender<RecordedFrame>, MissedEvents)>,
    /// What happens to the sinks.
    pub sink_events: mpsc::Receiver<SinkEvent>,
    /// Frames that got a record.
    pub emitted: Arc<AtomicU64>,
    /// From capture until the record was handed to the sinks.
    pub end_to_end: Latency,
    /// Counts the frames that are done.
    pub progress: Progress,
}

/// What is remembered of the frames before.
#[derive(Default)]
struct History {
    /// The number that the next frame has if none is dropped.
    next_frame: u64,
    scene: Option<u64>,
    camera: Option<Similarity>,
    every: Option<u32>,
    /// Stream, number and time of the last frame, for events without one.
    last: FrameRecord,
}

impl PublishStage {
    /// Works until all workers are gone.
    ///
    /// # Errors
    /// When a second network cannot run.
    pub fn run(
        mut self,
        mut messages: OrderedReceiver<StreamMessage<Prediction>>,
    ) -> Result<(), String> {
        let mut history = History {
            last: FrameRecord {
                stream: self.stream.to_string(),
                ..FrameRecord::default()
            },
            ..History::default()
        };
        while let Some(StreamMessage { frame, events }) = messages.recv() {
            match frame {
                Some(packet) => self.publish_frame(packet, &events, &mut history)?,
                None => {
                    let of_source = events.into_iter().map(|e| source_event(&history.last, e));
                    let mut events: Vec<_> = of_source.collect();
                    events.extend(self.sink_events(&history.last));
                    self.send(&events, None);
                    for (_, missed) in &self.stores {
                        missed.add(&events);
                    }
                }
            }
        }
        Ok(())
    }

    fn publish_frame(
        &mut self,
        packet: Packet<Prediction>,
        events: &[SourceEvent],
        history: &mut History,
    ) -> Result<(), String> {
        let mut record = self.frame_record(&packet, events, history);
        self.analyzer.update(&mut record, packet.image.size());
        if let Some(classification) = &mut self.track_classification {
            classification.update(&mut record, &packet.image)?;
        }
        let age = packet.meta.captured_at.elapsed();
        let age_ms = age.as_secs_f64() * 1000.0;
        record.timings = Some(TimingsRecord {
            end_to_end_ms: rounded(age_ms, 1000.0),
        });
        let is_inferred = packet.payload.plan.region != Region::None;
        let first = self.builder.labels.models().next();
        let tracks = record.tracks.iter().flatten();
        let tracks = tracks.filter(|track| track.model.as_deref() == first);
        let tracks = tracks.map(|track| track.bbox.into()).collect();
        let frame = packet.meta.frame;
        if is_inferred {
            self.feedback.has_found(frame, found_in(&record, first));
        }
        self.feedback
            .published(frame, tracks, is_inferred.then_some(age_ms));
        history.last.frame = record.frame;
        history.last.pts_ms = record.pts_ms;
        let record = Arc::new(record);
        self.send(&[], Some(&record));
        if let Some(segmentation) = &packet.payload.segmentation {
            for sink in &self.masks {
                let _ = sink.send((packet.meta.clone(), Arc::clone(&segmentation.mask)));
            }
        }
        self.end_to_end.record(packet.meta.captured_at.elapsed());
        self.emitted.fetch_add(1, Ordering::SeqCst);
        let is_seen = !self.pictures.is_empty() || !self.recordings.is_empty();
        if is_seen || !self.stores.is_empty() {
            Arc::make_mut(&mut self.trails).update(&record);
            // Pictures show what the record says.
            let mut prediction = packet.payload;
            prediction.detections.retain(|d| record.reports(d));
            let analyzed = Arc::new(AnalyzedFrame {
                meta: packet.meta,
                prediction,
                record,
                counters: self.analyzer.counters(),
                trails: Arc::clone(&self.trails),
                pictures: FramePictures::new(packet.image),
            });
            for pictures in &self.pictures {
                let _ = pictures.send(Arc::clone(&analyzed));
            }
            for (recording, missed) in self.recordings.iter().chain(&self.stores) {
                let _ = recording.send(RecordedFrame {
                    missed: missed.clone(),
                    frame: Arc::clone(&analyzed),
                });
            }
        }
        self.progress.frame_done();
        Ok(())
    }

    /// The record of a frame, without tracks and what follows from them.
    fn frame_record(
        &mut self,
        packet: &Packet<Prediction>,
        events: &[SourceEvent],
        history: &mut History,
    ) -> FrameRecord {
        let frame = packet.meta.frame;
        let dropped = frame - history.next_frame;
        history.next_frame = frame + 1;
        let (size, plan) = (packet.image.size(), &packet.payload.plan);
        let mut record = self
            .builder
            .frame(&packet.meta, size, dropped, &packet.payload);
        record.cut = history
            .scene
            .replace(plan.scene)
            .is_some_and(|before| before != plan.scene);
        record.camera = step(&mut history.camera, plan, record.cut);
        record.events = self.area_events(packet);
        for event in events {
            let event = source_event(&record, *event);
            record.events.push(event);
        }
        if let Some(now) = plan.every
            && history
                .every
                .replace(now)
                .is_some_and(|before| before != now)
        {
            record.events.push(interval_event(&record, now));
        }
        record.events.extend(self.sink_events(&record));
        record
    }

    /// What happened to the sinks since the last call.
    fn sink_events(&self, record: &FrameRecord) -> Vec<EventRecord> {
        let events = self.sink_events.try_iter();
        events.map(|event| sink_event(record, event)).collect()
    }

    fn send(&self, events: &[EventRecord], frame: Option<&Arc<FrameRecord>>) {
        for (sink, missed) in &self.records {
            let _ = sink.send(SinkMessage {
                missed: missed.clone(),
                events: events.to_vec(),
                frame: frame.cloned(),
            });
        }
    }

    fn area_events(&mut self, packet: &Packet<Prediction>) -> Vec<EventRecord> {
        let Some(segmentation) = &packet.payload.segmentation else {
            return Vec::new();
        };
        let events = self.rules.update(&segmentation.mask, packet.meta.pts);
        let records = events.iter().map(|event| {
            let rule = &self.rules.rules()[event.rule];
            self.builder.area_event(&packet.meta, event, rule)
        });
        records.collect()
    }
}

/// How the camera moved since the record before; nothing is known of that over a cut.
fn step(before: &mut Option<Similarity>, plan: &InferencePlan, is_cut: bool) -> Option<[f64; 4]> {
    let now = plan.camera?;
    let before = before.replace(now).filter(|_| !is_cut)?;
    let Similarity { a, b, x, y } = before.inverse()?.then(&now);
    let (a, b) = (rounded(a, 1e7), rounded(b, 1e7));
    Some([a, b, rounded(x, 1000.0), rounded(y, 1000.0)])
}

/// The source was lost, or is back.
fn source_event(record: &FrameRecord, event: SourceEvent) -> EventRecord {
    match event {
        SourceEvent::Lost => EventRecord::of(record, "source", "new", "lost"),
        SourceEvent::Back(lasted) => EventRecord {
            duration_ms: Some((lasted.as_secs_f64() * 1000.0).round()),
            ..EventRecord::of(record, "source", "end", "back")
        },
    }
}

/// A sink cannot write, or writes again.
fn sink_event(record: &FrameRecord, event: SinkEvent) -> EventRecord {
    match event {
        SinkEvent::Failed { sink } | SinkEvent::Disabled { sink } => {
            EventRecord::of(record, "sink", "new", &sink)
        }
        SinkEvent::Recovered { sink, after } => EventRecord {
            duration_ms: Some((after.as_secs_f64() * 1000.0).round()),
            ..EventRecord::of(record, "sink", "end", &sink)
        },
    }
}

/// Where something was found, or is tracked; of several models by `first`, which the gating controls.
fn found_in(record: &FrameRecord, first: Option<&str>) -> Vec<RectPx> {
    let seen = record.detections.iter().chain(&record.faint);
    let seen = seen.filter(|detection| detection.score >= FOUND_SCORE);
    let seen = seen.filter(|detection| detection.model.as_deref() == first);
    let tracks = record.tracks.iter().flatten();
    let tracks = tracks.filter(|track| track.model.as_deref() == first);
    let boxes = seen.map(|detection| detection.bbox);
    boxes
        .chain(tracks.map(|track| track.bbox))
        .map(RectPx::from)
        .collect()
}

/// The network runs on every `every`th frame from now on.
fn interval_event(record: &FrameRecord, every: u32) -> EventRecord {
    EventRecord {
        counts: Some(BTreeMap::from([("every".to_owned(), every.into())])),
        ..EventRecord::of(record, "interval", "update", "interval")
    }
}
