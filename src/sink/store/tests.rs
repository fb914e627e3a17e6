use std::sync::Arc;

use mobilens_image::{Image, PixelFormat, SizePx, YuvColour};

use super::*;
use crate::records::{
    AttributeRecord, DetectionRecord, FrameCounts, ModelRecord, SourceRecord, TrackRecord,
    TrackStateRecord,
};
use crate::sink::OnError;
use crate::store::{EventFilter, StoredEvent};

fn run_record() -> RunRecord {
    RunRecord {
        schema: 1,
        tool: "test".to_owned(),
        stream: "gate".to_owned(),
        source: SourceRecord {
            kind: "video".to_owned(),
            uri: "clip.mp4".to_owned(),
            width: Some(640),
            height: Some(480),
            fps: None,
        },
        model: ModelRecord {
            name: "m".to_owned(),
            sha256: String::new(),
            input: [300, 300],
            precision: None,
            instruction_set: None,
        },
        models: Default::default(),
        labels: Vec::new(),
        classify_tracks: Default::default(),
        config_sha256: String::new(),
        analysis_sha256: None,
    }
}

fn params(path: &Path) -> StoreParams {
    StoreParams {
        path: path.to_owned(),
        thumbnails: true,
        sync: false,
        max_age: Duration::MAX,
        max_bytes: u64::MAX,
        is_live: false,
        began_ms: 0,
    }
}

fn open(path: &Path) -> StoreSink {
    StoreSink::open(params(path), &run_record()).expect("it opens")
}

/// A frame each 100 ms with objects: id, score, whether it is seen.
fn frame(number: u64, objects: &[(u64, f64, bool)]) -> FrameRecord {
    let mut record = FrameRecord {
        stream: "gate".to_owned(),
        frame: number,
        pts_ms: number as f64 * 100.0,
        tracks: Some(Vec::new()),
        ..FrameRecord::default()
    };
    for &(id, score, is_seen) in objects {
        let bbox = [100.0 + number as f64, 100.0, 80.0, 60.0].into();
        record.tracks.as_mut().expect("some").push(TrackRecord {
            track_id: id,
            category_id: 1,
            label: "person".to_owned(),
            model: None,
            state: if is_seen {
                TrackStateRecord::Seen
            } else {
                TrackStateRecord::Lost
            },
            bbox,
            attributes: Default::default(),
            keypoints: Vec::new(),
        });
        if is_seen {
            record.detections.push(DetectionRecord {
                label: "person".to_owned(),
                score,
                bbox,
                track_id: Some(id),
                ..DetectionRecord::default()
            });
        }
    }
    record
}

fn with_event(
    mut record: FrameRecord,
    kind: &str,
    phase: &str,
    name: &str,
    id: u64,
) -> FrameRecord {
    let event = EventRecord {
        track_id: Some(id).filter(|id| *id != 0),
        ..EventRecord::of(&record, kind, phase, name)
    };
    record.events.push(event);
    record
}

fn pictures() -> FramePictures {
    let size = SizePx {
        width: 640,
        height: 480,
    };
    let data = vec![90; 640 * 480 * 3];
    let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, data);
    FramePictures::new(Arc::new(image.expect("its bytes")))
}

/// All rows, oldest first.
fn rows(path: &Path) -> Vec<StoredEvent> {
    let store = Store::open_read_only(path).expect("it opens");
    let mut rows = Vec::new();
    let all = |event| {
        rows.push(event);
        true
    };
    store
        .events(&EventFilter::default(), all)
        .expect("it is read");
    rows.sort_by_key(|row: &StoredEvent| row.id);
    rows
}

/// Kind, place, begin, end and whether it is over.
fn spans(rows: &[StoredEvent]) -> Vec<(&str, &str, i64, i64, bool)> {
    let mut spans = Vec::new();
    for row in rows {
        let place = row.zone.as_deref().or(row.rule.as_deref());
        let place = place.unwrap_or_default();
        spans.push((&*row.kind, place, row.start_ms, row.end_ms, row.ended));
    }
    spans
}

#[test]
fn rows_are_there_while_events_last_and_end_with_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("events.db");
    let mut sink = open(&path);
    let now = SystemTime::now();
    let picture = pictures();
    let take = |sink: &mut StoreSink, record: FrameRecord| {
        sink.take_frame(&record, now, Some(&picture));
    };
    take(&mut sink, frame(0, &[(1, 0.5, true)]));
    take(
        &mut sink,
        with_event(frame(1, &[(1, 0.9, true)]), "zone", "new", "yard", 1),
    );
    let mut loiters = with_event(frame(2, &[(1, 0.7, true)]), "loiter", "new", "yard", 1);
    loiters.events[0].duration_ms = Some(100.0);
    take(&mut sink, loiters);
    sink.flush().expect("room");
    let first = rows(&path);
    let expected = [
        ("track", "", 0, 200, false),
        ("zone", "yard", 100, 200, false),
        ("loiter", "yard", 200, 200, false),
    ];
    assert_eq!(spans(&first), expected);
    take(
        &mut sink,
        with_event(
            frame(3, &[(1, 0.6, false), (2, 0.4, true)]),
            "line",
            "update",
            "gate",
            2,
        ),
    );
    let mut ends = with_event(frame(6, &[(2, 0.8, true)]), "zone", "end", "yard", 1);
    ends.events[0].duration_ms = Some(150.0);
    ends.events.push(EventRecord {
        kind: "loiter".to_owned(),
        ..ends.events[0].clone()
    });
    take(&mut sink, ends);
    for (kind, phase) in [("interval", "update"), ("sink", "new"), ("zone", "end")] {
        take(
            &mut sink,
            with_event(frame(7, &[(2, 0.8, true)]), kind, phase, "other", 0),
        );
    }
    sink.finish(&EndRecord::new("gate", None, FrameCounts::default()))
        .expect("room");
    let last = rows(&path);
    let expected = [
        ("track", "", 0, 200, true),
        ("zone", "yard", 100, 250, true),
        ("loiter", "yard", 200, 250, true),
        ("track", "", 300, 700, true),
        ("line", "gate", 300, 300, true),
    ];
    assert_eq!(spans(&last), expected);
    assert_eq!(
        last.iter().map(|row| row.id).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(
        last.iter().map(|row| row.track_event).collect::<Vec<_>>(),
        [None, Some(1), Some(1), None, Some(4)]
    );
    assert_eq!(
        last.iter().map(|row| row.score).collect::<Vec<_>>(),
        [0.9, 0.9, 0.9, 0.8, 0.4].map(Some)
    );
    assert_eq!((last[0].best_frame, last[3].best_frame), (Some(1), Some(6)));
    assert_eq!(last[0].bbox, Some([101.0, 100.0, 80.0, 60.0].into()));
    assert!(last.iter().all(|row| row.has_thumbnail));
    let store = Store::open_read_only(&path).expect("it opens");
    let of = |id| {
        store
            .thumbnail(id)
            .expect("it is read")
            .expect("there is one")
    };
    assert_eq!((of(1), of(4)), (of(3), of(5)), "that of the track");
    let back = image::load_from_memory(&of(1).jpeg).expect("a JPEG file");
    assert_eq!((back.width(), back.height()), (of(1).width, of(1).height));
}

#[test]
fn areas_and_outages_are_rows_and_attributes_are_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("events.db");
    let mut sink = open(&path);
    let now = SystemTime::now();
    let mut area = with_event(frame(1, &[]), "area_above", "new", "flood", 0);
    area.events[0].share = Some(0.4);
    area.events[0].label = Some("water".to_owned());
    sink.take_frame(&area, now, Some(&pictures()));
    let mut named = frame(2, &[(1, 0.5, true)]);
    let colour = AttributeRecord {
        label: "Red".to_owned(),
        ..AttributeRecord::default()
    };
    named.tracks.as_mut().expect("some")[0]
        .attributes
        .insert("colour".to_owned(), colour);
    sink.take_frame(&named, now, None);
    sink.take_event(&EventRecord::of(&named, "source", "new", "lost"));
    sink.flush().expect("room");
    assert_eq!(spans(&rows(&path))[2], ("source", "", 200, 200, false));
    let mut back = with_event(frame(50, &[]), "source", "end", "back", 0);
    back.events[0].duration_ms = Some(4000.0);
    sink.take_frame(&back, now, None);
    sink.take_frame(
        &with_event(frame(60, &[]), "area_above", "end", "flood", 0),
        now,
        None,
    );
    sink.finish(&EndRecord::new("gate", None, FrameCounts::default()))
        .expect("room");
    let last = rows(&path);
    let expected = [
        ("area_above", "flood", 100, 6000, true),
        ("track", "", 200, 200, true),
        ("source", "", 200, 4200, true),
    ];
    assert_eq!(spans(&last), expected);
    assert_eq!(
        (last[0].score, last[0].label.as_deref()),
        (Some(0.4), Some("water"))
    );
    assert_eq!(
        last.iter().map(|row| row.has_thumbnail).collect::<Vec<_>>(),
        [true, false, false]
    );
    assert_eq!(last[1].attributes["colour"], "Red");
    let filter = EventFilter {
        text: Some("RED person".to_owned()),
        ..EventFilter::default()
    };
    let store = Store::open_read_only(&path).expect("it opens");
    assert_eq!(store.count(&filter).expect("it is read"), 1);
}

#[test]
fn a_replay_takes_the_place_of_the_one_before_and_gives_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("events.db");
    let play = |flushes: u64| {
        let mut sink = open(&path);
        for number in 0..40 {
            let id = number / 10 + 1;
            let record = frame(number, &[(id, 0.5 + (number % 7) as f64 / 20.0, true)]);
            let phase = if number % 10 == 3 { "new" } else { "end" };
            let record = match number % 10 {
                3 | 8 => with_event(record, "zone", phase, "yard", id),
                _ => record,
            };
            sink.take_frame(&record, SystemTime::now(), Some(&pictures()));
            if number % flushes == 0 {
                sink.flush().expect("room");
            }
        }
        sink.finish(&EndRecord::new("gate", None, FrameCounts::default()))
            .expect("room");
        let mut rows = rows(&path);
        let first = rows[0].id - 1;
        for row in &mut rows {
            row.id -= first;
            row.track_event = row.track_event.map(|id| id - first);
        }
        rows
    };
    let first = play(100);
    assert_eq!(first.len(), 8);
    for flushes in [1, 2, 7] {
        assert_eq!(play(flushes), first, "however often it was written");
    }
}

#[test]
fn live_events_have_dates_and_a_run_that_was_killed_ends_with_the_next() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("events.db");
    let live = || {
        let params = StoreParams {
            is_live: true,
            ..params(&path)
        };
        StoreSink::open(params, &run_record()).expect("it opens")
    };
    let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(1_790_000_000_000 + ms);
    let mut sink = live();
    sink.take_frame(&frame(0, &[(1, 0.5, true)]), at(0), None);
    // The clock is set back by an hour while it lasts.
    sink.take_frame(
        &frame(10, &[(1, 0.5, true), (2, 0.5, true)]),
        at(1000) - Duration::from_secs(3600),
        None,
    );
    sink.flush().expect("room");
    drop(sink);
    let mut sink = live();
    sink.flush().expect("room");
    let rows = rows(&path);
    let begin = 1_790_000_000_000;
    let set = begin + 1000 - 3_600_000;
    assert_eq!(
        spans(&rows),
        [
            ("track", "", begin, begin + 1000, true),
            ("track", "", set, set, true)
        ]
    );
    assert_eq!(rows[0].start_text, "2026-09-21T14:13:20.000Z");
}

#[test]
fn clips_find_their_events_before_and_after_these_are_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("events.db");
    let mut sink = open(&path);
    let clip = |frame: u64, file: &str| RecordedFile::Clip {
        kind: "line".to_owned(),
        name: "gate".to_owned(),
        track_id: Some(1),
        frame,
        file: dir.path().join(file),
        offset_us: 2_500_000,
    };
    // Of an event that is not there yet, and of one that never comes.
    sink.take_file(clip(1, "clips/a.mp4"));
    sink.take_file(clip(77, "clips/none.mp4"));
    sink.take_file(RecordedFile::Begun {
        file: dir.path().join("all/1.mp4"),
        at_us: 40_000,
    });
    sink.flush().expect("room");
    sink.take_frame(
        &with_event(frame(1, &[(1, 0.5, true)]), "line", "update", "gate", 1),
        UNIX_EPOCH,
        None,
    );
    sink.take_frame(
        &with_event(frame(2, &[(1, 0.5, true)]), "line", "update", "gate", 1),
        UNIX_EPOCH,
        None,
    );
    sink.flush().expect("room");
    sink.take_file(clip(2, "clips/b.mp4"));
    sink.take_file(RecordedFile::Ended {
        file: dir.path().join("all/1.mp4"),
        at_us: 150_000,
    });
    sink.finish(&EndRecord::new("gate", None, FrameCounts::default()))
        .expect("room");
    let rows = rows(&path);
    let named = |file: &Option<String>| {
        file.as_ref()
            .map(|file| file.replace(&dir.path().display().to_string(), ""))
    };
    let found: Vec<_> = rows
        .iter()
        .map(|row| (named(&row.clip), row.clip_ms, named(&row.recording)))
        .collect();
    let all = || Some("/all/1.mp4".to_owned());
    assert_eq!(
        found,
        [
            (None, None, all()),
            (Some("/clips/a.mp4".to_owned()), Some(2500.0), all()),
            (Some("/clips/b.mp4".to_owned()), Some(2500.0), None),
        ]
    );
    assert_eq!(rows[1].recording_ms, Some(60.0));
}

#[test]
fn what_cannot_be_written_waits_within_limits() {
    let dir = tempfile::tempdir().expect("a folder");
    let gone = dir.path().join("gone");
    let path = gone.join("events.db");
    let mut guard = ErrorGuard::new("store", OnError::Retry);
    let mut sink =
        StoreSink::guarded(params(&path), &run_record(), &mut guard).expect("it is tried again");
    assert!(guard.is_failing());
    for number in 0..(MOST_WAITING as u64 + 100) {
        // Each object is seen once.
        sink.take_frame(&frame(number, &[(number, 0.5, true)]), UNIX_EPOCH, None);
    }
    sink.flush().expect_err("there is no folder");
    assert_eq!((sink.trim(), sink.trim()), (100, 0));
    std::fs::create_dir(&gone).expect("room");
    sink.flush().expect("now there is");
    let waited = rows(&path);
    assert_eq!((waited.len(), waited[0].frame), (MOST_WAITING, 100));
    // Another file in its place gets what lasts.
    drop(sink.store.take());
    std::fs::remove_dir_all(&gone).expect("it is there");
    std::fs::create_dir(&gone).expect("room");
    sink.finish(&EndRecord::new("gate", None, FrameCounts::default()))
        .expect("room");
    assert_eq!(rows(&path).len(), 1);
    // What is not ours ends the run.
    let text = dir.path().join("text.db");
    std::fs::write(&text, "x".repeat(5000)).expect("room");
    let error = StoreSink::guarded(params(&text), &run_record(), &mut guard).err();
    assert!(matches!(error, Some(SinkError::Store(_))), "{error:?}");
}
