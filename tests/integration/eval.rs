//! Figures against the reference evaluators'.

use std::fs;
use std::path::Path;

use crate::support::{complaints, run, shared, stderr};
use image::{Rgb, RgbImage};
use serde_json::Value;

/// The COCO API's own parity set, if it is at hand.
#[test]
fn boxes_have_cocos_twelve_figures() {
    let Some(dir) = shared("coco_eval") else {
        return;
    };
    let path = |name: &str| dir.join(name).display().to_string();
    let output = run(&[
        "eval",
        "detection",
        "--coco",
        &path("instances_val2014_100.json"),
        "--results",
        &path("instances_val2014_fakebbox100_results.json"),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split_whitespace().nth(1))
        .collect();
    let expected = [
        "0.505", "0.697", "0.573", "0.586", "0.519", "0.501", "0.387", "0.594", "0.595", "0.640",
        "0.566", "0.564",
    ];
    assert_eq!(figures, expected);
}

#[test]
fn bad_truth_and_results_are_one_line_each() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("room");
    write(
        "truth.json",
        r#"{"images":[{"id":1}],"categories":[{"id":1}],"annotations":[]}"#,
    );
    write(
        "results.json",
        r#"[{"image_id":7,"category_id":1,"bbox":[0,0,1,1],"score":1}]"#,
    );
    write("cut.json", r#"[{"image_id":7,"#);
    write("gt.txt", "1,1,0,0,5\n");
    let cases: [(&[&str], &str); 5] = [
        (
            &[
                "detection",
                "--coco",
                &path("none.json"),
                "--results",
                &path("results.json"),
            ],
            "No such file",
        ),
        (
            &[
                "detection",
                "--coco",
                &path("truth.json"),
                "--results",
                &path("cut.json"),
            ],
            "EOF",
        ),
        (
            &[
                "detection",
                "--coco",
                &path("truth.json"),
                "--results",
                &path("results.json"),
            ],
            "without annotations",
        ),
        (
            &["tracking", "--mot", &path("")],
            "line 1: expected frame,id",
        ),
        (
            &["tracking", "--mot", &path("truth.json")],
            "Not a directory",
        ),
    ];
    for (arguments, expected) in cases {
        let output = run(&[&["eval"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(expected), "{said:?}");
    }
}

/// Writes annotations of three objects in two sizes, and results that have one of each and a false one.
fn small_and_large(dir: &Path) -> [String; 2] {
    let truth = r#"{"images":[{"id":1}],"categories":[{"id":1}],"annotations":[
        {"image_id":1,"category_id":1,"area":400,"bbox":[0,0,20,20]},
        {"image_id":1,"category_id":1,"area":400,"bbox":[50,0,20,20]},
        {"image_id":1,"category_id":1,"area":40000,"bbox":[100,0,200,200]}]}"#;
    let results = r#"[
        {"image_id":1,"category_id":1,"bbox":[0,0,20,20],"score":0.9},
        {"image_id":1,"category_id":1,"bbox":[400,0,150,150],"score":0.8},
        {"image_id":1,"category_id":1,"bbox":[100,0,200,144],"score":0.7}]"#;
    [("truth.json", truth), ("results.json", results)].map(|(name, text)| {
        let path = dir.join(name);
        fs::write(&path, text).expect("room");
        path.display().to_string()
    })
}

#[test]
fn sizes_and_curves_of_boxes() {
    let dir = tempfile::tempdir().expect("a folder");
    let [truth, results] = small_and_large(dir.path());
    let plot = dir.path().join("plot.png");
    let base = [
        "eval",
        "detection",
        "--coco",
        &truth,
        "--results",
        &results,
        "--by-size",
    ];
    let plotted = ["--pr-curve", &plot.display().to_string()];
    let output = run(&[&base[..], &plotted].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    let row = |name: &str| -> Vec<&str> {
        let line = text.lines().find(|line| line.starts_with(name));
        line.expect("a row").split_whitespace().collect()
    };
    // size, area (some words), AP, AP50, AP75, AR, objects, share and its sign.
    assert_eq!(
        row("small ")[4..],
        ["0.505", "0.505", "0.505", "0.500", "2", "67", "%"]
    );
    // An IoU of 144 / 200 is enough for five of ten thresholds; the false one comes before it.
    assert_eq!(
        row("large ")[3..],
        ["0.250", "0.500", "0.000", "0.500", "1", "33", "%"]
    );
    assert_eq!(row("medium ")[4..], ["-", "-", "-", "-", "0", "0", "%"]);
    let picture = image::open(&plot).expect("a picture").into_rgb8();
    for colour in [[0, 114, 178], [213, 94, 0], [0, 158, 115]] {
        let drawn = picture.pixels().filter(|p| p.0 == colour).count();
        assert!(drawn > 300, "{drawn} pixels of {colour:?}");
    }
    let output = run(&[&base[..], &["--json"]].concat());
    let line: Value = serde_json::from_slice(&output.stdout).expect("one line");
    assert_eq!(line["by_size"]["small"]["AP"], line["AP_small"]);
    assert_eq!(line["by_size"]["all"]["objects"], 3);
    assert_eq!(line["by_size"]["medium"]["AP"], -1.0);
    for (file, code) in [("nowhere/plot.png", 1), ("plot", 2), ("plot.txt", 2)] {
        let output = run(&[&base[..], &["--pr-curve", file]].concat());
        assert_eq!(output.status.code(), Some(code), "{file}");
        assert_eq!(complaints(&output).len(), 1, "{file}");
    }
}

const TINY: &str = "tests/data/tiny/replay.yaml";

/// A MOTChallenge sequence of a few frames, with one object.
fn sequence(dir: &Path, frames: u32) {
    fs::create_dir_all(dir.join("img1")).expect("room");
    fs::create_dir_all(dir.join("gt")).expect("room");
    fs::write(dir.join("seqinfo.ini"), "[Sequence]\nname=x\nframeRate=5\n").expect("room");
    let mut truth = String::new();
    for i in 1..=frames {
        let path = dir.join(format!("img1/{i:06}.png"));
        let picture = RgbImage::from_pixel(64, 64, Rgb([(40 * i) as u8; 3]));
        picture.save(path).expect("room");
        truth += &format!("{i},1,16,16,32,32,1,1,1\n");
    }
    fs::write(dir.join("gt/gt.txt"), truth).expect("room");
}

#[test]
fn a_pipeline_is_evaluated_on_sequences() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, frames) in [("B", 6), ("A", 4)] {
        sequence(&dir.path().join(name), frames);
    }
    let frames = dir.path().display().to_string();
    let track = ["--set", "track={confirm_frames: 1}"];
    let live = run(&[
        &[
            "eval", "tracking", "--run", TINY, "--frames", &frames, "--json",
        ],
        &track[..],
    ]
    .concat());
    assert_eq!(live.status.code(), Some(0), "{}", stderr(&live));
    // The same in steps: tracks of each sequence, then their evaluation.
    for name in ["A", "B"] {
        let input = dir.path().join(name).join("img1").display().to_string();
        let output = dir.path().join(name).join("test.txt").display().to_string();
        let arguments = ["--input", &input, "--format", "mot", "--output", &output];
        let fps = ["--set", "source.images.fps=5"];
        let tracked = run(&[&[TINY], &arguments[..], &track, &fps].concat());
        assert_eq!(tracked.status.code(), Some(0), "{}", stderr(&tracked));
    }
    let saved = run(&["eval", "tracking", "--mot", &frames, "--json"]);
    assert_eq!(saved.status.code(), Some(0), "{}", stderr(&saved));
    assert_eq!(live.stdout, saved.stdout);
    let text = String::from_utf8(live.stdout).expect("text");
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let names: Vec<&Value> = lines.iter().map(|line| &line["sequence"]).collect();
    assert_eq!(names, ["A", "B"]);
    assert_eq!(lines[1]["objects"], 6);
    assert!(
        lines[1]["missed"].as_u64().expect("a count")
            + lines[1]["false_positives"].as_u64().expect("a count")
            < 12
    );
}

#[test]
fn sequences_that_cannot_be_run_are_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    for name in ["no_frames", "no_rate", "bad_rate", "good"] {
        sequence(&path(name), 1);
    }
    fs::remove_dir_all(path("no_frames/img1")).expect("made");
    fs::remove_file(path("no_rate/seqinfo.ini")).expect("made");
    fs::write(path("bad_rate/seqinfo.ini"), "frameRate=fast\n").expect("room");
    let shown = |name: &str| path(name).display().to_string();
    let track = "track={}";
    let cases: [(&str, &[&str], &str); 7] = [
        ("no_frames", &[track], "no_frames: there is no folder img1"),
        (
            "no_rate",
            &[track],
            "no_rate: there is no seqinfo.ini with the frame rate",
        ),
        (
            "bad_rate",
            &[track],
            "seqinfo.ini: line 1: frameRate: expected frames per second",
        ),
        ("good", &[], "it does not track; add `track: {}`"),
        (
            "good",
            &[track, "sinks.0.jsonl.path=a"],
            "`eval tracking` does not use `sinks`",
        ),
        (
            "good",
            &[track, "source.video.loop=true"],
            "has no effect together with --frames",
        ),
        ("good/img1", &[track], "no gt.txt found"),
    ];
    for (name, sets, expected) in cases {
        let frames = shown(name);
        let mut arguments = vec!["eval", "tracking", "--run", TINY, "--frames", &frames];
        arguments.extend(sets.iter().flat_map(|set| ["--set", *set]));
        let output = run(&arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr(&output)
        );
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(expected), "{said:?}");
    }
    // The rate may be given instead.
    let frames = shown("no_rate");
    let rate = ["--set", "source.images.fps=10", "--set", track];
    let output = run(&[
        &["eval", "tracking", "--run", TINY, "--frames", &frames],
        &rate[..],
    ]
    .concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
