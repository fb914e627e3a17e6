//! A second network on tracked objects: a cat walks over a photograph, and is classified as it goes.

use std::path::Path;

use image::imageops::{FilterType, overlay, resize};
use serde_json::Value;

use crate::support::{complaints, file, of_type, records, run, stderr};

const FPS: f64 = 12.0;
/// What the classifier may call the cat.
const CATS: [&str; 3] = ["tiger cat", "Egyptian cat", "tabby"];

/// Pictures of a cat that crosses the middle from left to right.
fn clip(dir: &Path) {
    let open = |name: &str| {
        let picture = image::open(file(&format!("tests/data/pictures/{name}.png")));
        picture.expect("a picture").into_rgb8()
    };
    let ground = resize(&open("coffee"), 640, 360, FilterType::Triangle);
    let cat = resize(&open("chelsea"), 300, 200, FilterType::Triangle);
    for frame in 0..20 {
        let mut picture = ground.clone();
        overlay(&mut picture, &cat, 10 + 16 * frame, 80);
        let path = dir.join(format!("{frame:02}.png"));
        picture.save(path).expect("room");
    }
}

/// The cat's run with further settings: standard output, standard error.
fn cat(dir: &Path, sets: &[&str]) -> (Vec<u8>, String) {
    let pictures = format!("source.images.path={}", dir.display());
    let fps = format!("source.images.fps={FPS}");
    let breed = "classify_tracks.breed={model: \
                 ../../models/efficientnet_lite0_imagenet_int8.yaml, classes: [cat], every_ms: 400, top: 3}";
    let mut arguments = vec!["tests/data/counting.yaml", "--headless"];
    for set in [pictures.as_str(), &fps, breed].iter().chain(sets) {
        arguments.extend(["--set", set]);
    }
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    (output.stdout.clone(), stderr(&output))
}

#[test]
fn a_cat_is_classified_again_and_again_and_its_crossing_says_what_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    clip(dir.path());
    let (first, said) = cat(dir.path(), &["inference.workers=1"]);
    let got = records(&first);
    let name = &got[0]["classify_tracks"]["breed"]["name"];
    assert_eq!(name, "efficientnet_lite0_imagenet_int8");
    let mut ages = Vec::new();
    for frame in of_type(&got, "frame") {
        for track in frame["tracks"].as_array().expect("tracks") {
            let breed = &track["attributes"]["breed"];
            let label = breed["label"].as_str().unwrap_or("none");
            assert!(CATS.contains(&label), "{track}");
            let classes = breed["classes"].as_array().expect("more than one");
            assert_eq!(classes[0]["label"], breed["label"]);
            assert_eq!(classes[0]["score"], breed["score"]);
            assert!(breed["score"].as_f64() >= Some(0.3), "{breed}");
            ages.push(breed["age_ms"].as_f64().expect("an age"));
        }
    }
    assert!(ages.len() > 10, "{ages:?}");
    assert_eq!(ages[0], 0.0, "in the frame in which it has its number");
    assert!(ages.iter().all(|age| *age < 400.0), "{ages:?}");
    let renewed = ages.iter().filter(|age| **age == 0.0).count();
    assert!((3..=5).contains(&renewed), "{ages:?}");
    let crops = format!("classify_tracks breed: {renewed} crops classified, 0 skipped");
    assert!(said.contains(&crops), "{said}");
    let events = of_type(&got, "event");
    let crossing = events.iter().find(|event| event["kind"] == "line");
    let label = &crossing.expect("it crosses")["attributes"]["breed"]["label"];
    assert!(CATS.iter().any(|cat| label == cat), "{label}");
    // The same bytes, whatever runs at the same time.
    let (second, _) = cat(dir.path(), &["inference.workers=3"]);
    assert!(first == second);

    // Nothing but the attributes is different without.
    let (without, _) = cat(dir.path(), &["classify_tracks={}"]);
    let stripped = |bytes: &[u8]| -> Vec<Value> {
        let mut all = records(bytes);
        for record in &mut all {
            let record = record.as_object_mut().expect("an object");
            for key in ["attributes", "classify_tracks", "config_sha256"] {
                record.remove(key);
            }
            let tracks = record.get_mut("tracks").and_then(Value::as_array_mut);
            for track in tracks.into_iter().flatten() {
                track.as_object_mut().expect("a track").remove("attributes");
            }
        }
        all
    };
    assert_eq!(stripped(&first), stripped(&without));
    assert_ne!(
        got[0]["config_sha256"],
        records(&without)[0]["config_sha256"]
    );
}

#[test]
fn what_cannot_work_is_one_line() {
    let tiny = "model: ../tests/data/tiny/classifier.yaml";
    let of = |settings: &str| format!("classify_tracks.light={{{tiny}, {settings}}}");
    let other = |model: &str| format!("classify_tracks.light={{model: {model}}}");
    let detector = "../models/ssdlite_mobilenet_v2_coco_int8.yaml";
    let cases = [
        (of("classes: [cra]"), "has no label \"cra\""),
        (
            of("classes: [cat]"),
            "\"cat\" is not detected: it is not in `detect.classes`",
        ),
        (
            of("every: 5"),
            "classify_tracks.light.every: unknown key; did you mean \"every_ms\"?",
        ),
        (of("every_ms: -1"), "every_ms: expected an integer from 0"),
        (
            of("smoothing: 1"),
            "smoothing: expected a number from 0 to 0.99",
        ),
        (
            of("budget_ms_per_s: 0"),
            "expected an integer from 1 to 1000",
        ),
        (other(detector), "is no classification model"),
        (other("nowhere.yaml"), "nowhere.yaml: cannot read the file"),
    ];
    let tracked = cases.map(|(set, expected)| ("classify_tracks", set, expected));
    let untracked = "classifying tracks needs tracking: add `track: {}`";
    let untracked = ("ssd_replay", of("top: 1"), untracked);
    for (pipeline, set, expected) in tracked.into_iter().chain([untracked]) {
        let pipeline = format!("pipelines/{pipeline}.yaml");
        let output = run(&["check", &pipeline, "--set", &set]);
        assert_eq!(output.status.code(), Some(2), "{set}");
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{set}: {}", stderr(&output));
        assert!(said[0].contains(expected), "{set}: {said:?}");
    }
}

#[test]
fn a_card_that_does_not_fit_its_network_is_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let card = std::fs::read_to_string(file("tests/data/tiny/classifier.yaml")).expect("a card");
    let onnx = file("tests/data/tiny/tiny.onnx").display().to_string();
    let card = card.replace("tiny.onnx", &onnx);
    let path = dir.path().join("card.yaml");
    std::fs::write(&path, card.replace("output: scores", "output: score")).expect("room");
    let set = format!("classify_tracks.light={{model: {}}}", path.display());
    for command in [&["check"][..], &[]] {
        let pipeline = ["pipelines/classify_tracks.yaml", "--set", &set];
        let output = run(&[command, &pipeline].concat());
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{}", stderr(&output));
        assert!(said[0].contains("no output \"score\""), "{said:?}");
    }
}
