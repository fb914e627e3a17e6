//! Sources, workers and sinks that do what a test says, and runs of them.

use crate::analytics::AreaRules;
use crate::capture::{CaptureError, Captured, Source, SourceInfo};
use crate::flow::Health;
use crate::flow::Latency;
use crate::flow::StopSignal;
use crate::frame::{InferencePlan, MediaTime, Packet};
use crate::pipeline::progress::Progress;
use crate::pipeline::stages::capture::{OpenSource, Pace};
use crate::pipeline::stages::publish::PublishParams;
use crate::pipeline::stages::write::GuardedSink;
use crate::pipeline::threads::{Pipeline, RunningStream, StreamSinks};
use crate::pipeline::{Analyzer, InferenceWorker, RunReport};
use crate::postprocess::Prediction;
use crate::records::{EndRecord, EventRecord, FrameRecord, RecordBuilder};
use crate::sink::{RecordSink, SinkError};
use mobilens_image::{Image, PixelFormat, SizePx, YuvColour};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Gives `frames` frames. Before each, `before` is called with its number and may put something else
/// in its place; it is then called again.
pub(super) struct Scripted<F> {
    info: SourceInfo,
    frames: u64,
    next: u64,
    before: F,
}

impl<F: FnMut(u64) -> Option<Captured> + Send> Source for Scripted<F> {
    fn info(&self) -> &SourceInfo {
        &self.info
    }
    fn next(&mut self, _: &StopSignal) -> Result<Captured, CaptureError> {
        if let Some(captured) = (self.before)(self.next) {
            return Ok(captured);
        }
        if self.next == self.frames {
            return Ok(Captured::End);
        }
        let pts = MediaTime {
            ticks: self.next as i64,
            rate_hz: 25,
        };
        self.next += 1;
        let size = SizePx {
            width: 2,
            height: 2,
        };
        let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, vec![0; 12]);
        Ok(Captured::Frame {
            image: image.expect("twelve bytes"),
            pts,
            name: None,
        })
    }
    fn rewind(&mut self) -> Result<(), CaptureError> {
        unreachable!("not looped")
    }
}

/// Does `work` with the number of each frame.
pub(super) struct Scripting<F>(F);

impl<F: FnMut(u64) -> Result<(), String> + Send> InferenceWorker for Scripting<F> {
    fn run(&mut self, packet: Packet<InferencePlan>) -> Result<Packet<Prediction>, String> {
        (self.0)(packet.meta.frame)?;
        Ok(packet.with(Prediction::default()))
    }
}

/// What a sink was given.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) frames: Vec<u64>,
    /// Events with the frame that they came with, if they came with one.
    pub(super) events: Vec<(String, Option<u64>)>,
    pub(super) end: Option<EndRecord>,
}

/// Keeps what it is given, after asking `may` whether it can.
pub(super) struct Keeping<F> {
    seen: Arc<Mutex<Seen>>,
    may: F,
}

impl<F: FnMut(u64) -> Result<(), SinkError> + Send> RecordSink for Keeping<F> {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        (self.may)(record.frame)?;
        let mut seen = self.seen.lock().expect("no panic");
        seen.frames.push(record.frame);
        let events = record.events.iter();
        seen.events
            .extend(events.map(|event| (event.name.clone(), Some(record.frame))));
        Ok(())
    }
    fn event(&mut self, event: &EventRecord) -> Result<(), SinkError> {
        let mut seen = self.seen.lock().expect("no panic");
        seen.events.push((event.name.clone(), None));
        drop(seen);
        (self.may)(event.frame)
    }
    fn finish(&mut self, record: &EndRecord) -> Result<(), SinkError> {
        self.seen.lock().expect("no panic").end = Some(record.clone());
        Ok(())
    }
}

pub(super) fn sink<F>(may: F) -> (Arc<Mutex<Seen>>, Box<dyn RecordSink>)
where
    F: FnMut(u64) -> Result<(), SinkError> + Send + 'static,
{
    let seen = Arc::<Mutex<Seen>>::default();
    let keeping = Keeping {
        seen: Arc::clone(&seen),
        may,
    };
    (seen, Box::new(keeping))
}

pub(super) fn run(
    frames: u64,
    drops: bool,
    mut before: impl FnMut(u64) + Send + 'static,
    workers: Vec<Box<dyn InferenceWorker>>,
    sinks: Vec<Box<dyn RecordSink>>,
) -> RunReport {
    let before = move |frame| {
        before(frame);
        None
    };
    run_scripted(frames, drops, before, workers, sinks)
}

pub(super) fn run_scripted(
    frames: u64,
    drops: bool,
    before: impl FnMut(u64) -> Option<Captured> + Send + 'static,
    workers: Vec<Box<dyn InferenceWorker>>,
    sinks: Vec<Box<dyn RecordSink>>,
) -> RunReport {
    run_changed(frames, drops, before, workers, sinks, |_| {})
}

/// Like [`run_scripted`], with a pipeline that `change` has changed.
pub(super) fn run_changed(
    frames: u64,
    drops: bool,
    before: impl FnMut(u64) -> Option<Captured> + Send + 'static,
    workers: Vec<Box<dyn InferenceWorker>>,
    sinks: Vec<Box<dyn RecordSink>>,
    change: impl FnOnce(&mut Pipeline),
) -> RunReport {
    run_reached(frames, drops, before, workers, sinks, change, |_| {})
}

/// Like [`run_changed`]; `started` gets what reaches into the running stream.
pub(super) fn run_reached(
    frames: u64,
    drops: bool,
    before: impl FnMut(u64) -> Option<Captured> + Send + 'static,
    workers: Vec<Box<dyn InferenceWorker>>,
    sinks: Vec<Box<dyn RecordSink>>,
    change: impl FnOnce(&mut Pipeline),
    started: impl FnOnce(RunningStream),
) -> RunReport {
    let info = SourceInfo {
        kind: "video",
        uri: "scripted".to_owned(),
        size: None,
        fps: None,
        frames: None,
        live: false,
    };

    let mut pipeline = Pipeline {
        stream: "test".into(),
        source: OpenSource {
            source: Box::new(Scripted {
                info,
                frames,
                next: 0,
                before,
            }),
            pace: Pace::Fast,
            drops,
            looping: false,
            telemetry: None,
        },
        frame_limit: None,
        workers,
        latency: ["preprocess", "infer", "postprocess"]
            .map(Latency::new)
            .to_vec(),
        slot: None,
        max_age: Duration::from_secs(3600),
        publish: publish_params(),
        track_classifiers: Vec::new(),
        gating: None,
        feedback: Arc::default(),
        sinks: StreamSinks {
            records: sinks
                .into_iter()
                .map(|sink| {
                    let sink = GuardedSink::new("4-sink", sink);
                    ("sink".into(), "4-sink".to_owned(), sink)
                })
                .collect(),
            ..StreamSinks::default()
        },
        progress: Progress::hidden(),
        sandbox: false,
        health: Health::default().add("test"),
    };
    change(&mut pipeline);
    let report = pipeline
        .run(None, &StopSignal::new(), started)
        .expect("threads");
    let frames = report.end.frames;
    assert_eq!(
        frames.captured,
        frames.emitted + frames.dropped.total(),
        "{frames:?}"
    );
    report
}

/// Publishing that neither tracks nor counts.
pub(super) fn publish_params() -> PublishParams {
    PublishParams {
        builder: RecordBuilder::default(),
        rules: AreaRules::new(Vec::new()),
        analyzer: Analyzer::default(),
        drawing: Arc::default(),
    }
}

pub(super) fn worker(
    work: impl FnMut(u64) -> Result<(), String> + Send + 'static,
) -> Box<dyn InferenceWorker> {
    Box::new(Scripting(work))
}
