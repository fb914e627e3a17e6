//! The binary on real input: the bundled clip, pictures, pipes, signals.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::support::{Process, complaints, end, file, mobilens, of_type, records, run, stderr};

const TINY: &str = "tests/data/tiny/replay.yaml";

#[test]
fn the_bundled_clip_is_seen_whole_and_the_same_by_any_number_of_workers() {
    let mut first: Option<Vec<u8>> = None;
    for workers in [1, 4] {
        let workers = format!("inference.workers={workers}");
        let output = run(&["pipelines/ssd_replay.yaml", "--headless", "--set", &workers]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let got = records(&output.stdout);
        let frames = of_type(&got, "frame");
        assert_eq!(frames.len(), 250);
        assert_eq!(end(&got)["frames"]["captured"], 250);
        let seen = |label: &str| {
            frames
                .iter()
                .flat_map(|f| f["detections"].as_array().expect("a list"))
                .filter(|d| d["label"] == label)
                .count()
        };
        assert!(seen("car") >= 20, "{} cars", seen("car"));
        assert!(seen("person") >= 20, "{} persons", seen("person"));
        match &first {
            None => first = Some(output.stdout),
            Some(first) => assert!(*first == output.stdout, "{workers}: other records"),
        }
    }
}

#[test]
fn a_reader_that_has_had_enough_ends_the_run_with_0() {
    let mut child = Process::start(
        mobilens()
            .args([TINY, "--set", "source.video.loop=true"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("a line");
    assert!(line.starts_with(r#"{"type":"run""#));
    drop(stdout);
    let mut said = String::new();
    let mut child_stderr = child.stderr.take().expect("piped");
    child_stderr.read_to_string(&mut said).expect("text");
    assert_eq!(child.ended().code(), Some(0), "{said}");
    assert!(said.contains("ended: reader_gone"), "{said}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_one_line_and_exit_1() {
    let output = run(&[TINY, "--output", "/dev/full"]);
    assert_eq!(output.status.code(), Some(1));
    let said = complaints(&output);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("cannot write /dev/full"), "{said:?}");
}

#[test]
#[cfg(unix)]
fn ctrl_c_in_the_middle_leaves_whole_lines_and_an_end() {
    let mut child = Process::start(
        mobilens()
            .args([TINY, "--set", "source.video.loop=true"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut text = String::new();
    for _ in 0..50 {
        stdout.read_line(&mut text).expect("a line");
    }
    child.interrupt();
    stdout.read_to_string(&mut text).expect("the rest");
    assert_eq!(child.ended().code(), Some(0));
    let got = records(text.as_bytes());
    assert_eq!(end(&got)["reason"], "interrupted");
    assert_eq!(
        of_type(&got, "frame").len() as u64,
        end(&got)["frames"]["emitted"].as_u64().expect("a count")
    );
}

#[test]
fn a_frame_limit_ends_the_run() {
    let output = run(&[TINY, "--frames", "7"]);
    let got = records(&output.stdout);
    assert_eq!(of_type(&got, "frame").len(), 7);
    assert_eq!(end(&got)["reason"], "frame_limit");
}

#[test]
fn pictures_in_pictures_and_coco_results_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let pictures = dir.path().join("in");
    std::fs::create_dir(&pictures).expect("a folder");
    for (i, name) in ["chelsea", "coffee"].iter().enumerate() {
        let from = file(&format!("tests/data/pictures/{name}.png"));
        std::fs::copy(from, pictures.join(format!("{:012}.png", i + 9))).expect("room");
    }
    let results = dir.path().join("results.json");
    let drawn = format!("sinks.1.images.dir={}", dir.path().join("out").display());
    let output = mobilens()
        .args([
            "pipelines/ssd_replay.yaml",
            "--headless",
            "--format",
            "coco",
        ])
        .args([
            "--set",
            "detect.score_threshold=0.001",
            "--set",
            "detect.classes={}",
        ])
        .args(["--set", &drawn, "--input"])
        .arg(&pictures)
        .arg("--output")
        .arg(&results)
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = std::fs::read_to_string(&results).expect("results");
    let got: Vec<serde_json::Value> = serde_json::from_str(&text).expect("an array");
    let best = |image: u64| {
        let of_image = got.iter().filter(|r| r["image_id"] == image);
        let score = |r: &serde_json::Value| r["score"].as_f64().expect("a number");
        of_image
            .max_by(|a, b| score(a).total_cmp(&score(b)))
            .expect("results")
    };
    // A cat, and a cup.
    assert_eq!(best(9)["category_id"], 17);
    assert!(
        got.iter()
            .any(|r| r["image_id"] == 10 && r["category_id"] == 47)
    );
    assert!(got.iter().filter(|r| r["image_id"] == 9).count() <= 100);
    assert_eq!(
        std::fs::read_dir(dir.path().join("out"))
            .expect("made")
            .count(),
        2
    );
}

#[test]
fn without_a_screen_and_a_camera_the_first_command_replays_once_and_ends() {
    let output = run(&[
        "pipelines/ssd_camera.yaml",
        "--pace",
        "fast",
        "--set",
        "source.camera={device: /dev/video-none}",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("DISPLAY is not set"), "{said}");
    assert!(said.contains("replaying street.mp4"), "{said}");
    assert_eq!(of_type(&records(&output.stdout), "frame").len(), 250);
}

#[test]
fn a_live_pace_drops_and_says_so_before_the_next_frame() {
    let output = run(&[
        "pipelines/ssd_replay.yaml",
        "--set",
        "source.video.pace=live",
        "--set",
        "inference.workers=1",
        "--frames",
        "60",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    let mut next = 0;
    for frame in of_type(&got, "frame") {
        let number = frame["frame"].as_u64().expect("a number");
        assert_eq!(frame["dropped_before"], number - next);
        next = number + 1;
    }
    end(&got);
}

#[test]
fn every_command_says_what_it_should() {
    let schema = run(&["schema"]);
    let parsed: serde_json::Value = serde_json::from_slice(&schema.stdout).expect("JSON");
    assert!(parsed["properties"]["detect"].is_object());
    let records = run(&["schema", "--records"]);
    assert!(String::from_utf8_lossy(&records.stdout).contains("dropped_before"));
    let bench = run(&[
        "bench",
        "tests/data/tiny/tiny.onnx",
        "--threads",
        "1",
        "--iters",
        "3",
        "--json",
    ]);
    let line: serde_json::Value = serde_json::from_slice(&bench.stdout).expect("one JSON line");
    assert!(line["median_ms"].as_f64().expect("a number") > 0.0);
    assert_eq!(
        (&line["threads"], &line["model"]),
        (&1.into(), &"tiny".into())
    );
    let bench = run(&["bench", TINY, "--json"]);
    let line: serde_json::Value = serde_json::from_slice(&bench.stdout).expect("one JSON line");
    assert!(line["stages"]["infer"]["p50_ms"].is_number());
    assert_eq!(run(&["devices"]).status.code(), Some(0));
    assert_eq!(run::<&str>(&[]).status.code(), Some(2));
}
