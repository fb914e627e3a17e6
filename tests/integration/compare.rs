//! `compare`: two runs on the same frames.

use std::fs;
use std::path::Path;

use crate::support::{complaints, run, stderr};
use serde_json::{Value, json};

const TINY: &str = "tests/data/tiny/replay.yaml";
const CLIP: &str = "assets/street.mp4";

/// The records of the tiny pipeline on some frames, in `dir`.
fn save(dir: &Path, name: &str) -> String {
    let path = dir.join(name).display().to_string();
    let output = run(&[TINY, "--frames", "5", "--output", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    path
}

/// Changes the records of `file`.
fn change(file: &str, mut change: impl FnMut(&mut Value)) {
    let text = fs::read_to_string(file).expect("saved");
    let lines = text.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).expect("a record");
        change(&mut record);
        record.to_string() + "\n"
    });
    fs::write(file, lines.collect::<String>()).expect("room");
}

#[test]
fn what_only_one_run_has_is_counted_and_drawn() {
    let dir = tempfile::tempdir().expect("a folder");
    let (a, b) = (save(dir.path(), "a.jsonl"), save(dir.path(), "b.jsonl"));
    let compare = |more: &[&str]| {
        let output = run(&[&["compare", &a, &b], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let line: Value = serde_json::from_str(&compare(&["--json"])).expect("one line");
    let all = json!({"both": 5, "only_a": 0, "only_b": 0, "score_difference": 0.0, "iou": 1.0});
    assert_eq!(line["all"], all);
    assert_eq!(line["classes"]["bright"], all);
    let frames = json!({"both": 5, "only_a": 0, "only_b": 0, "differing": 0});
    assert_eq!(line["frames"], frames);
    // One run misses an object, gives another a lower score, and has no frame 4.
    change(&b, |record| match record["frame"].as_u64() {
        Some(2) => record["detections"] = json!([]),
        Some(3) => record["detections"][0]["score"] = json!(0.0),
        Some(4) => record["frame"] = json!(5),
        _ => {}
    });
    let line: Value = serde_json::from_str(&compare(&["--json"])).expect("one line");
    let frames = json!({"both": 4, "only_a": 1, "only_b": 1, "differing": 1});
    assert_eq!(line["frames"], frames);
    let bright = &line["classes"]["bright"];
    let counts = ["both", "only_a", "only_b"].map(|key| bright[key].as_u64().expect("a count"));
    assert_eq!(counts, [3, 1, 0]);
    assert!(bright["score_difference"].as_f64().expect("a mean") < 0.0);
    // What is below the score is not compared.
    let line: Value =
        serde_json::from_str(&compare(&["--json", "--score", "0.01"])).expect("one line");
    assert_eq!(line["frames"]["differing"], 2);
    let table = compare(&[]);
    let row = table.lines().find(|l| l.starts_with("bright"));
    let row: Vec<&str> = row.expect("a row").split_whitespace().collect();
    assert_eq!(row[1..4], ["3", "1", "0"]);
    let out = dir.path().join("differences");
    let out_arg = out.display().to_string();
    let images = ["--images", &out_arg, "--input", CLIP, "--score", "0.01"];
    compare(&[&images[..], &["--max-images", "1"]].concat());
    let drawn = |out: &Path| fs::read_dir(out).expect("a folder").count();
    assert_eq!(drawn(&out), 1);
    compare(&images);
    assert_eq!(drawn(&out), 2);
    let picture = image::open(out.join("frame_000002.png")).expect("a picture");
    let picture = picture.into_rgb8();
    assert_eq!(picture.dimensions(), (640, 272));
    let orange = picture.pixels().filter(|p| p.0 == [230, 159, 0]).count();
    let blue = picture.pixels().filter(|p| p.0 == [0, 158, 255]).count();
    assert!(orange > 200 && orange > blue, "{orange} and {blue} pixels");
}

#[test]
fn what_cannot_be_compared_is_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (a, b) = (save(dir.path(), "a.jsonl"), save(dir.path(), "b.jsonl"));
    let (clip, size, missing) = (
        path("clip.jsonl"),
        path("size.jsonl"),
        path("missing.jsonl"),
    );
    for copy in [&clip, &size, &missing] {
        fs::copy(&a, copy).expect("room");
    }
    change(&clip, |record| {
        if record["type"] == "run" {
            record["source"]["uri"] = json!("other.mp4");
        }
    });
    change(&size, |record| {
        if record["type"] == "run" {
            record["source"]["width"] = json!(320);
        }
    });
    change(&missing, |record| match record["frame"].as_u64() {
        Some(0) => record["detections"] = json!([]),
        Some(4) => {
            record["frame"] = json!(400);
            record["detections"] = json!([]);
        }
        _ => {}
    });
    change(&b, |record| {
        if record["frame"] == 4 {
            record["frame"] = json!(400);
        }
    });
    fs::write(
        path("twice.jsonl"),
        fs::read_to_string(&a).expect("saved").repeat(2),
    )
    .expect("room");
    fs::write(path("empty.jsonl"), "").expect("room");
    fs::write(path("file"), "").expect("room");
    image::RgbImage::new(8, 8)
        .save(path("small.png"))
        .expect("room");
    let (small, out) = (path("small.png"), path("out"));
    let cases: [(&[&str], i32, &str); 9] = [
        (&[&a, &clip], 2, "is of street.mp4 (640x272)"),
        (
            &[&a, &size],
            2,
            "of street.mp4 (320x272); compare runs on the same frames",
        ),
        (&[&a, &path("none.jsonl")], 2, "none.jsonl: No such file"),
        (&[&a, &path("empty.jsonl")], 2, "it has no records"),
        (&[&a, &path("twice.jsonl")], 2, "a second run begins"),
        (&[&a, TINY], 2, "line 1: not a record"),
        (
            &[&a, &missing, "--images", &out, "--input", &small],
            2,
            "8x8, not that of",
        ),
        (
            &[&b, &missing, "--images", &out, "--input", CLIP],
            2,
            "it ends before frame 400",
        ),
        (
            &[&a, &missing, "--images", &path("file"), "--input", CLIP],
            1,
            "cannot write",
        ),
    ];
    for (arguments, code, expected) in cases {
        let output = run(&[&["compare"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(expected), "{said:?}");
    }
}
