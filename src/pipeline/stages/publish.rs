//! Publishing: makes the record of each frame, back in order, and hands it to the sinks; frames that
//! are drawn, shown or recorded go on with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use super::analyze::Analyzer;
use super::classify_tracks::TrackClassification;
use super::render::AnalyzedFrame;
use super::sink_edges::{RecordedFrame, SinkEdges, SinkKey, SinkMessage};
use crate::analytics::AreaRules;
use crate::flow::{Latency, OrderedReceiver, StopReason, StopSignal, Updates};
use crate::frame::{InferencePlan, Packet, Region, SourceEvent, StreamMessage};
use crate::gating::Feedback;
use crate::overlay::{Drawing, FramePictures, Trails};
use crate::pipeline::progress::Progress;
use crate::postprocess::Prediction;
use crate::records::{
    EndRecord, EventRecord, FrameCounts, FrameRecord, RecordBuilder, TimingsRecord, rounded,
};
use crate::sink::SinkEvent;
use mobilens_image::{RectPx, Similarity};

/// Score from which a detection keeps its tiles from being left out.
const FOUND_SCORE: f64 = 0.1;

/// What publishing works with; a reload brings another.
pub struct PublishParams {
    /// Makes the records.
    pub builder: RecordBuilder,
    /// Rules on segmented areas, which make events.
    pub rules: AreaRules,
    /// Adds tracks and their events.
    pub analyzer: Analyzer,
    /// How frames are drawn.
    pub drawing: Arc<Drawing>,
}

/// What changes with the first message of a generation.
pub struct PublishUpdate {
    /// What it works with from now on; tracks, counts and rules go on from those before.
    pub params: PublishParams,
    /// Edges to the sinks that are added.
    pub added: SinkEdges,
    /// The sinks that are removed.
    pub removed: BTreeSet<SinkKey>,
    /// Tells their threads so.
    pub removals: Vec<StopSignal>,
    /// The event of the reload.
    pub event: ReloadEvent,
    /// Is told the number of the first frame.
    pub applied: mpsc::Sender<u64>,
}

/// What the record of a reload says.
#[derive(Clone, Debug, Default)]
pub struct ReloadEvent {
    /// Fingerprint of the configuration from now on.
    pub config_sha256: String,
    /// That of the analysis, where objects are tracked.
    pub analysis_sha256: Option<String>,
    /// What changed.
    pub changed: Vec<String>,
}

/// Makes records and hands them to the sinks.
pub struct PublishStage {
    /// Name of the stream.
    pub stream: Arc<str>,
    /// What it works with.
    pub params: PublishParams,
    /// Edges to the sinks.
    pub sinks: SinkEdges,
    /// What reloads change.
    pub updates: Updates<PublishUpdate>,
    /// Adds what second networks say of the tracks.
    pub track_classification: Option<TrackClassification>,
    /// Gets the tracks and the age of each record.
    pub feedback: Arc<Feedback>,
    /// Where tracked objects were, to be drawn.
    pub trails: Arc<Trails>,
    /// What happens to the sinks.
    pub sink_events: mpsc::Receiver<SinkEvent>,
    /// Frames that got a record.
    pub emitted: Arc<AtomicU64>,
    /// Counts of the stream's frames at this moment.
    pub frames: Box<dyn Fn() -> FrameCounts + Send>,
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
    /// Events of reloads and of their ends, for the next record.
    reloads: Vec<EventRecord>,
}

impl PublishParams {
    /// Goes on from `before`: tracks keep their ids, zones, lines and rules their counts and states, where they
    /// still make sense. Gives the events of what ends with it, after the frame of `last`.
    fn continue_from(&mut self, before: Self, last: &FrameRecord) -> Vec<EventRecord> {
        self.rules.continue_from(before.rules);
        self.analyzer.continue_from(before.analyzer, last)
    }
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
        while let Some(message) = messages.recv() {
            let StreamMessage {
                frame,
                events,
                generation,
            } = message;
            let number = frame.as_ref().map(|packet| packet.meta.frame);
            while let Some(update) = self.updates.next_up_to(generation) {
                self.reload(update, number, &mut history);
            }
            match frame {
                Some(packet) => self.publish_frame(packet, &events, &mut history)?,
                None => {
                    let of_source = events.into_iter().map(|e| source_event(&history.last, e));
                    let mut events: Vec<_> = of_source.collect();
                    events.extend(self.sink_events(&history.last));
                    events.append(&mut history.reloads);
                    self.send(&events, None);
                    for (_, _, missed) in &self.sinks.stores {
                        missed.add(&events);
                    }
                }
            }
        }
        Ok(())
    }

    /// Changes over, between two messages. `frame` is the number of the next one, if it has one.
    fn reload(&mut self, update: PublishUpdate, frame: Option<u64>, history: &mut History) {
        let removed = Some(StopReason::Removed);
        let end = EndRecord::new(&self.stream, removed, (self.frames)());
        self.sinks.remove(&update.removed, &end);
        for signal in update.removals {
            signal.stop(StopReason::Removed);
        }
        self.sinks.append(update.added);
        let before = std::mem::replace(&mut self.params, update.params);
        let left = self.params.continue_from(before, &history.last);
        history.reloads.extend(left);
        let trail_ms = self.params.drawing.style.trail_ms;
        if self.trails.length_ms() != trail_ms {
            self.trails = Arc::new(Trails::new(trail_ms));
        }
        let event = reload_event(&history.last, update.event);
        history.reloads.push(event);
        let _ = update.applied.send(frame.unwrap_or(history.next_frame));
    }

    fn publish_frame(
        &mut self,
        packet: Packet<Prediction>,
        events: &[SourceEvent],
        history: &mut History,
    ) -> Result<(), String> {
        let mut record = self.frame_record(&packet, events, history);
        self.params
            .analyzer
            .update(&mut record, packet.image.size());
        if let Some(classification) = &mut self.track_classification {
            classification.update(&mut record, &packet.image)?;
        }
        let age = packet.meta.captured_at.elapsed();
        let age_ms = age.as_secs_f64() * 1000.0;
        record.timings = Some(TimingsRecord {
            end_to_end_ms: rounded(age_ms, 1000.0),
        });
        let is_inferred = packet.payload.plan.region != Region::None;
        let first = self.params.builder.labels.models().next();
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
            for (_, sink) in &self.sinks.masks {
                let _ = sink.send((packet.meta.clone(), Arc::clone(&segmentation.mask)));
            }
        }
        self.end_to_end.record(packet.meta.captured_at.elapsed());
        self.emitted.fetch_add(1, Ordering::SeqCst);
        let is_seen = !self.sinks.pictures.is_empty() || !self.sinks.recordings.is_empty();
        if is_seen || !self.sinks.stores.is_empty() {
            Arc::make_mut(&mut self.trails).update(&record);
            // Pictures show what the record says.
            let mut prediction = packet.payload;
            prediction.detections.retain(|d| record.reports(d));
            let analyzed = Arc::new(AnalyzedFrame {
                meta: packet.meta,
                prediction,
                record,
                counters: self.params.analyzer.counters(),
                trails: Arc::clone(&self.trails),
                drawing: Arc::clone(&self.params.drawing),
                pictures: FramePictures::new(packet.image),
            });
            for (_, pictures) in &self.sinks.pictures {
                let _ = pictures.send(Arc::clone(&analyzed));
            }
            for (_, recording, missed) in self.sinks.recordings.iter().chain(&self.sinks.stores) {
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
            .params
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
        let reloads = history.reloads.drain(..).map(|event| EventRecord {
            frame,
            pts_ms: record.pts_ms,
            ..event
        });
        record.events.extend(reloads);
        record
    }

    /// What happened to the sinks since the last call.
    fn sink_events(&self, record: &FrameRecord) -> Vec<EventRecord> {
        let events = self.sink_events.try_iter();
        events.map(|event| sink_event(record, event)).collect()
    }

    fn send(&self, events: &[EventRecord], frame: Option<&Arc<FrameRecord>>) {
        for (_, sink, missed) in &self.sinks.records {
            let _ = sink.send(SinkMessage {
                missed: missed.clone(),
                events: events.to_vec(),
                frame: frame.cloned(),
                end: None,
            });
        }
    }

    fn area_events(&mut self, packet: &Packet<Prediction>) -> Vec<EventRecord> {
        let Some(segmentation) = &packet.payload.segmentation else {
            return Vec::new();
        };
        let events = self
            .params
            .rules
            .update(&segmentation.mask, packet.meta.pts);
        let records = events.iter().map(|event| {
            let rule = &self.params.rules.rules()[event.rule];
            self.params.builder.area_event(&packet.meta, event, rule)
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

/// The settings were reloaded.
fn reload_event(record: &FrameRecord, reload: ReloadEvent) -> EventRecord {
    EventRecord {
        config_sha256: Some(reload.config_sha256),
        analysis_sha256: reload.analysis_sha256,
        changed: reload.changed,
        ..EventRecord::of(record, "reload", "update", "reload")
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
