//! Where frames leave the trunk: back in order, each becomes a record for the sinks and, if
//! somebody draws, goes on to the overlay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::analyze::Analyzer;
use super::capture::{CaptureCounts, SourceEvent};
use super::render::AnalyzedFrame;
use crate::analytics::AreaRules;
use crate::flow::{Latency, OrderedReceiver, Received, Sender};
use crate::frame::{FrameMeta, InferencePlan, Packet, Region};
use crate::gating::Feedback;
use crate::pipeline::progress::Progress;
use crate::postprocess::{ClassMask, Prediction};
use crate::records::{EventRecord, FrameRecord, RecordBuilder, TimingsRecord, rounded};
use mobilens_image::Similarity;

/// How long a source's loss may stay unmessage while no frame comes.
const SILENCE: Duration = Duration::from_millis(200);

/// What record sinks are message.
#[derive(Clone, Debug)]
pub enum SinkMessage {
    /// A frame, with its events.
    Frame(Arc<FrameRecord>),
    /// An event without a frame.
    Event(Arc<EventRecord>),
}

/// Makes records and hands them round.
pub struct PublishStage {
    /// Name of the stream.
    pub stream: Arc<str>,
    /// What makes records.
    pub builder: RecordBuilder,
    /// Edges to the record sinks. One that closes has failed by itself and is passed over.
    pub records: Vec<Sender<SinkMessage>>,
    /// What makes events of areas.
    pub rules: AreaRules,
    /// Edges to the mask sinks, which fail by themselves too.
    pub masks: Vec<Sender<(FrameMeta, Arc<ClassMask>)>>,
    /// What makes tracks and their events.
    pub analyzer: Analyzer,
    /// What befell the source.
    pub source: Arc<CaptureCounts>,
    /// Told of each record.
    pub feedback: Arc<Feedback>,
    /// Edges to those who draw.
    pub pictures: Vec<Sender<Packet<AnalyzedFrame>>>,
    /// Frames that got a record.
    pub emitted: Arc<AtomicU64>,
    /// From capture until the record was handed round.
    pub end_to_end: Latency,
    /// Told of each frame.
    pub progress: Progress,
}

impl PublishStage {
    /// Works until all workers are gone.
    pub fn run(mut self, mut frames: OrderedReceiver<Packet<Prediction>>) {
        let mut next_frame = 0;
        let mut scene = None;
        let mut camera = None;
        let mut every = None;
        // The last frame that had a record, for events that have none.
        let mut last = FrameRecord {
            stream: self.stream.to_string(),
            ..FrameRecord::default()
        };
        loop {
            let packet = match frames.recv_timeout(SILENCE) {
                Received::Item(packet) => packet,
                Received::Nothing => {
                    for news in self.source.news().drain(..) {
                        let event = Arc::new(source_event(&last, news));
                        self.publish(&SinkMessage::Event(event));
                    }
                    continue;
                }
                Received::Closed => break,
            };
            let frame = packet.meta.frame;
            let (size, dropped) = (packet.image.size(), frame - next_frame);
            next_frame = frame + 1;
            let plan = &packet.payload.plan;
            let mut record = self
                .builder
                .frame(&packet.meta, size, dropped, &packet.payload);
            record.cut = scene
                .replace(plan.scene)
                .is_some_and(|before| before != plan.scene);
            record.camera = step(&mut camera, plan, record.cut);
            record.events = self.area_events(&packet);
            let news: Vec<SourceEvent> = self.source.news().drain(..).collect();
            for news in news {
                let event = source_event(&record, news);
                record.events.push(event);
            }
            if let Some(now) = plan.every
                && every.replace(now).is_some_and(|before| before != now)
            {
                record.events.push(interval_event(&record, now));
            }
            self.analyzer.update(&mut record, size);
            let age = packet.meta.captured_at.elapsed();
            let age_ms = age.as_secs_f64() * 1000.0;
            record.timings = Some(TimingsRecord {
                end_to_end_ms: rounded(age_ms, 1000.0),
            });
            let looked = plan.region != Region::None;
            let tracks = record.tracks.iter().flatten();
            let tracks = tracks.map(|track| track.bbox.into()).collect();
            self.feedback
                .published(frame, tracks, looked.then_some(age_ms));
            last = FrameRecord {
                stream: record.stream.clone(),
                frame: record.frame,
                pts_ms: record.pts_ms,
                ..FrameRecord::default()
            };
            let record = Arc::new(record);
            self.publish(&SinkMessage::Frame(Arc::clone(&record)));
            if let Some(segmentation) = &packet.payload.segmentation {
                for sink in &self.masks {
                    let _ = sink.send((packet.meta.clone(), Arc::clone(&segmentation.mask)));
                }
            }
            self.end_to_end.record(packet.meta.captured_at.elapsed());
            self.emitted.fetch_add(1, Ordering::SeqCst);
            if !self.pictures.is_empty() {
                let analyzed = AnalyzedFrame {
                    prediction: packet.payload.clone(),
                    record,
                    counters: self.analyzer.counters(),
                };
                let packet = packet.with(analyzed);
                for pictures in &self.pictures {
                    let _ = pictures.send(packet.clone());
                }
            }
            self.progress.frame_done();
        }
    }

    fn publish(&self, message: &SinkMessage) {
        for sink in &self.records {
            let _ = sink.send(message.clone());
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
fn source_event(record: &FrameRecord, news: SourceEvent) -> EventRecord {
    match news {
        SourceEvent::Lost => EventRecord::of(record, "source", "new", "lost"),
        SourceEvent::Back(lasted) => EventRecord {
            duration_ms: Some((lasted.as_secs_f64() * 1000.0).round()),
            ..EventRecord::of(record, "source", "end", "back")
        },
    }
}

/// Frames are looked at more often now, or less.
fn interval_event(record: &FrameRecord, every: u32) -> EventRecord {
    EventRecord {
        counts: Some(BTreeMap::from([("every".to_owned(), every.into())])),
        ..EventRecord::of(record, "interval", "update", "interval")
    }
}
