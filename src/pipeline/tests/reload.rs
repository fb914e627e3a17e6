//! Reloads of a stream: every stage changes at the same frame.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::scripted::{Seen, publish_params, run_reached, sink, worker};
use crate::pipeline::reload::StreamUpdate;
use crate::pipeline::stages::publish::{PublishUpdate, ReloadEvent};
use crate::pipeline::stages::write::GuardedSink;
use crate::pipeline::threads::{Pipeline, RunningStream, StreamSinks};
use crate::pipeline::{InferenceWorker, RunReport};
use crate::sink::{ErrorGuard, OnError, RecordSink, SinkError};

type Frames = Arc<Mutex<Vec<u64>>>;

/// Workers that note the frames that they get.
fn noting(frames: &Frames, count: usize) -> Vec<Box<dyn InferenceWorker>> {
    let noting = |_| {
        let frames = Arc::clone(frames);
        worker(move |frame| {
            frames.lock().expect("no panic").push(frame);
            Ok(())
        })
    };
    (0..count).map(noting).collect()
}

fn sorted(frames: &Frames) -> Vec<u64> {
    let mut frames = frames.lock().expect("no panic").clone();
    frames.sort_unstable();
    frames
}

/// What a stream changes over to: other workers, and another sink.
struct Next {
    workers: Vec<Box<dyn InferenceWorker>>,
    sink: Box<dyn RecordSink>,
}

/// Has the stream take `next` over; gives what is told the first frame.
fn reload(running: &RunningStream, next: Next) -> Receiver<u64> {
    let (applied, is_applied) = channel();
    let mut threads = running.sinks.lock().expect("no panic");
    let new = GuardedSink::new("4-new", next.sink);
    let sinks = StreamSinks {
        records: vec![("new".into(), "4-new".to_owned(), new)],
        ..StreamSinks::default()
    };
    let added = threads.start(sinks).expect("a thread");
    let removed = ["sink".into()].into();
    let removals = threads.removals(&removed);
    let update = StreamUpdate {
        gating: None,
        workers: Some(next.workers),
        publish: PublishUpdate {
            params: publish_params(),
            added,
            removed,
            removals: removals.into_iter().map(|removal| removal.stop).collect(),
            event: ReloadEvent::default(),
            applied,
        },
    };
    running.handover.give(update).expect("it runs");
    is_applied
}

/// Runs 40 frames with the workers and the sink of `first`, from frame 7 on with those of `next`.
fn reload_at_7(
    drops: bool,
    first: Next,
    next: Next,
    change: impl FnOnce(&mut Pipeline),
) -> (RunReport, Option<u64>) {
    let (started, running) = channel();
    let (told, applied) = channel();
    let mut next = Some(next);
    let before = move |frame| {
        if let Some(next) = next.take_if(|_| frame == 7) {
            let patience = Duration::from_secs(60);
            let running = running.recv_timeout(patience).expect("it is started");
            let _ = told.send(reload(&running, next));
        }
        None
    };
    let tell = move |running| {
        let _ = started.send(running);
    };
    let sinks = vec![first.sink];
    let report = run_reached(40, drops, before, first.workers, sinks, change, tell);
    let applied = applied.recv().expect("frame 7 came");
    (report, applied.recv().ok())
}

#[test]
fn workers_and_sinks_change_at_the_same_frame() {
    for count in [1, 3] {
        let (old, new) = (Frames::default(), Frames::default());
        let (seen_before, first) = sink(|_| Ok(()));
        let (seen_after, second) = sink(|_| Ok(()));
        let first = Next {
            workers: noting(&old, count),
            sink: first,
        };
        let second = Next {
            workers: noting(&new, count),
            sink: second,
        };
        let (report, applied) = reload_at_7(false, first, second, |_| {});
        assert_eq!(applied, Some(7));
        assert_eq!(report.failures, []);
        assert_eq!(report.end.frames.emitted, 40);
        assert_eq!(sorted(&old), (0..7).collect::<Vec<_>>());
        assert_eq!(sorted(&new), (7..40).collect::<Vec<_>>());
        let Seen {
            frames,
            events,
            end,
        } = &*seen_before.lock().expect("no panic");
        assert_eq!(*frames, (0..7).collect::<Vec<_>>());
        assert!(events.is_empty());
        let end = end.as_ref().expect("a last record");
        assert_eq!((&*end.reason, end.frames.emitted), ("removed", 7));
        let Seen {
            frames,
            events,
            end,
        } = &*seen_after.lock().expect("no panic");
        assert_eq!(*frames, (7..40).collect::<Vec<_>>());
        assert_eq!(*events, [("reload".to_owned(), Some(7))]);
        let end = end.as_ref().expect("a last record");
        assert_eq!((&*end.reason, end.frames.emitted), ("eof", 40));
    }
}

/// It would pause for longer and longer, and be a failure of the run in the end.
#[test]
fn a_sink_that_cannot_write_can_be_removed() {
    let full = || SinkError::from_io("disk", std::io::ErrorKind::StorageFull.into());
    let frames = Frames::default();
    let next = |sink| Next {
        workers: noting(&frames, 1),
        sink,
    };
    let (_, failing) = sink(move |_| Err(full()));
    let (seen, second) = sink(|_| Ok(()));
    let (report, applied) = reload_at_7(true, next(failing), next(second), |pipeline| {
        pipeline.sinks.records[0].2.guard = ErrorGuard::new("failing", OnError::Retry);
    });
    assert!(applied.is_some_and(|frame| frame >= 7), "{applied:?}");
    assert_eq!(report.failures, []);
    assert_eq!(seen.lock().expect("no panic").frames.last(), Some(&39));
}
