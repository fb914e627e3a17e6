//! Several models on one stream: CenterFace inside the people that SSDLite finds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::{complaints, file, of_type, records, run, stderr};
use mobilens::config::{self, LoadedPipeline, RunArguments};
use mobilens::pipeline::LoadedModels;
use mobilens_nn::KernelChoice;
use serde_json::{Value, json};

const PIPELINE: &str = "pipelines/street_and_faces.yaml";

fn done(arguments: &[&str]) -> Output {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

fn rect(value: &Value) -> [f64; 4] {
    let side = |i: usize| value[i].as_f64().expect("a number");
    [side(0), side(1), side(2), side(3)]
}

/// Whether `outer` holds `inner`, to the rounding of records.
fn holds(outer: &Value, inner: &Value) -> bool {
    let ([x, y, w, h], [u, v, a, b]) = (rect(outer), rect(inner));
    x <= u + 0.01 && y <= v + 0.01 && x + w + 0.01 >= u + a && y + h + 0.01 >= v + b
}

fn items<'a>(frame: &'a Value, key: &str) -> &'a [Value] {
    frame[key].as_array().map_or(&[], Vec::as_slice)
}

fn of_model<'a>(objects: &'a [Value], model: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["model"] == model)
        .collect()
}

/// A pipeline with these `models` and further keys, beside the repository's models and assets.
fn pipeline(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("models.yaml");
    let text = text.replace("MODELS", &file("models").display().to_string());
    let text = text.replace("CLIP", &file("assets/street.mp4").display().to_string());
    std::fs::write(&path, text).expect("room");
    path
}

#[test]
fn faces_are_looked_for_inside_the_people_of_every_second_frame() {
    let output = done(&[PIPELINE, "--headless", "--frames", "130"]);
    let got = records(&output.stdout);
    let of_run = &got[0];
    assert_eq!(
        of_run["models"]["street"]["name"],
        "ssdlite_mobilenet_v2_coco_int8"
    );
    assert_eq!(of_run["models"]["faces"]["name"], "centerface");
    assert_eq!(of_run["models"]["faces"]["input"], json!([256, 256]));
    assert_eq!(of_run["model"], of_run["models"]["street"]);
    let labels = items(of_run, "labels");
    let ids: BTreeSet<u64> = labels
        .iter()
        .filter_map(|label| label["id"].as_u64())
        .collect();
    assert_eq!(ids.len(), labels.len(), "an id is of one model");
    assert_eq!(of_model(labels, "faces").len(), 1);

    let (mut faces, mut people, mut held) = (0, 0, 0);
    for frame in of_type(&got, "frame") {
        let number = frame["frame"].as_u64().expect("a number");
        let runs = &frame["models"];
        assert_eq!(runs["street"], json!({"inferred": true}));
        assert_eq!(runs["faces"]["inferred"], number % 2 == 0, "{frame}");
        let found = of_model(items(frame, "detections"), "faces");
        let faint = of_model(items(frame, "faint"), "faces");
        let of_street = of_model(items(frame, "detections"), "street");
        let persons: Vec<_> = of_street
            .iter()
            .filter(|o| o["label"] == "person")
            .collect();
        people += persons.len();
        if number % 2 == 1 {
            assert!(found.is_empty() && faint.is_empty(), "{frame}");
            let tracks = of_model(items(frame, "tracks"), "faces");
            held += tracks
                .iter()
                .filter(|track| track["state"] == "held")
                .count();
            assert!(
                tracks.iter().all(|track| track["state"] != "seen"),
                "{frame}"
            );
            continue;
        }
        let regions = items(&runs["faces"], "regions");
        assert_eq!(regions.len(), persons.len(), "{frame}");
        for person in &persons {
            assert!(
                regions.iter().any(|region| holds(region, &person["bbox"])),
                "{frame}"
            );
        }
        for face in found.iter().chain(&faint) {
            assert_eq!(face["label"], "face");
            assert!(
                regions.iter().any(|region| holds(region, &face["bbox"])),
                "{frame}"
            );
        }
        let scores = items(frame, "detections")
            .iter()
            .map(|o| o["score"].as_f64());
        assert!(scores.is_sorted_by(|a, b| a >= b), "best first: {frame}");
        faces += found.len();
    }
    assert!(faces >= 10, "{faces} faces of {people} people");
    assert!(held >= 5, "{held} tracks held between");
    assert!(
        stderr(&output).contains("model faces "),
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).contains("infer faces "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn tracks_of_two_models_share_nothing_but_their_numbers() {
    let output = done(&[PIPELINE, "--headless", "--frames", "120"]);
    let got = records(&output.stdout);
    let mut model_of = BTreeMap::new();
    for frame in of_type(&got, "frame") {
        let tracks = items(frame, "tracks");
        let ids = tracks.iter().map(|track| track["track_id"].as_u64());
        assert!(ids.is_sorted_by(|a, b| a < b), "oldest first: {frame}");
        for object in tracks.iter().chain(items(frame, "detections")) {
            if let Some(id) = object["track_id"].as_u64() {
                let model = object["model"].as_str().expect("a name").to_owned();
                assert_eq!(
                    *model_of.entry(id).or_insert(model.clone()),
                    model,
                    "{frame}"
                );
            }
        }
    }
    let models: BTreeSet<&String> = model_of.values().collect();
    assert_eq!(models.len(), 2, "{model_of:?}");
}

#[test]
fn the_first_model_finds_what_it_finds_alone() {
    let several = done(&[
        PIPELINE,
        "--headless",
        "--frames",
        "60",
        "--set",
        "stream=one",
    ]);
    let classes =
        "detect.classes={person: {}, bicycle: {}, car: {}, motorcycle: {}, bus: {}, truck: {}}";
    let alone = done(&[
        "pipelines/ssd_replay.yaml",
        "--headless",
        "--frames",
        "60",
        "--set",
        "stream=one",
        "--set",
        classes,
        "--set",
        "track={}",
    ]);
    let (several, alone) = (records(&several.stdout), records(&alone.stdout));
    let (several, alone) = (of_type(&several, "frame"), of_type(&alone, "frame"));
    assert_eq!(several.len(), alone.len());
    for (frame, alone) in several.iter().zip(alone) {
        let own = of_model(items(frame, "detections"), "street");
        let expected = items(alone, "detections");
        assert_eq!(own.len(), expected.len(), "{frame}");
        for (own, expected) in own.into_iter().zip(expected) {
            for key in ["category_id", "label", "score", "bbox"] {
                assert_eq!(own[key], expected[key], "{frame}");
            }
        }
    }
}

#[test]
fn the_number_of_workers_changes_no_byte() {
    let of = |workers: &str| {
        let workers = format!("inference.workers={workers}");
        done(&[PIPELINE, "--headless", "--frames", "60", "--set", &workers]).stdout
    };
    let one = of("1");
    assert!(!one.is_empty());
    assert!(one == of("3"), "three workers");
    assert!(one == of("1"), "again");
}

#[test]
fn a_rhythm_in_milliseconds_follows_media_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = "source: { video: { path: CLIP } }\n\
        zones: { left: { polygon: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]] } }\n\
        models:\n  street: MODELS/ssdlite_mobilenet_v2_coco_int8.yaml\n  \
        left:\n    model: MODELS/ssdlite_mobilenet_v2_coco_int8.yaml\n    \
        detect: { classes: { car: {} } }\n    every_ms: 100\n    zone: left\n";
    let path = pipeline(dir.path(), text);
    let path = path.to_str().expect("UTF-8");
    let output = done(&[path, "--headless", "--frames", "50"]);
    // The same network under two names.
    let loaded = stderr(&output);
    let loaded = loaded
        .lines()
        .filter(|line| line.contains("ssdlite_mobilenet_v2_coco_int8: "));
    assert_eq!(loaded.count(), 1);
    let got = records(&output.stdout);
    let frames = of_type(&got, "frame");
    let ran = |frame: &&&Value| frame["models"]["left"]["inferred"] == true;
    let ran: Vec<u64> = frames
        .iter()
        .filter(ran)
        .filter_map(|f| f["frame"].as_u64())
        .collect();
    // 40 ms apart.
    let begins = |frame: &u64| *frame == 0 || frame * 40 / 100 != (frame - 1) * 40 / 100;
    assert_eq!(ran, (0..50).filter(begins).collect::<Vec<_>>());
    assert_eq!(ran[..5], [0, 3, 5, 8, 10]);
    let mut cars = 0;
    for frame in frames {
        for found in of_model(items(frame, "detections"), "left") {
            let [x, _, width, _] = rect(&found["bbox"]);
            assert!(x + width / 2.0 <= 320.01, "{frame}");
            assert_eq!(found["label"], "car");
            cars += 1;
        }
    }
    assert!(cars > 0);
}

fn loaded(path: &Path) -> Vec<LoadedPipeline> {
    config::load_all(path, &[], &RunArguments::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
}

const STREAMS: &str = "models:\n  \
    street: { model: MODELS/ssdlite_mobilenet_v2_coco_int8.yaml, detect: { classes: { person: {} } } }\n  \
    faces: { model: MODELS/centerface.yaml, inside: { model: street } }\n  \
    absent: MODELS/nowhere.yaml\n\
    streams:\n";

#[test]
fn a_model_that_several_streams_name_is_loaded_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let streams = "  - { stream: a, source: { video: { path: CLIP } }, models: [street, faces] }\n  \
        - { stream: b, source: { video: { path: CLIP } }, models: [street] }\n";
    let path = pipeline(dir.path(), &format!("{STREAMS}{streams}"));
    let configs = loaded(&path);
    let models = LoadedModels::load(&configs, KernelChoice::default()).expect("they load");
    let names: Vec<&str> = models
        .networks
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["ssdlite_mobilenet_v2_coco_int8", "centerface"]);
    let others: Vec<usize> = models
        .streams
        .iter()
        .map(|models| models.others.len())
        .collect();
    assert_eq!(others, [1, 0]);
    let path = path.to_str().expect("UTF-8");
    let output = done(&[path, "--headless", "--frames", "5"]);
    let said = stderr(&output);
    for card in ["ssdlite_mobilenet_v2_coco_int8: ", "centerface: "] {
        let lines = said
            .lines()
            .filter(|line| line.contains("INFO") && line.contains(card));
        assert_eq!(lines.count(), 1, "{said}");
    }
    let got = records(&output.stdout);
    let of_stream = |stream: &str, kind: &str| {
        let all = of_type(&got, kind).into_iter();
        all.filter(|record| record["stream"] == stream)
            .cloned()
            .collect::<Vec<_>>()
    };
    for frame in of_stream("a", "frame") {
        assert!(frame["models"]["faces"].is_object(), "{frame}");
    }
    for frame in of_stream("b", "frame") {
        assert_eq!(frame["models"], json!({"street": {"inferred": true}}));
    }
    assert!(of_stream("b", "run")[0]["models"]["faces"].is_null());
}

#[test]
fn a_pipeline_loads_no_model_that_it_does_not_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let streams = "  - { stream: a, source: { video: { path: CLIP } }, models: [faces] }\n";
    let text = format!("{STREAMS}{streams}").replace(", inside: { model: street }", "");
    let configs = loaded(&pipeline(dir.path(), &text));
    let models = LoadedModels::load(&configs, KernelChoice::default()).expect("it loads");
    let names: Vec<&str> = models
        .networks
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["centerface"]);
}

#[test]
fn check_says_what_each_model_runs_on() {
    let output = done(&["check", PIPELINE]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("ok (street: ") && said.contains("; faces: "),
        "{said}"
    );
    assert_eq!(complaints(&output), Vec::<String>::new());
}

#[test]
fn an_analysis_of_saved_records_gives_the_same_tracks() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("records.jsonl");
    let file = file.to_str().expect("UTF-8");
    done(&[PIPELINE, "--headless", "--frames", "60", "--output", file]);
    let analyzed = done(&["analyze", file, PIPELINE]);
    let live = records(&std::fs::read(file).expect("records"));
    let again = records(&analyzed.stdout);
    assert_eq!(live[0]["analysis_sha256"], again[0]["analysis_sha256"]);
    let (live, again) = (of_type(&live, "frame"), of_type(&again, "frame"));
    assert_eq!(live.len(), again.len());
    for (live, again) in live.iter().zip(again) {
        assert_eq!(live["tracks"], again["tracks"]);
        assert_eq!(live["detections"], again["detections"]);
    }
}
