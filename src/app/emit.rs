//! Where frames leave the trunk: back in order, each becomes a record for the sinks and, if
//! somebody draws, goes on to the overlay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::progress::Progress;
use crate::analytics::AreaRules;
use crate::flow::{Latency, Ordered, Sender};
use crate::frame::{FrameMeta, Packet};
use crate::postprocess::{ClassMask, Prediction};
use crate::records::{FrameRecord, Recorder, TimingsRecord};

/// Makes records and hands them round.
pub struct Emitter {
    /// What makes records.
    pub recorder: Recorder,
    /// Edges to the record sinks. One that closes has failed by itself and is passed over.
    pub records: Vec<Sender<Arc<FrameRecord>>>,
    /// What makes events of areas.
    pub rules: AreaRules,
    /// Edges to the mask sinks, which fail by themselves too.
    pub masks: Vec<Sender<(FrameMeta, Arc<ClassMask>)>>,
    /// Edge to the overlay.
    pub pictures: Option<Sender<Packet<Prediction>>>,
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
        while let Some(packet) = frames.recv() {
            let frame = packet.meta.frame;
            let (size, dropped) = (packet.image.size(), frame - next_frame);
            let recorder = &self.recorder;
            let mut record = recorder.frame(&packet.meta, size, dropped, &packet.payload);
            next_frame = frame + 1;
            if let Some(segmentation) = &packet.payload.segmentation {
                let events = self.rules.update(&segmentation.mask, packet.meta.pts);
                let records = events.iter().map(|event| {
                    let rule = &self.rules.rules()[event.rule];
                    recorder.area_event(&packet.meta, event, rule)
                });
                record.events = records.collect();
            }
            let age = packet.meta.captured_at.elapsed();
            record.timings = Some(TimingsRecord {
                end_to_end_ms: (age.as_secs_f64() * 1e6).round() / 1e3,
            });
            let record = Arc::new(record);
            for sink in &self.records {
                let _ = sink.send(Arc::clone(&record));
            }
            if let Some(segmentation) = &packet.payload.segmentation {
                for sink in &self.masks {
                    let _ = sink.send((packet.meta.clone(), Arc::clone(&segmentation.mask)));
                }
            }
            self.end_to_end.record(packet.meta.captured_at.elapsed());
            self.emitted.fetch_add(1, Ordering::SeqCst);
            if let Some(pictures) = &self.pictures {
                let _ = pictures.send(packet);
            }
            self.progress.frame_done();
        }
    }
}
