//! `label`: pictures and first labels, cut from a clip by the records of a run.

mod readers;
mod refused;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use readers::{Labels, coco, cvat, entries, four, label_studio, number, text, yolo};

use crate::support::{Process, complaints, file, mobilens, of_type, records, run, stderr, until};
use image::RgbImage;
use mobilens::capture::{Captured, Source, VideoSource};
use mobilens::flow::StopSignal;
use mobilens_image::rgb_from_image;
use serde_json::{Value, json};

const REAL: &str = "pipelines/ssd_replay.yaml";
const TINY: &str = "tests/data/tiny/replay.yaml";
const CLIP: &str = "assets/street.mp4";

/// Runs a pipeline and saves its records in `dir`.
fn save(dir: &Path, name: &str, arguments: &[&str]) -> String {
    let path = dir.join(name).display().to_string();
    let output = run(&[arguments, &["--output", &path]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    path
}

/// Labels `clip` by the records in a folder of `dir`.
fn label(records: &str, clip: &str, dir: &Path, more: &[&str]) -> PathBuf {
    let out = dir.join("labels");
    let shown = out.display().to_string();
    let output = run(&[&["label", records, "--clip", clip, "-o", &shown], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    out
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn parse(path: &Path) -> Value {
    serde_json::from_str(&read(path)).expect("JSON")
}

/// Changes the records of `file`.
fn change(file: &str, mut change: impl FnMut(&mut Value)) {
    let lines = records(read(Path::new(file)).as_bytes());
    let lines = lines.into_iter().map(|mut record| {
        change(&mut record);
        record.to_string() + "\n"
    });
    fs::write(file, lines.collect::<String>()).expect("room");
}

/// The frame that a picture's name ends with.
fn frame_of(picture: &str) -> u64 {
    let stem = picture.rsplit_once('.').expect("an ending").0;
    stem.rsplit('_')
        .next()
        .expect("a number")
        .parse()
        .expect("a number")
}

#[test]
fn labels_in_each_format_are_the_detections_of_the_records() {
    let dir = tempfile::tempdir().expect("a folder");
    let wide = ["--set", "detect.score_threshold=0.3"];
    let saved = save(
        dir.path(),
        "a.jsonl",
        &[&[REAL, "--frames", "60"], &wide[..]].concat(),
    );
    let lines = records(read(Path::new(&saved)).as_bytes());
    let by_frame: BTreeMap<u64, &Value> = of_type(&lines, "frame")
        .into_iter()
        .map(|record| {
            (
                record["frame"].as_u64().expect("a number"),
                &record["detections"],
            )
        })
        .collect();
    type Read = fn(&Path) -> Labels;
    let formats: [(&str, Read); 4] = [
        ("coco", coco),
        ("cvat", cvat),
        ("label-studio", label_studio),
        ("yolo", yolo),
    ];
    for (target, read_labels) in formats {
        let dir = dir.path().join(target);
        let more = [
            "--for", target, "--frames", "8", "--every", "0.2", "--near", "0.4",
        ];
        let out = label(&saved, CLIP, &dir, &more);
        let labels = read_labels(&out);
        assert!(labels.len() > 4, "{target}: {labels:?}");
        let mut objects = 0;
        for (name, found) in &labels {
            let picture = image::open(out.join("images").join(name)).expect("a picture");
            assert_eq!((picture.width(), picture.height()), (640, 272));
            let expected = entries(by_frame[&frame_of(name)]);
            assert_eq!(found.len(), expected.len(), "{target} {name}");
            for ((class, bbox), expected) in found.iter().zip(expected) {
                assert_eq!(*class, text(&expected["label"]));
                let [x, y, w, h] = four(&expected["bbox"]);
                // The part within the picture.
                let (left, top) = (x.max(0.0), y.max(0.0));
                let (right, bottom) = ((x + w).min(640.0), (y + h).min(272.0));
                let within = [left, top, right - left, bottom - top];
                for (is, should) in bbox.iter().zip(within) {
                    assert!(
                        (is - should).abs() < 0.02,
                        "{target} {name} {bbox:?} {within:?}"
                    );
                }
                objects += 1;
            }
        }
        assert!(objects > 8, "{target}: {objects} objects");
    }
}

#[test]
fn the_least_certain_come_first_and_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let saved = save(dir.path(), "a.jsonl", &[TINY, "--frames", "100"]);
    // Scores that fall away from .5 on both sides of frame 70, and no object after frame 80.
    change(&saved, |record| {
        let Some(frame) = record["frame"].as_f64() else {
            return;
        };
        if frame > 80.0 {
            record["detections"] = json!([]);
        } else {
            record["detections"][0]["score"] = json!(0.5 + (frame - 70.0) / 1000.0);
        }
    });
    let more = [
        "--near", "0.5", "--frames", "5", "--every", "0.4", "--empty", "0.2",
    ];
    let manifest = |name: &str| {
        let out = label(&saved, CLIP, &dir.path().join(name), &more);
        read(&out.join("frames.jsonl"))
    };
    let first = manifest("first");
    assert_eq!(first, manifest("second"), "the choice is always the same");
    let lines = records(first.as_bytes());
    let frames: Vec<u64> = of_type(&lines, "frame")
        .iter()
        .map(|frame| frame["frame"].as_u64().expect("a number"))
        .collect();
    // Ten frames are .4 s; of frames 60 and 80, which are as near, the earlier; one is empty.
    assert_eq!(frames[..4], [70, 60, 80, 50]);
    assert!(frames.len() == 5 && frames[4] > 89, "{frames:?}");
    assert_eq!(of_type(&lines, "frame")[1]["margin"], 0.01);
    assert_eq!(of_type(&lines, "frame")[4].get("margin"), None);
    let instances = parse(&dir.path().join("first/labels/instances.json"));
    let names: Vec<String> = entries(&instances["images"])
        .iter()
        .map(|image| text(&image["file_name"]))
        .collect();
    assert_eq!(names[0], "0001_street_000070.jpg");
    assert!(names.is_sorted(), "{names:?}");
}

/// The pixels of a clip's frames, decoded one after the other.
fn decoded(clip: &str) -> Vec<(f64, RgbImage)> {
    let mut source = VideoSource::open(&file(clip)).expect("a clip");
    let (stop, mut frames) = (StopSignal::new(), Vec::new());
    loop {
        match source.next(&stop).expect("readable") {
            Captured::Frame { image, pts, .. } => {
                let mut picture = RgbImage::new(image.size().width, image.size().height);
                rgb_from_image(&image, &mut picture);
                frames.push((pts.as_ms(), picture));
            }
            Captured::End => return frames,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn pictures_are_the_frames_at_the_records_times() {
    // With B frames, which are decoded in another order; with frames of uneven length; cut at the start.
    for clip in ["bframes.mp4", "uneven.mp4", "trimmed.mp4"] {
        let dir = tempfile::tempdir().expect("a folder");
        let clip = format!("tests/data/video/{clip}");
        let saved = save(dir.path(), "a.jsonl", &[TINY, "--input", &clip]);
        let more = ["--format", "png", "--every", "0", "--frames", "1000"];
        let out = label(&saved, &clip, dir.path(), &more);
        let frames = decoded(&clip);
        let lines = records(read(&out.join("frames.jsonl")).as_bytes());
        let pictures = of_type(&lines, "frame");
        assert!(pictures.len() > 3, "{clip}: {pictures:?}");
        for picture in pictures {
            let path = out.join("images").join(text(&picture["image"]));
            let (at, expected) = &frames[picture["frame"].as_u64().expect("a number") as usize];
            assert!((number(&picture["pts_ms"]) - at).abs() < 0.001, "{clip}");
            let is = image::open(path).expect("a picture").into_rgb8();
            assert!(is == *expected, "{clip}: {picture}");
        }
    }
}

#[test]
fn pictures_of_a_folder_are_labelled_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let saved = save(
        dir.path(),
        "a.jsonl",
        &[TINY, "--input", "tests/data/pictures"],
    );
    let out = label(
        &saved,
        "tests/data/pictures",
        dir.path(),
        &["--format", "png"],
    );
    let lines = records(read(&out.join("frames.jsonl")).as_bytes());
    let frames = of_type(&lines, "frame");
    let lines = records(read(Path::new(&saved)).as_bytes());
    assert_eq!(frames.len(), of_type(&lines, "frame").len());
    for frame in frames {
        let path = out.join("images").join(text(&frame["image"]));
        let size = image::image_dimensions(path).expect("a picture");
        assert_eq!(
            [json!(size.0), json!(size.1)],
            [frame["width"].clone(), frame["height"].clone()]
        );
    }
}

#[test]
fn labels_are_added_and_replaced_but_corrections_are_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let saved = save(dir.path(), "a.jsonl", &[TINY, "--frames", "100"]);
    let more = ["--for", "yolo", "--frames", "3", "--empty", "0"];
    let out = label(&saved, CLIP, dir.path(), &more);
    let shown = out.display().to_string();
    let base = [
        "label", &saved, "--clip", CLIP, "-o", &shown, "--for", "yolo",
    ];
    let names = |folder: &str| {
        let entries = fs::read_dir(out.join(folder)).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|e| e.expect("an entry").file_name().display().to_string())
            .collect();
        names.sort();
        names
    };
    let before = names("labels");
    assert_eq!(before.len(), 3);
    // Somebody corrects a label.
    let corrected = out.join("labels").join(&before[1]);
    fs::write(&corrected, "0 0.5 0.5 0.25 0.25\n").expect("room");
    let refused = run(&base);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        complaints(&refused)[0].contains("not empty; --append"),
        "{:?}",
        complaints(&refused)
    );

    let more = [
        "--append", "--frames", "2", "--every", "0.2", "--class", "van", "--class", "bright",
    ];
    let added = run(&[&base[..], &more].concat());
    assert_eq!(added.status.code(), Some(0), "{}", stderr(&added));
    let all = names("labels");
    assert_eq!(all.len(), before.len() + 2);
    assert_eq!(all[..3], before[..], "the first ones keep their names");
    assert_eq!(names("images").len(), all.len());
    assert_eq!(read(&corrected), "0 0.5 0.5 0.25 0.25\n");
    let mut numbers: Vec<u64> = all.iter().map(|name| frame_of(name)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), all.len(), "no frame twice");
    let data: Value = serde_yaml::from_str(&read(&out.join("data.yaml"))).expect("YAML");
    assert_eq!(
        data["names"],
        json!({"0": "bright", "1": "van"}),
        "numbers stay"
    );

    // What would have to be written again must be as it was.
    let yaml = out.join("data.yaml");
    let text = read(&yaml);
    fs::write(&yaml, format!("{text}# mine\n")).expect("room");
    let refused = run(&[&base[..], &more].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        complaints(&refused)[0].contains("was changed since"),
        "{:?}",
        complaints(&refused)
    );
    fs::write(&yaml, text).expect("room");
    let other = ["label", &saved, "--clip", CLIP, "-o", &shown, "--append"];
    let refused = run(&other);
    assert!(
        complaints(&refused)[0].contains("--for yolo"),
        "{:?}",
        complaints(&refused)
    );

    // A new beginning in another format; what is not ours stays.
    fs::write(out.join("notes.txt"), "mine").expect("room");
    let replaced = run(&[
        &other[..6],
        &["--force", "--frames", "1", "--format", "png"],
    ]
    .concat());
    assert_eq!(replaced.status.code(), Some(0), "{}", stderr(&replaced));
    assert_eq!(names("images").len(), 1);
    assert!(names("labels").is_empty() && !yaml.exists());
    assert_eq!(coco(&out).len(), 1);
    assert_eq!(read(&out.join("notes.txt")), "mine");
}

#[test]
fn one_of_several_streams_is_labelled() {
    let dir = tempfile::tempdir().expect("a folder");
    let saved = save(dir.path(), "a.jsonl", &[TINY, "--frames", "10"]);
    let gate = read(Path::new(&saved));
    change(&saved, |record| record["stream"] = json!("yard"));
    let yard = read(Path::new(&saved));
    let both: Vec<&str> = gate
        .lines()
        .zip(yard.lines())
        .flat_map(|(a, b)| [a, b])
        .collect();
    fs::write(&saved, both.join("\n") + "\n").expect("room");
    let out = label(&saved, CLIP, dir.path(), &["--stream", "yard"]);
    let lines = records(read(&out.join("frames.jsonl")).as_bytes());
    assert_eq!(of_type(&lines, "frame")[0]["stream"], "yard");
    for (more, expected) in [
        (
            &[][..],
            "it has the streams replay, yard: choose one with --stream",
        ),
        (
            &["--stream", "roof"],
            "it has no stream roof, but replay, yard",
        ),
    ] {
        let out = dir.path().join("none").display().to_string();
        let output = run(&[&["label", &saved, "--clip", CLIP, "-o", &out], more].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(
            complaints(&output)[0].ends_with(expected),
            "{:?}",
            complaints(&output)
        );
    }
}

#[test]
fn labels_are_ground_truth_of_the_model_that_made_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let saved = save(dir.path(), "a.jsonl", &[TINY, "--frames", "50"]);
    let more = [
        "--format", "png", "--every", "0.2", "--class", "other", "--class", "bright",
    ];
    let out = label(&saved, CLIP, dir.path(), &more);
    let [truth, images] =
        ["instances.json", "images"].map(|name| out.join(name).display().to_string());
    let output = run(&[
        "eval",
        "detection",
        TINY,
        "--coco",
        &truth,
        "--images",
        &images,
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let figures: Value = serde_json::from_slice(&output.stdout).expect("one line");
    // By the names of pictures and classes: the class is number 2 here, and 1 of the model.
    assert_eq!(figures["AP"], 1.0);
    let others = run(&[
        "eval",
        "detection",
        TINY,
        "--coco",
        &truth,
        "--images",
        "tests/data/pictures",
    ]);
    assert_eq!(others.status.code(), Some(2));
    let said = complaints(&others);
    assert!(
        said[0].contains("they are matched by file name"),
        "{said:?}"
    );
}

/// Records of a clip of 16x16 pixels from standard input, with an object in each of `frames`.
fn handmade(path: &Path, frames: &[(u64, [f64; 4])]) {
    let mut lines = vec![json!({
        "type": "run", "schema": 1, "tool": "mobilens", "stream": "s", "config_sha256": "",
        "source": {"kind": "video", "uri": "standard input", "width": 16, "height": 16, "fps": 25.0},
        "model": {"name": "m", "sha256": "", "input": [16, 16]}, "labels": [{"id": 1, "name": "<a> & \"b\""}],
    })];
    for (number, bbox) in frames {
        lines.push(json!({
            "type": "frame", "stream": "s", "frame": number, "pts_ms": *number as f64 * 40.0,
            "dropped_before": 0,
            "detections": [{"category_id": 1, "label": "<a> & \"b\"", "score": 0.5, "bbox": bbox}],
        }));
    }
    let lines = lines.iter().map(|line| format!("{line}\n"));
    fs::write(path, lines.collect::<String>()).expect("room");
}

#[test]
fn an_interrupt_keeps_what_is_done() {
    let dir = tempfile::tempdir().expect("a folder");
    let saved = dir.path().join("a.jsonl");
    let bbox = [-4.0, 2.0, 8.0, 40.0];
    handmade(&saved, &[(0, bbox), (1, bbox), (100_000_000, bbox)]);
    let out = dir.path().join("labels");
    let mut command = mobilens();
    command
        .arg("label")
        .arg(&saved)
        .args(["--clip", "-", "--every", "0", "-o"]);
    command
        .arg(&out)
        .stdin(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = Process::start(&mut command);
    let mut stdin = process.stdin.take().expect("piped");
    let feed = std::thread::spawn(move || {
        let frame = [&b"FRAME\n"[..], &[128; 16 * 16 * 3 / 2]].concat();
        let mut written = stdin.write_all(b"YUV4MPEG2 W16 H16 F25:1 C420jpeg\n");
        // Until nobody reads any more.
        while written.is_ok() {
            written = stdin.write_all(&frame);
        }
    });
    until("two pictures", || {
        let names = fs::read_dir(out.join("images")).into_iter().flatten();
        let whole = names.filter(|e| {
            e.as_ref()
                .is_ok_and(|e| e.path().extension() == Some("jpg".as_ref()))
        });
        whole.count() == 2
    });
    process.interrupt();
    assert_eq!(process.ended().code(), Some(130));
    feed.join().expect("no panic");
    let labels = coco(&out);
    let expected = vec![("<a> & \"b\"".to_owned(), [0.0, 2.0, 4.0, 14.0])];
    let names = [
        "0001_standard_input_000000.jpg",
        "0002_standard_input_000001.jpg",
    ];
    let expected: Labels = names.map(|name| (name.to_owned(), expected.clone())).into();
    assert_eq!(labels, expected);
}
