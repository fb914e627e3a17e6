//! The threads of a run with sources, workers and sinks that misbehave: exact counts, and an end.

mod reload;
mod scripted;
mod second_network;

use crate::capture::Captured;
use crate::sink::SinkError;
use scripted::{Seen, run, run_scripted, sink, worker};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

#[test]
fn live_frames_that_nobody_is_ready_for_are_dropped_and_counted() {
    // The worker has taken frame 0 before the source gives frame 1, and does not let go of it
    // before the source has ended.
    let (taken_tx, taken_rx): (Sender<()>, Receiver<()>) = channel();
    let (ended_tx, ended_rx) = channel();
    let before = move |frame| {
        if frame == 1 {
            taken_rx.recv().expect("the worker lives");
        }
        if frame == 10 {
            ended_tx.send(()).expect("the worker lives");
        }
    };
    let work = move |frame| {
        if frame == 0 {
            taken_tx.send(()).expect("the source lives");
            ended_rx.recv().expect("the source lives");
        }
        Ok(())
    };
    let (seen, sink) = sink(|_| Ok(()));
    let report = run(10, true, before, vec![worker(work)], vec![sink]);
    assert_eq!(seen.lock().expect("no panic").frames, [0, 9]);
    assert_eq!(report.end.frames.dropped.queue, 8);
    assert_eq!(report.failures, []);
}

fn lost() -> Captured {
    Captured::Lost {
        why: "unplugged".to_owned(),
    }
}

fn back() -> Captured {
    Captured::Back {
        lasted: Duration::from_secs(3),
    }
}

#[test]
fn a_lost_source_is_published_while_no_frame_comes_and_its_return_with_the_first_frame() {
    // The source gives its next frame only after the sink has got the loss.
    let (written_tx, written_rx) = channel();
    let mut steps = [Some(lost()), Some(back())].into_iter();
    let mut is_waiting = false;
    let before = move |frame| {
        let wait = || {
            let patience = Duration::from_secs(60);
            written_rx.recv_timeout(patience).expect("it is published");
        };
        if frame != 1 {
            return None;
        }
        // For the first frame's record, then for the loss.
        if !std::mem::replace(&mut is_waiting, true) || steps.len() == 1 {
            wait();
        }
        steps.next().flatten()
    };
    let (seen, sink) = sink(move |_| {
        let _ = written_tx.send(());
        Ok(())
    });
    let report = run_scripted(3, true, before, vec![worker(|_| Ok(()))], vec![sink]);
    let seen = seen.lock().expect("no panic");
    assert_eq!(report.failures, []);
    assert_eq!(seen.frames.first(), Some(&0));
    let first = seen.frames.get(1).copied();
    let expected = [("lost".to_owned(), None), ("back".to_owned(), first)];
    assert_eq!(seen.events, expected);
}

#[test]
fn frames_that_are_dropped_take_no_event_with_them() {
    // The worker holds frame 0 while the others come, and with them two outages.
    let (taken_tx, taken_rx) = channel();
    let (ended_tx, ended_rx) = channel();
    let mut steps = [lost(), back(), lost(), back()].into_iter();
    let before = move |frame| {
        if frame == 1 && steps.len() == 4 {
            taken_rx.recv().expect("the worker lives");
        }
        let step = match (frame, steps.len()) {
            (2, 4 | 3) | (5, 2 | 1) => steps.next(),
            _ => None,
        };
        if frame == 7 && step.is_none() {
            ended_tx.send(()).expect("the worker lives");
        }
        step
    };
    let work = move |frame| {
        if frame == 0 {
            taken_tx.send(()).expect("the source lives");
            ended_rx.recv().expect("the source lives");
        }
        Ok(())
    };
    let (seen, sink) = sink(|_| Ok(()));
    let report = run_scripted(7, true, before, vec![worker(work)], vec![sink]);
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.frames, [0, 6]);
    let expected = ["lost", "back", "lost", "back"].map(|name| (name.to_owned(), Some(6)));
    assert_eq!(seen.events, expected);
    assert_eq!(report.end.frames.dropped.queue, 5);
}

#[test]
fn a_replay_loses_nothing_however_slow_its_sink() {
    // How far the source may be ahead of the sink: one frame in the sink's hands, four in its
    // edge, one in the publisher's hands, two results, two in the capture edge, one in the
    // source's hands.
    const AHEAD: u64 = 1 + 4 + 1 + 2 + 2 + 1;
    let given = Arc::new(AtomicU64::new(0));
    let (full_tx, full_rx) = channel();
    let counting = Arc::clone(&given);
    let before = move |frame| {
        counting.store(frame, Ordering::SeqCst);
        if frame == AHEAD - 1 {
            let _ = full_tx.send(());
        }
    };
    let (seen, sink) = sink(move |frame| {
        if frame == 0 {
            // Stuck until everything before it is full.
            full_rx.recv().expect("the source lives");
        }
        assert!(given.load(Ordering::SeqCst) < frame + AHEAD);
        Ok(())
    });
    let report = run(100, false, before, vec![worker(|_| Ok(()))], vec![sink]);
    assert_eq!(report.failures, []);
    assert_eq!(report.end.frames.emitted, 100);
    assert_eq!(seen.lock().expect("no panic").frames.len(), 100);
}

#[test]
fn a_panicking_worker_ends_the_run_by_name_and_its_frame_is_counted() {
    let work = |frame| {
        assert!(frame != 3, "cannot count to three");
        Ok(())
    };
    let (seen, sink) = sink(|_| Ok(()));
    let report = run(1_000_000, false, |_| {}, vec![worker(work)], vec![sink]);
    assert_eq!(
        report.failures[0].to_string(),
        "1-infer-0: panicked: cannot count to three"
    );
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.frames, [0, 1, 2]);
    let end = seen.end.as_ref().expect("the sink still works");
    assert_eq!(end.reason, "failed");
    assert_eq!(end.frames.emitted, 3);
    assert!(end.frames.dropped.shutdown >= 1);
}

#[test]
fn a_panicking_source_ends_its_run_by_name_and_what_came_before_is_kept() {
    let (seen, sink) = sink(|_| Ok(()));
    let before = |frame| assert!(frame != 3, "damaged beyond measure");
    let report = run(10, false, before, vec![worker(|_| Ok(()))], vec![sink]);
    assert_eq!(
        report.failures[0].to_string(),
        "0-capture: panicked: damaged beyond measure"
    );
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.frames, [0, 1, 2]);
    assert_eq!(seen.end.as_ref().expect("an end").reason, "failed");
}

#[test]
fn one_of_two_workers_may_fail_and_the_other_drains() {
    let work = |frame| {
        if frame == 5 {
            Err("tired".to_owned())
        } else {
            Ok(())
        }
    };
    let (seen, sink) = sink(|_| Ok(()));
    let workers = vec![worker(work), worker(work)];
    let report = run(1_000_000, false, |_| {}, workers, vec![sink]);
    assert!(report.failures[0].why.contains("tired"));
    let seen = seen.lock().expect("no panic");
    assert!(!seen.frames.contains(&5));
    assert!(seen.frames.is_sorted());
    assert!(seen.end.is_some());
}

#[test]
fn a_full_disk_fails_the_run_and_other_sinks_get_their_end() {
    let (_, full) = sink(|frame| {
        if frame < 2 {
            return Ok(());
        }
        Err(SinkError::Io {
            target: "disk".to_owned(),
            source: std::io::Error::other("full"),
        })
    });
    let (seen, good) = sink(|_| Ok(()));
    let report = run(
        1_000_000,
        false,
        |_| {},
        vec![worker(|_| Ok(()))],
        vec![full, good],
    );
    assert_eq!(
        report.failures[0].to_string(),
        "4-sink: cannot write disk: full"
    );
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.frames.len() as u64, report.end.frames.emitted);
    assert!(seen.end.is_some());
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let (_, sink) = sink(|_| {
        Err(SinkError::ReaderGone {
            target: "pipe".to_owned(),
        })
    });
    let report = run(
        1_000_000,
        false,
        |_| {},
        vec![worker(|_| Ok(()))],
        vec![sink],
    );
    assert_eq!(report.failures, []);
    assert_eq!(report.end.reason, "reader_gone");
}

#[test]
fn a_panicking_sink_is_named() {
    let (_, sink) = sink(|_| panic!("no paper"));
    let report = run(
        1_000_000,
        false,
        |_| {},
        vec![worker(|_| Ok(()))],
        vec![sink],
    );
    assert_eq!(report.failures[0].to_string(), "4-sink: panicked: no paper");
}

#[test]
fn a_sink_that_is_stuck_misses_frames_of_a_live_source_but_no_event() {
    // The sink holds its first frame until the source has given all: three outages among them.
    const FRAMES: u64 = 1000;
    let (ended_tx, ended_rx) = channel();
    let (taken_tx, taken_rx) = channel();
    let mut is_taken = false;
    let mut steps = [100, 200, 300]
        .into_iter()
        .flat_map(|at| [(at, lost()), (at, back())]);
    let mut step = steps.next();
    let (written_tx, written_rx) = channel();
    let before = move |frame| {
        if frame == 1 && !std::mem::replace(&mut is_taken, true) {
            taken_rx.recv().expect("the sink lives");
        }
        if let Some((_, captured)) = step.take_if(|(at, _)| *at == frame) {
            step = steps.next();
            return Some(captured);
        }
        // Each is published before the next one is given.
        if frame > 0 {
            let _ = written_rx.recv_timeout(Duration::from_secs(60));
        }
        if frame == FRAMES {
            let _ = ended_tx.send(());
        }
        None
    };
    let (seen, stuck) = sink(move |frame| {
        if frame == 0 {
            taken_tx.send(()).expect("the source lives");
            ended_rx.recv().expect("the source lives");
        }
        Ok(())
    });
    let (all, quick) = sink(move |_| {
        let _ = written_tx.send(());
        Ok(())
    });
    let workers = vec![worker(|_| Ok(()))];
    let report = run_scripted(FRAMES, true, before, workers, vec![stuck, quick]);
    assert_eq!(report.failures, []);
    let (seen, all) = (
        seen.lock().expect("no panic"),
        all.lock().expect("no panic"),
    );
    assert_eq!(all.frames.len() as u64, report.end.frames.emitted);
    let missed: u64 = report.sink_drops.iter().map(|(_, missed)| missed).sum();
    assert!(missed > 500, "{missed}");
    assert_eq!(seen.frames.len() as u64 + missed, report.end.frames.emitted);
    assert!(seen.frames.is_sorted());
    let names = |seen: &Seen| {
        seen.events
            .iter()
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&seen), ["lost", "back"].repeat(3));
    assert_eq!(names(&all), names(&seen));
    assert!(seen.end.is_some());
}
