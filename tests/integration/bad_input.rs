//! Bad input of every kind: one clear line, exit 1 or 2, never a panic, never a hang.

use std::fs;
use std::path::Path;

use crate::support::{self, complaints, file, mobilens, run, stderr};
use image::RgbImage;

/// Runs the tiny pipeline on `input`, on a machine without ffmpeg; it must fail with `code` and one
/// line that holds `words`.
fn refused(input: &Path, code: i32, words: &str) {
    let output = mobilens()
        .env("PATH", "")
        .args(["tests/data/tiny/replay.yaml", "--headless", "--input"])
        .arg(input)
        .output()
        .expect("starts");
    let said = complaints(&output);
    let context = format!("{}: {}", input.display(), stderr(&output));
    assert_eq!(output.status.code(), Some(code), "{context}");
    assert_eq!(said.len(), 1, "{context}");
    assert!(said[0].contains(words), "no \"{words}\": {context}");
    assert!(!stderr(&output).contains("panicked"), "{context}");
}

#[test]
fn recordings_that_are_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    let clip = fs::read(file("assets/street.mp4")).expect("the clip");

    fs::write(path("empty.mp4"), b"").expect("room");
    refused(&path("empty.mp4"), 1, "empty.mp4");
    fs::write(path("text.mp4"), "This is a text.\n".repeat(100)).expect("room");
    refused(&path("text.mp4"), 1, "text.mp4");
    fs::write(path("head.mp4"), &clip[..2000]).expect("room");
    refused(&path("head.mp4"), 1, "head.mp4");
    refused(&path("nowhere.mp4"), 2, "cannot read");
    let hevc = file("tests/data/video/h265.mp4");
    refused(&hevc, 1, "ffmpeg");
}

#[test]
fn a_recording_that_is_cut_off_gives_what_is_there_and_then_fails() {
    let dir = tempfile::tempdir().expect("a folder");
    let clip = fs::read(file("tests/data/video/faststart.mp4")).expect("a clip");
    let cut = dir.path().join("cut.mp4");
    fs::write(&cut, &clip[..clip.len() * 3 / 4]).expect("room");
    let output = mobilens()
        .args(["tests/data/tiny/replay.yaml", "--headless", "--input"])
        .arg(&cut)
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(complaints(&output).len(), 1);
    assert_eq!(
        support::end(&support::records(&output.stdout))["reason"],
        "failed"
    );
}

#[test]
fn pictures_of_all_sizes() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    RgbImage::new(1, 1).save(path("one.png")).expect("room");
    let output = mobilens()
        .args(["tests/data/tiny/replay.yaml", "--headless", "--input"])
        .arg(path("one.png"))
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    image::GrayImage::new(12000, 9000)
        .save(path("huge.png"))
        .expect("room");
    refused(&path("huge.png"), 1, "12000x9000");
    fs::write(path("none.jpg"), b"\xff\xd8\xff\xe0garbage").expect("room");
    refused(&path("none.jpg"), 1, "none.jpg");
    fs::create_dir(path("folder")).expect("a folder");
    refused(&path("folder"), 1, "folder");
}

#[test]
#[cfg(unix)]
fn a_file_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("secret.mp4");
    fs::copy(file("assets/street.mp4"), &path).expect("room");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("owned");
    if fs::read(&path).is_ok() {
        eprintln!("SKIPPED a_file_without_permission: this user may read everything");
        return;
    }
    refused(&path, 1, "secret.mp4");
}

/// Runs the tiny pipeline under `--set`; it must be refused with exit 2 and one line.
fn refused_by_set(set: &str, words: &str) {
    let output = run(&["tests/data/tiny/replay.yaml", "--set", set]);
    let said = complaints(&output);
    assert_eq!(output.status.code(), Some(2), "{set}: {}", stderr(&output));
    assert_eq!(said.len(), 1, "{set}: {said:?}");
    assert!(said[0].contains(words), "{set}: no \"{words}\" in {said:?}");
}

#[test]
fn models_that_do_not_serve() {
    refused_by_set("model=wrong_shape.yaml", "expected [1, 1, 4]");
    refused_by_set("model=nowhere.yaml", "cannot read");
    let dir = tempfile::tempdir().expect("a folder");
    let card = fs::read_to_string(file("tests/data/tiny/tiny.yaml")).expect("a card");
    let write = |name: &str, from: &str, to: &str| {
        assert!(card.contains(from));
        let path = dir.path().join(name);
        fs::write(&path, card.replace(from, to)).expect("room");
        format!("model={}", path.display())
    };
    fs::copy(
        file("tests/data/tiny/tiny.onnx"),
        dir.path().join("tiny.onnx"),
    )
    .expect("room");
    let anchors = write("anchors.yaml", "feature_maps: [1]", "feature_maps: [3]");
    refused_by_set(&anchors, "anchors are 9, the network scores 1");
    let missing = write("missing.yaml", "file: tiny.onnx", "file: gone.onnx");
    refused_by_set(&missing, "gone.onnx");
    fs::write(dir.path().join("text.onnx"), "no model").expect("room");
    let text = write("text.yaml", "file: tiny.onnx", "file: text.onnx");
    refused_by_set(&text, "text.onnx");
    let output_name = write("output.yaml", "boxes: boxes", "boxes: squares");
    refused_by_set(&output_name, "no output \"squares\"");
    let size = write("size.yaml", "width_px: 16", "width_px: 32");
    refused_by_set(&size, "[1, 3, 16, 32]");
    let deeplab = "model=../../../models/deeplabv3_mobilenet_v2_voc_os16.yaml";
    refused_by_set(deeplab, "deeplab");
}

#[test]
fn settings_that_are_wrong() {
    refused_by_set(
        "detect.score_treshold=1",
        "did you mean \"score_threshold\"?",
    );
    refused_by_set("detect.score_threshold=1.5", "from 0 to 1");
    refused_by_set("inference.workers=many", "an integer");
    refused_by_set("detect.classes={dark: {}}", "has no label");
    refused_by_set("source.camera={}", "exactly one of");
    refused_by_set("detect", "KEY=VALUE");
}

/// `--set` together with what replaces or does not use what it sets: exit 2 and one line.
#[test]
fn a_set_without_effect() {
    const REPLAY: &str = "tests/data/tiny/replay.yaml";
    const CAMERA: &str = "tests/data/tiny/camera.yaml";
    let dir = tempfile::tempdir().expect("a folder");
    let picture = dir.path().join("a.png");
    RgbImage::new(32, 32).save(&picture).expect("room");
    let pictures = dir.path().display().to_string();
    let out = dir.path().join("out.jsonl").display().to_string();
    let truth = dir.path().join("truth.json");
    fs::write(&truth, r#"{"images":[],"categories":[],"annotations":[]}"#).expect("room");
    let truth = truth.display().to_string();
    let clip = "assets/street.mp4";
    let multi = "pipelines/multi_camera.yaml";
    let cases: [(&[&str], &str); 15] = [
        (
            &[
                CAMERA,
                "--set",
                "source.camera.width_px=640",
                "--input",
                clip,
            ],
            "--set source.camera.width_px: has no effect together with --input: the source is a \
             video (`source.video`) then",
        ),
        (
            &[CAMERA, "--set", "source.images.fps=7", "--input", clip],
            "--set source.images.fps: has no effect",
        ),
        (
            &[REPLAY, "--set", "source.video.path=b.mp4", "--input", clip],
            "--set source.video.path: has no effect together with --input: that is the source",
        ),
        (
            &[REPLAY, "--set", "source={camera: {}}", "--input", clip],
            "--set source: has no effect",
        ),
        (
            &[
                CAMERA,
                "--set",
                "fallback.video.path=b.mp4",
                "--input",
                clip,
            ],
            "--set fallback.video.path: has no effect together with --input: a file has no fallback",
        ),
        (
            &[REPLAY, "--set", "source.video.lop=true", "--input", clip],
            "did you mean \"loop\"?",
        ),
        (
            &[REPLAY, "--set", "source.video.pace=live", "--pace", "fast"],
            "--set source.video.pace: has no effect: --pace replaces it; leave out one of them",
        ),
        (
            &[REPLAY, "--set", "sinks.0.jsonl.path=a", "--output", &out],
            "--set sinks.0.jsonl.path: has no effect: --output takes this sink away",
        ),
        (
            &[REPLAY, "--set", "sinks.0.jsonl.path=a", "--format", "coco"],
            "--format takes this sink away",
        ),
        (
            &[REPLAY, "--set", "sinks.1={window: {}}", "--headless"],
            "--set sinks.1: has no effect: --headless takes this sink away",
        ),
        (
            &[multi, "--set", "source.camera.fps=10"],
            "source: has no effect: each stream has a `source` of its own; use `streams.0.source`",
        ),
        (
            &[multi, "--input", clip],
            "--input: the pipeline has several streams",
        ),
        (
            &["analyze", &out, REPLAY, "--set", "sinks.0.jsonl.path=a"],
            "--set sinks.0.jsonl.path: has no effect: `analyze` does not use `sinks`",
        ),
        (
            &[
                "eval",
                "detection",
                REPLAY,
                "--coco",
                &truth,
                "--images",
                &pictures,
                "--set",
                "track={}",
            ],
            "`eval detection` does not use `track`",
        ),
        (
            &[
                REPLAY,
                "--set",
                "source.video={path: a, decoder: builtin, ffmpeg_args: [-n]}",
            ],
            "has no effect with `decoder: builtin`",
        ),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments);
        let said: Vec<String> = complaints(&output);
        let context = format!("{arguments:?}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(2), "{context}");
        assert!(said.iter().any(|line| line.contains(expected)), "{context}");
        if !expected.contains("builtin") {
            assert_eq!(said.len(), 1, "{context}");
        }
    }
}

/// The options of the source that `--input` gives, and the rate of its images.
#[test]
fn a_set_beside_an_input() {
    const REPLAY: &str = "tests/data/tiny/replay.yaml";
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("pictures");
    fs::create_dir(&folder).expect("room");
    for name in ["a.png", "b.png"] {
        RgbImage::new(32, 32).save(folder.join(name)).expect("room");
    }
    let input = folder.display().to_string();
    let second_frame_ms = |arguments: &[&str]| {
        let output = run(&[arguments, &["--headless", "--input", &input]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let records = support::records(&output.stdout);
        support::of_type(&records, "frame")[1]["pts_ms"].clone()
    };
    assert_eq!(second_frame_ms(&[REPLAY]), 1000.0);
    let set = ["--set", "source.images.fps=8"];
    assert_eq!(second_frame_ms(&[&[REPLAY], &set[..]].concat()), 125.0);
    // The rate that the pipeline gives for its own images counts for others, too.
    let yaml = fs::read_to_string(file(REPLAY)).expect("the pipeline");
    let yaml = yaml
        .replace(
            "video: { path: ../../../assets/street.mp4 }",
            "images: { path: gone, fps: 4 }",
        )
        .replace(
            "tiny.yaml",
            &file("tests/data/tiny/tiny.yaml").display().to_string(),
        );
    let pipeline = dir.path().join("images.yaml");
    fs::write(&pipeline, yaml).expect("room");
    let pipeline = pipeline.display().to_string();
    assert_eq!(second_frame_ms(&[&pipeline]), 250.0);
    assert_eq!(
        second_frame_ms(&[&[pipeline.as_str()], &set[..]].concat()),
        125.0
    );
    // Options that say how it is run go with the source that had them.
    let looping = ["--set", "source.images.loop=true", "--frames", "5"];
    let output = run(&[&[REPLAY], &looping[..], &["--headless", "--input", &input]].concat());
    let records = support::records(&output.stdout);
    assert_eq!(support::of_type(&records, "frame").len(), 5);
}
