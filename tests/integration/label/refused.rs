//! What `label` refuses.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{CLIP, TINY, change, read, save};
use crate::support::{complaints, run, stderr};

#[test]
fn what_cannot_be_labelled_is_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let good = save(dir.path(), "good.jsonl", &[TINY, "--frames", "10"]);
    let whole = save(dir.path(), "whole.jsonl", &[TINY]);
    let copy = |name: &str, edit: &mut dyn FnMut(&mut Value)| {
        let copy = path(name);
        fs::copy(if name == "count.jsonl" { &whole } else { &good }, &copy).expect("room");
        change(&copy, edit);
        copy
    };
    let empty = copy("empty.jsonl", &mut |r| {
        if r["type"] == "frame" {
            r["detections"] = json!([]);
        }
    });
    let size = copy("size.jsonl", &mut |r| {
        if r["type"] == "run" {
            r["source"]["width"] = json!(320);
        }
    });
    let camera = copy("camera.jsonl", &mut |r| {
        if r["type"] == "run" {
            r["source"]["kind"] = json!("rtsp");
        }
    });
    let other = copy("other.jsonl", &mut |r| {
        if r["type"] == "run" {
            r["source"]["uri"] = json!("gate.mp4");
        }
    });
    let late = copy("late.jsonl", &mut |r| {
        if r["frame"] == 0 {
            r["pts_ms"] = json!(10.0);
        }
    });
    let beyond = copy("beyond.jsonl", &mut |r| {
        if r["frame"] == 9 {
            r["frame"] = json!(900);
        }
    });
    let count = copy("count.jsonl", &mut |r| {
        if r["type"] == "end" {
            r["frames"]["captured"] = json!(249);
        }
    });
    let quiet = copy("quiet.jsonl", &mut |r| {
        if r["type"] == "frame" {
            r["inferred"] = json!(false);
        }
    });
    fs::write(path("twice.jsonl"), read(Path::new(&good)).repeat(2)).expect("room");
    fs::write(path("cut.jsonl"), &read(Path::new(&good))[..2000]).expect("room");
    fs::write(path("nothing.jsonl"), "").expect("room");
    fs::write(path("file"), "").expect("room");
    let cases: [(&str, &str, &[&str], i32, &str); 18] = [
        (
            &empty,
            CLIP,
            &["--class", "van"],
            2,
            "take frames without: --empty 1",
        ),
        (&empty, CLIP, &[], 2, "no frame of replay has a detection"),
        (
            &good,
            CLIP,
            &["--class", "van", "--empty", "0"],
            2,
            "no frame with a detection of these classes",
        ),
        (
            &quiet,
            CLIP,
            &[],
            2,
            "the network ran on none of the frames of replay",
        ),
        (&size, CLIP, &[], 2, "its frames are 640x272, those of"),
        (
            &camera,
            CLIP,
            &[],
            2,
            "is of the camera street.mp4, which cannot be read again",
        ),
        (
            &other,
            CLIP,
            &[],
            2,
            "is of gate.mp4; give the clip that the run was on",
        ),
        (
            &late,
            CLIP,
            &["--every", "0"],
            2,
            "its frame 0 is at 0.000 ms",
        ),
        (&beyond, CLIP, &[], 2, "it has 250 frames"),
        (&count, CLIP, &[], 2, "had 249"),
        (
            &good,
            "nowhere.mp4",
            &[],
            2,
            "--clip nowhere.mp4: cannot read it",
        ),
        (
            &good,
            "rtsp://gate/1",
            &[],
            2,
            "expected a clip or a folder of pictures",
        ),
        (&good, "assets/page.jpg", &[], 2, "its kind is images"),
        (&path("nothing.jsonl"), CLIP, &[], 2, "it has no records"),
        (
            &path("none.jsonl"),
            CLIP,
            &[],
            2,
            "none.jsonl: No such file",
        ),
        (
            &path("twice.jsonl"),
            CLIP,
            &[],
            2,
            "it has 2 runs of replay",
        ),
        (&path("cut.jsonl"), CLIP, &[], 2, "not a record"),
        (TINY, CLIP, &[], 2, "line 1: not a record"),
    ];
    for (saved, clip, more, code, expected) in cases {
        let out = path("out");
        let output = run(&[&["label", saved, "--clip", clip, "-o", &out], more].concat());
        assert_eq!(
            output.status.code(),
            Some(code),
            "{saved} {}",
            stderr(&output)
        );
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(expected), "{said:?}");
    }
    // A folder that cannot be one, or is of somebody else.
    let output = run(&["label", &good, "--clip", CLIP, "-o", &path("file/out")]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let output = run(&["label", &good, "--clip", CLIP, "--append", "-o", &path("")]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(complaints(&output)[0].contains("there is no frames.jsonl"));
}
