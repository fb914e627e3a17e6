//! The event store: filled by a run or an analysis, asked by `mobilens events`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::{complaints, of_type, records, run, stderr};
use mobilens::store::{APPLICATION_ID, Store};
use rusqlite::Connection;
use serde_json::Value;

/// The counting pipeline on the beginning of its clip, with a store at `db` and its records at `jsonl`.
fn replay(db: &Path, jsonl: &Path, more: &[&str]) -> Output {
    let store = format!("sinks.0={{store: {{path: {}}}}}", db.display());
    let jsonl = jsonl.display().to_string();
    let arguments = [
        "pipelines/ssd_counting.yaml",
        "--pace",
        "fast",
        "--frames",
        "120",
        "--output",
        &jsonl,
        "--set",
        &store,
    ];
    let output = run(&[&arguments, more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

fn ask(db: &Path, more: &[&str]) -> Output {
    let db = db.display().to_string();
    run(&[&["events", &*db], more].concat())
}

/// What a query prints, which must succeed.
fn asked(db: &Path, more: &[&str]) -> String {
    let output = ask(db, more);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn rows(db: &Path, more: &[&str]) -> Vec<Value> {
    records(asked(db, &[&["--json"], more].concat()).as_bytes())
}

/// The rows without what an analysis cannot know.
fn without_pictures(mut rows: Vec<Value>) -> Vec<Value> {
    for row in &mut rows {
        row.as_object_mut()
            .expect("an object")
            .remove("has_thumbnail");
    }
    rows
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

#[test]
fn a_replay_fills_it_and_an_analysis_of_its_records_gives_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = |name: &str| dir.path().join(name);
    let (db, jsonl) = (place("events.db"), place("records.jsonl"));
    replay(&db, &jsonl, &[]);
    let lines = records(&fs::read(&jsonl).expect("is there"));
    let all = rows(&db, &[]);

    // One row a track, stay and crossing.
    let frames = of_type(&lines, "frame");
    let tracks = frames
        .iter()
        .flat_map(|frame| frame["tracks"].as_array().into_iter().flatten());
    let ids: BTreeSet<u64> = tracks
        .filter_map(|track| track["track_id"].as_u64())
        .collect();
    let mut expected = BTreeMap::from([("track", ids.len())]);
    for event in of_type(&lines, "event") {
        let begins = event["phase"] == "new" || event["kind"] == "line";
        if begins {
            *expected.entry(text(event, "kind")).or_default() += 1;
        }
    }
    let mut got = BTreeMap::<&str, usize>::new();
    for row in &all {
        *got.entry(text(row, "kind")).or_default() += 1;
        assert!(row["ended"].as_bool().expect("a flag"), "{row}");
        assert_eq!(row["stream"], "ssd_counting");
    }
    assert_eq!(got, expected);
    assert!(got["track"] > 2 && got["zone"] > 0, "{got:?}");

    // A track is where and as sure as its detections.
    for row in all.iter().filter(|row| row["kind"] == "track") {
        let of_track = |frame: &&Value| {
            let seen = frame["detections"].as_array().expect("a list").iter();
            seen.chain(frame["faint"].as_array().into_iter().flatten())
                .find(|d| d["track_id"] == row["track_id"])
                .cloned()
        };
        let in_track = |frame: &&&Value| {
            let tracks = frame["tracks"].as_array().expect("a list").iter();
            let mut ids = tracks.map(|track| &track["track_id"]);
            ids.any(|id| *id == row["track_id"])
        };
        let in_frames: Vec<_> = frames.iter().filter(in_track).collect();
        assert_eq!(row["frame"], in_frames[0]["frame"]);
        assert_eq!(
            row["start_ms"].as_f64(),
            in_frames[0]["pts_ms"].as_f64().map(f64::round)
        );
        let seen: Vec<Value> = in_frames.iter().copied().filter_map(of_track).collect();
        let scores = seen.iter().filter_map(|d| d["score"].as_f64());
        assert_eq!(row["score"].as_f64(), scores.reduce(f64::max));
        assert!(seen.iter().any(|d| d["bbox"] == row["bbox"]));
    }

    // What a search wants, newest first.
    let cars = rows(
        &db,
        &[
            "--label",
            "car",
            "--stream",
            "ssd_counting",
            "--kind",
            "track",
        ],
    );
    assert!(!cars.is_empty() && cars.iter().all(|row| row["label"] == "car"));
    let starts: Vec<_> = all.iter().map(|row| row["start_ms"].as_i64()).collect();
    assert!(starts.is_sorted_by(|a, b| a >= b), "{starts:?}");
    let later = rows(&db, &["--since", "0:00:01", "--until", "0:00:02"]);
    let in_second =
        |row: &&Value| (1000..2000).contains(&row["start_ms"].as_i64().expect("a time"));
    let found: Vec<&Value> = all.iter().filter(in_second).collect();
    assert_eq!(later.iter().collect::<Vec<_>>(), found);
    let crossing = rows(&db, &["--zone", "crossing", "--text", "ZONE"]);
    assert!(!crossing.is_empty() && crossing.iter().all(|row| row["zone"] == "crossing"));
    assert_eq!(rows(&db, &["--since", "2000-01-01"]), Vec::<Value>::new());
    assert_eq!(rows(&db, &["--limit", "2"]), all[..2]);

    // From the records alone, and once more in its place.
    let again = place("again.db");
    let path = |path: &Path| path.display().to_string();
    let analyze = [
        "analyze",
        &path(&jsonl),
        "pipelines/ssd_counting.yaml",
        "--store",
        &path(&again),
    ];
    for _ in 0..2 {
        let output = run(&analyze);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        let mut analyzed = rows(&again, &[]);
        assert!(analyzed.iter().all(|row| row["has_thumbnail"] == false));
        let first = analyzed
            .iter()
            .filter_map(|row| row["id"].as_i64())
            .min()
            .expect("rows")
            - 1;
        for row in &mut analyzed {
            for key in ["id", "track_event"] {
                if let Some(id) = row[key].as_i64() {
                    row[key] = (id - first).into();
                }
            }
        }
        assert_eq!(without_pictures(analyzed), without_pictures(all.clone()));
    }
    let dated = run(&[&analyze[..], &["--began", "2026-03-01T18:30:00Z"]].concat());
    assert_eq!(dated.status.code(), Some(0), "{}", stderr(&dated));
    let dated = rows(&again, &["--since", "2026-02-28", "--until", "2026-03-02"]);
    assert_eq!(dated.len(), all.len(), "beside those without a date");
    assert!(
        text(&dated[0], "start").starts_with("2026-03-01T18:30:"),
        "{}",
        dated[0]
    );
    assert_eq!(rows(&again, &[]).len(), 2 * all.len());
}

#[test]
fn events_come_as_a_table_csv_coco_and_pictures() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = |name: &str| dir.path().join(name);
    let db = place("events.db");
    replay(&db, &place("records.jsonl"), &[]);
    let all = rows(&db, &[]);
    let table = asked(&db, &[]);
    assert_eq!(table.lines().count(), all.len() + 1, "{table}");
    assert!(
        table.contains("  0:00:0") && table.contains("crossing"),
        "{table}"
    );
    let csv = asked(&db, &["--csv"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), all.len() + 1);
    let columns = lines[0].split(',').count();
    assert!(
        lines.iter().all(|line| line.split(',').count() == columns),
        "{csv}"
    );
    let (coco, pictures) = (place("events.json"), place("pictures"));
    let path = |path: &Path| path.display().to_string();
    let said = asked(
        &db,
        &["--coco", &path(&coco), "--thumbnails", &path(&pictures)],
    );
    assert_eq!(said, "");
    let coco: Value = serde_json::from_slice(&fs::read(&coco).expect("is there")).expect("JSON");
    let list = |key: &str| coco[key].as_array().expect("a list").clone();
    let tracks = all.iter().filter(|row| row["kind"] == "track").count();
    assert_eq!(
        (list("images").len(), list("annotations").len()),
        (tracks, tracks)
    );
    for (picture, object) in list("images").iter().zip(&list("annotations")) {
        let file = pictures.join(text(picture, "file_name"));
        let decoded = image::open(&file).expect("a JPEG file");
        assert_eq!(picture["width"], decoded.width());
        assert_eq!(picture["height"], decoded.height());
        assert!(decoded.width().max(decoded.height()) <= 320);
        let bbox: Vec<f64> = serde_json::from_value(object["bbox"].clone()).expect("a box");
        assert!(
            bbox[0] >= 0.0 && bbox[0] + bbox[2] <= f64::from(decoded.width()) + 0.01,
            "{bbox:?}"
        );
        let of = |c: &Value| c["id"] == object["category_id"];
        let name = list("categories").into_iter().find(of).expect("is named")["name"].clone();
        let row = all
            .iter()
            .find(|row| row["id"] == picture["id"])
            .expect("a row");
        assert_eq!(row["label"], name);
    }
    // Stays have the pictures of their tracks.
    assert_eq!(
        fs::read_dir(&pictures).expect("a folder").count(),
        all.len()
    );
}

#[test]
fn clips_and_recordings_are_found_from_events() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = |name: &str| dir.path().join(name).display().to_string();
    let db = dir.path().join("events.db");
    let video = format!("sinks.1={{video: {{dir: {}, split_s: 2}}}}", place("all"));
    let clips = format!(
        "sinks.2={{clips: {{dir: {}, before_ms: 1000, after_ms: 200}}}}",
        place("clips")
    );
    replay(
        &db,
        &dir.path().join("records.jsonl"),
        &["--set", &video, "--set", &clips],
    );
    let all = rows(&db, &[]);
    let mut clipped = 0;
    for row in &all {
        let file = text(row, "recording");
        assert!(Path::new(file).is_file(), "{row}");
        let at = row["recording_ms"].as_f64().expect("a time");
        assert!((0.0..4000.0).contains(&at), "{row}");
        if row["kind"] == "track" {
            assert!(row["clip"].is_null());
            continue;
        }
        clipped += 1;
        let name = format!(
            "{}-{}-{}-{}.mp4",
            text(row, "kind"),
            text(row, "zone"),
            row["frame"],
            row["track_id"]
        );
        let clip = text(row, "clip");
        assert!(clip.ends_with(&name) && Path::new(clip).is_file(), "{row}");
        let begins = row["clip_ms"].as_f64().expect("a time");
        // From the keyframe before.
        let least = row["pts_ms"].as_f64().expect("a time").min(1000.0);
        assert!((least..4000.0).contains(&begins), "{row}");
    }
    assert!(clipped > 0);
    let files: BTreeSet<&str> = all.iter().map(|row| text(row, "recording")).collect();
    assert!(files.len() > 1, "{files:?}");
}

#[test]
fn several_streams_write_to_one_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = dir.path().join("events.db");
    let root = crate::support::root().display();
    let yaml = format!(
        "model: {root}/models/ssdlite_mobilenet_v2_coco_int8.yaml\n\
         detect: {{ score_threshold: 0.4 }}\n\
         track: {{}}\n\
         streams:\n\
         - {{ stream: north, source: {{ video: {{ path: {root}/assets/street.mp4 }} }} }}\n\
         - {{ stream: south, source: {{ video: {{ path: {root}/assets/street.mp4 }} }} }}\n\
         sinks:\n\
         - store: {{ path: events.db }}\n"
    );
    let pipeline = dir.path().join("pipeline.yaml");
    fs::write(&pipeline, yaml).expect("room");
    let pipeline = pipeline.display().to_string();
    let output = run(&[&pipeline, "--frames", "100", "--output", "/dev/null"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let of = |stream: &str| {
        let mut all = rows(&db, &["--stream", stream]);
        for row in &mut all {
            for key in ["id", "stream", "track_event"] {
                row.as_object_mut().expect("an object").remove(key);
            }
        }
        all
    };
    let north = of("north");
    assert!(!north.is_empty() && rows(&db, &[]).len() == 2 * north.len());
    assert_eq!(north, of("south"));
    assert_eq!(
        Store::open_read_only(&db)
            .expect("it opens")
            .check_integrity()
            .expect("it is read"),
        "ok"
    );
}

#[test]
fn what_is_no_event_store_is_one_line_and_exit_status_2() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = |name: &str| dir.path().join(name);
    fs::write(place("text.db"), "not a database\n".repeat(500)).expect("room");
    fs::write(place("empty.db"), "").expect("room");
    drop(Store::open(&place("newer.db"), false).expect("it is made"));
    let newer = Connection::open(place("newer.db")).expect("it is there");
    newer
        .pragma_update(None, "user_version", 99)
        .expect("it is set");
    let foreign = Connection::open(place("foreign.db")).expect("it is made");
    foreign.execute_batch("CREATE TABLE t (a)").expect("room");
    drop((newer, foreign));
    for (name, expected) in [
        ("none.db", "no such event store"),
        ("text.db", "not an event store of mobilens"),
        ("empty.db", "not an event store of mobilens"),
        ("foreign.db", "not an event store of mobilens"),
        (
            "newer.db",
            "an event store of a newer mobilens (schema 99; this one knows 1)",
        ),
    ] {
        let output = ask(&place(name), &[]);
        let said = complaints(&output);
        assert_eq!(
            (output.status.code(), said.len()),
            (Some(2), 1),
            "{name}: {}",
            stderr(&output)
        );
        assert!(
            said[0].ends_with(&format!("{name}: {expected}")),
            "{said:?}"
        );
    }
    assert!(!place("none.db").exists());
    // Nothing of them is overwritten by a run.
    for name in ["text.db", "foreign.db", "newer.db"] {
        let before = fs::read(place(name)).expect("is there");
        let store = format!("sinks.0={{store: {{path: {}}}}}", place(name).display());
        let output = run(&[
            "pipelines/ssd_counting.yaml",
            "--headless",
            "--frames",
            "1",
            "--set",
            &store,
        ]);
        let said = complaints(&output);
        assert_eq!(
            (output.status.code(), said.len()),
            (Some(1), 1),
            "{}",
            stderr(&output)
        );
        assert_eq!(fs::read(place(name)).expect("is there"), before);
    }
    drop(Store::open(&place("events.db"), false).expect("it is made"));
    assert_eq!(rows(&place("events.db"), &[]), Vec::<Value>::new());
    for time in ["soon", "18:30", "2026-02-30"] {
        let output = ask(&place("events.db"), &["--since", time]);
        let said = complaints(&output);
        assert_eq!(
            (output.status.code(), said.len()),
            (Some(2), 1),
            "{}",
            stderr(&output)
        );
        assert!(
            said[0].contains(&format!("--since {time}: expected a time: ")),
            "{said:?}"
        );
    }
}

#[test]
fn a_folder_that_may_only_be_read_is_enough_to_ask() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = dir.path().join("100% of events?.db");
    let store = Store::open(&db, false).expect("it is made");
    drop(store);
    let connection = Connection::open(&db).expect("it is there");
    let application: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .expect("a number");
    assert_eq!(application, APPLICATION_ID);
    drop(connection);
    // As on a disk that is mounted for reading only, also for root.
    let mount = std::process::Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && exec \"$2\" events \"$3\""])
        .arg("sh")
        .arg(dir.path())
        .arg(env!("CARGO_BIN_EXE_mobilens"))
        .arg(&db)
        .output();
    match mount {
        Ok(output)
            if !stderr(&output).contains("unshare") && !stderr(&output).contains("mount:") =>
        {
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        }
        _ => crate::support::skip("unshare cannot mount in a namespace"),
    }
}
