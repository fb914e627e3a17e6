//! Where frames leave the trunk: back in order, each becomes a record for the sinks and, if
//! somebody draws, goes on to the overlay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::analyst::{Analyst, rect_of};
use super::feed::{FeedCounts, SourceNews};
use super::progress::Progress;
use super::show::Finding;
use crate::analytics::AreaRules;
use crate::attention::Feedback;
use crate::flow::{Latency, Ordered, Received, Sender};
use crate::frame::{FrameMeta, Look, LookAt, Packet, Similarity};
use crate::postprocess::{ClassMask, Prediction};
use crate::records::{EventRecord, FrameRecord, Recorder, TimingsRecord, rounded};

/// How long a source's loss may stay untold while no frame comes.
const SILENCE: Duration = Duration::from_millis(200);

/// What record sinks are told.
#[derive(Clone, Debug)]
pub enum Told {
    /// A frame, with its events.
    Frame(Arc<FrameRecord>),
    /// An event without a frame.
    Event(Arc<EventRecord>),
}

/// Makes records and hands them round.
pub struct Emitter {
    /// Name of the stream.
    pub stream: Arc<str>,
    /// What makes records.
    pub recorder: Recorder,
    /// Edges to the record sinks. One that closes has failed by itself and is passed over.
    pub records: Vec<Sender<Told>>,
    /// What makes events of areas.
    pub rules: AreaRules,
    /// Edges to the mask sinks, which fail by themselves too.
    pub masks: Vec<Sender<(FrameMeta, Arc<ClassMask>)>>,
    /// What makes tracks and their events.
    pub analyst: Analyst,
    /// What befell the source.
    pub feed: Arc<FeedCounts>,
    /// Told of each record.
    pub feedback: Arc<Feedback>,
    /// Edges to those who draw.
    pub pictures: Vec<Sender<Packet<Finding>>>,
    /// Frames that got a record.
    pub emitted: Arc<AtomicU64>,
    /// From capture until the record was handed round.
    pub end_to_end: Latency,
    /// Told of each frame.
    pub progress: Progress,
}

impl Emitter {
    /// Works until all workers are gone.
    pub fn run(mut self, mut frames: Ordered<Packet<Prediction>>) {
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
                    for news in self.feed.news().drain(..) {
                        let event = Arc::new(source_event(&last, news));
                        self.tell(&Told::Event(event));
                    }
                    continue;
                }
                Received::Closed => break,
            };
            let frame = packet.meta.frame;
            let (size, dropped) = (packet.image.size(), frame - next_frame);
            next_frame = frame + 1;
            let look = &packet.payload.look;
            let mut record = self
                .recorder
                .frame(&packet.meta, size, dropped, &packet.payload);
            record.cut = scene
                .replace(look.scene)
                .is_some_and(|before| before != look.scene);
            record.camera = step(&mut camera, look, record.cut);
            record.events = self.area_events(&packet);
            let news: Vec<SourceNews> = self.feed.news().drain(..).collect();
            for news in news {
                let event = source_event(&record, news);
                record.events.push(event);
            }
            if let Some(now) = look.every
                && every.replace(now).is_some_and(|before| before != now)
            {
                record.events.push(interval_event(&record, now));
            }
            self.analyst.update(&mut record, size);
            let age = packet.meta.captured_at.elapsed();
            let age_ms = age.as_secs_f64() * 1000.0;
            record.timings = Some(TimingsRecord {
                end_to_end_ms: rounded(age_ms, 1000.0),
            });
            let looked = look.at != LookAt::Nothing;
            let tracks = record
                .tracks
                .iter()
                .flatten()
                .map(|track| rect_of(&track.bbox));
            let tracks = tracks.collect();
            self.feedback.done(frame, tracks, looked.then_some(age_ms));
            last = FrameRecord {
                stream: record.stream.clone(),
                frame: record.frame,
                pts_ms: record.pts_ms,
                ..FrameRecord::default()
            };
            let record = Arc::new(record);
            self.tell(&Told::Frame(Arc::clone(&record)));
            if let Some(segmentation) = &packet.payload.segmentation {
                for sink in &self.masks {
                    let _ = sink.send((packet.meta.clone(), Arc::clone(&segmentation.mask)));
                }
            }
            self.end_to_end.record(packet.meta.captured_at.elapsed());
            self.emitted.fetch_add(1, Ordering::SeqCst);
            if !self.pictures.is_empty() {
                let finding = Finding {
                    prediction: packet.payload.clone(),
                    record,
                    board: self.analyst.board(),
                };
                let packet = packet.with(finding);
                for pictures in &self.pictures {
                    let _ = pictures.send(packet.clone());
                }
            }
            self.progress.frame_done();
        }
    }

    fn tell(&self, told: &Told) {
        for sink in &self.records {
            let _ = sink.send(told.clone());
        }
    }

    fn area_events(&mut self, packet: &Packet<Prediction>) -> Vec<EventRecord> {
        let Some(segmentation) = &packet.payload.segmentation else {
            return Vec::new();
        };
        let events = self.rules.update(&segmentation.mask, packet.meta.pts);
        let records = events.iter().map(|event| {
            let rule = &self.rules.rules()[event.rule];
            self.recorder.area_event(&packet.meta, event, rule)
        });
        records.collect()
    }
}

/// How the camera moved since the record before; nothing is known of that over a cut.
fn step(before: &mut Option<Similarity>, look: &Look, is_cut: bool) -> Option<[f64; 4]> {
    let now = look.camera?;
    let before = before.replace(now).filter(|_| !is_cut)?;
    let Similarity { a, b, x, y } = before.inverse()?.then(&now);
    let (a, b) = (rounded(a, 1e7), rounded(b, 1e7));
    Some([a, b, rounded(x, 1000.0), rounded(y, 1000.0)])
}

/// The source was lost, or is back.
fn source_event(record: &FrameRecord, news: SourceNews) -> EventRecord {
    match news {
        SourceNews::Lost => EventRecord::of(record, "source", "new", "lost"),
        SourceNews::Back(lasted) => EventRecord {
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
