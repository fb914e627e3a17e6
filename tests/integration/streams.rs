//! Several streams in one process.

use std::path::Path;
use std::process::Output;

use crate::support::{complaints, file, of_type, records, run, stderr};
use serde_json::Value;

/// Writes a pipeline with these `streams` (YAML, at two spaces) and runs it with `arguments`.
fn run_streams(dir: &Path, beside: &str, streams: &str, arguments: &[&str]) -> Output {
    let path = dir.join("streams.yaml");
    let model = file("models/ssdlite_mobilenet_v2_coco_int8.yaml");
    let text = format!("model: {}\n{beside}\nstreams:\n{streams}", model.display());
    std::fs::write(&path, text).expect("room");
    let path = path.to_str().expect("UTF-8");
    run(&[&[path, "--headless"], arguments].concat())
}

fn clip() -> String {
    file("assets/street.mp4").display().to_string()
}

fn of_stream<'a>(records: &'a [Value], stream: &str) -> Vec<&'a Value> {
    records.iter().filter(|r| r["stream"] == stream).collect()
}

#[test]
fn each_stream_gives_what_it_gives_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let clip = clip();
    let output = run_streams(
        dir.path(),
        "detect: { score_threshold: 0.4, classes: { person: {}, car: {} } }",
        &format!(
            "  - stream: all\n    source: {{ video: {{ path: {clip} }} }}\n    \
             detect: {{ score_threshold: 0.3 }}\n  \
             - stream: people\n    source: {{ video: {{ path: {clip} }} }}\n    track: {{}}\n"
        ),
        &["--frames", "120"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    for (stream, settings) in [
        (
            "all",
            [
                "detect.score_threshold=0.3",
                "detect.classes={}",
                "stream=all",
            ]
            .as_slice(),
        ),
        (
            "people",
            &[
                "detect.classes={person: {}, car: {}}",
                "track={}",
                "stream=people",
            ],
        ),
    ] {
        let mut arguments = vec!["pipelines/ssd_replay.yaml", "--headless", "--frames", "120"];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        let alone = run(&arguments);
        let alone = records(&alone.stdout);
        let together = of_stream(&got, stream);
        let frames = |all: Vec<Value>| -> Vec<Value> {
            all.into_iter().filter(|r| r["type"] != "run").collect()
        };
        let together = frames(together.into_iter().cloned().collect());
        let alone = frames(alone);
        assert_eq!(together.len(), alone.len(), "{stream}");
        for (ours, theirs) in together.iter().zip(&alone) {
            assert_eq!(ours, theirs, "{stream}");
        }
    }
}

#[test]
fn one_that_fails_leaves_the_others_running() {
    let dir = tempfile::tempdir().expect("a folder");
    let clip = clip();
    let cut = dir.path().join("cut.mp4");
    std::fs::write(&cut, b"not a clip").expect("room");
    let output = run_streams(
        dir.path(),
        "",
        &format!(
            "  - stream: missing\n    source: {{ camera: {{ device: /dev/nowhere, reconnect: lost }} }}\n  \
             - stream: broken\n    source: {{ video: {{ path: {} }} }}\n  \
             - stream: whole\n    source: {{ video: {{ path: {clip} }} }}\n  \
             - stream: full\n    source: {{ video: {{ path: {clip} }} }}\n    \
             sinks: [ jsonl: {{ path: /dev/full }} ]\n",
            cut.display()
        ),
        &[],
    );
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let got = records(&output.stdout);
    let whole = of_stream(&got, "whole");
    let end = whole.last().expect("records");
    assert_eq!(
        (&end["type"], &end["reason"]),
        (&"end".into(), &"eof".into())
    );
    assert_eq!(end["frames"]["emitted"], 250);
    let said = complaints(&output);
    assert_eq!(said.len(), 3, "{said:?}");
    for (line, words) in said.iter().zip(["missing: camera", "broken: ", "full: "]) {
        assert!(line.contains(words), "{said:?}");
    }
    assert!(stderr(&output).contains("whole: 250 frames captured, 250 emitted"));
}

#[test]
#[ignore = "takes long; CI runs it"]
fn a_flood_does_not_starve_a_camera() {
    let dir = tempfile::tempdir().expect("a folder");
    let clip = clip();
    // Three that are read as fast as the machine can, beside a camera of 25 frames a second.
    let flood: String = (0..3)
        .map(|i| format!("  - stream: flood{i}\n    source: {{ video: {{ path: {clip} }} }}\n"))
        .collect();
    let output = run_streams(
        dir.path(),
        "inference: { workers: 1 }",
        &format!(
            "{flood}  - stream: camera\n    source: {{ video: {{ path: {clip}, pace: live }} }}\n"
        ),
        &["--frames", "120"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    // While all four want the network, each has a quarter of it: from the camera's first frame to
    // the end of the first stream.
    let is_first = |r: &Value| r["stream"] == "camera" && r["type"] == "frame";
    let from = got
        .iter()
        .position(is_first)
        .expect("a frame of the camera");
    let until = got.iter().position(|r| r["type"] == "end").expect("an end");
    assert!(
        from < until,
        "the camera had to wait for the end of another"
    );
    let count = |stream: &str| {
        let all = of_stream(&got[from..until], stream);
        all.iter().filter(|r| r["type"] == "frame").count()
    };
    let (camera, floods) = (
        count("camera"),
        [count("flood0"), count("flood1"), count("flood2")],
    );
    let most = *floods.iter().max().expect("three");
    // A camera cannot have more than it gives; a machine that is fast enough leaves it all.
    let number = |r: &Value| r["frame"].as_u64().unwrap_or_default() as usize;
    let gives = of_stream(&got[..until], "camera")
        .last()
        .map_or(0, |r| number(r) - number(&got[from]));
    let fair = (most / 3).min(gives / 2);
    assert!(camera >= fair, "{camera} of {gives} beside {floods:?}");
    assert!(!of_type(&got, "frame").is_empty());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let input = run(&[
        "pipelines/multi_camera.yaml",
        "--headless",
        "--input",
        "assets/street.mp4",
    ]);
    assert_eq!(input.status.code(), Some(2));
    assert_eq!(complaints(&input).len(), 1, "{}", stderr(&input));
    let bench = run(&["bench", "pipelines/multi_camera.yaml"]);
    assert_eq!(bench.status.code(), Some(2));
    assert!(complaints(&bench)[0].contains("several streams"));
}
