//! Classification of real pictures, from the command line.

use std::fs;

use crate::support::{file, of_type, records, run, stderr};
use serde_json::Value;

const PIPELINE: &str = "pipelines/classify_pictures.yaml";

fn classes(frame: &Value) -> Vec<(u64, &str, f64)> {
    let classes = frame["classification"].as_array().expect("a list");
    let class = |class: &'_ Value| {
        let id = class["category_id"].as_u64().expect("an id");
        (id, class["score"].as_f64().expect("a score"))
    };
    classes
        .iter()
        .map(|c| {
            (
                class(c).0,
                c["label"].as_str().expect("a label"),
                class(c).1,
            )
        })
        .collect()
}

#[test]
fn a_cat_and_a_cup_of_coffee_are_known_and_drawn() {
    let dir = tempfile::tempdir().expect("a folder");
    let drawn = format!("sinks.1.images.dir={}", dir.path().display());
    let pictures = file("tests/data/pictures").display().to_string();
    let output = run(&[PIPELINE, "--input", &pictures, "--set", &drawn]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    let frames = of_type(&got, "frame");
    assert_eq!(frames.len(), 3);
    let named = |name: &str| {
        let of_name = frames.iter().find(|f| f["name"] == name);
        classes(of_name.expect("a record for each picture"))
    };
    let coffee = named("coffee.png");
    assert_eq!((coffee[0].0, coffee[0].1), (967, "espresso"), "{coffee:?}");
    assert!(coffee[0].2 > 0.8, "{coffee:?}");
    let cat = named("chelsea.png");
    let cats = ["tiger cat", "Egyptian cat", "tabby"];
    assert!(cat.len() >= 3 && cat.len() <= 5, "{cat:?}");
    assert!(cat[..3].iter().all(|c| cats.contains(&c.1)), "{cat:?}");
    assert!(cat.is_sorted_by(|a, b| a.2 >= b.2) && cat[0].2 < 0.6);
    assert!(cat.iter().all(|c| c.2 >= 0.01), "{cat:?}");

    // The corner of the drawn picture is a plate of text; the rest is the photograph.
    let of_file = |path: &std::path::Path| image::open(path).expect("a picture").into_rgb8();
    let photograph = of_file(&file("tests/data/pictures/chelsea.png"));
    let entries = fs::read_dir(dir.path()).expect("the folder");
    let path = entries
        .map(|e| e.expect("an entry").path())
        .find(|p| p.to_string_lossy().contains("chelsea"))
        .expect("a drawn picture");
    let picture = of_file(&path);
    let differ = |x, y| {
        let (a, b) = (picture.get_pixel(x, y), photograph.get_pixel(x, y));
        a.0.iter().zip(b.0).any(|(a, b)| a.abs_diff(b) > 60)
    };
    assert!((4..40).any(|x| differ(x, 4)));
    assert!((0..photograph.width()).all(|x| !differ(x, photograph.height() - 1)));
}

#[test]
fn settings_and_workers_bear_on_the_records_as_they_say() {
    let pictures = file("tests/data/pictures").display().to_string();
    let run = |sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let arguments: Vec<&str> = [PIPELINE, "--input", &pictures]
            .into_iter()
            .chain(sets)
            .collect();
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        output.stdout
    };
    let counts = |sets: &[&str]| -> Vec<usize> {
        let got = records(&run(sets));
        let frames = of_type(&got, "frame");
        frames.iter().map(|frame| classes(frame).len()).collect()
    };
    assert_eq!(
        counts(&["classify.top=3", "classify.score_threshold=0"]),
        [3; 3]
    );
    assert_eq!(
        counts(&["classify.top=1000", "classify.score_threshold=0"]),
        [1000; 3]
    );
    // astronaut.png is none of ImageNet's classes.
    assert_eq!(counts(&["classify.score_threshold=0.8"]), [0, 0, 1]);
    assert!(run(&["inference.workers=1"]) == run(&["inference.workers=2"]));
}

#[test]
fn a_gated_frame_has_no_classes() {
    let output = run(&[
        PIPELINE,
        "--input",
        "assets/street.mp4",
        "--frames",
        "6",
        "--set",
        "model=../tests/data/tiny/classifier.yaml",
        "--set",
        "gating.interval={every: 3}",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    for (i, frame) in of_type(&got, "frame").iter().enumerate() {
        let is_inferred = i % 3 == 0;
        assert_eq!(frame["inferred"], is_inferred, "{frame}");
        assert_eq!(
            frame.get("classification").is_some(),
            is_inferred,
            "{frame}"
        );
    }
}

#[test]
fn a_card_that_does_not_fit_its_network_is_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let card = fs::read_to_string(file("tests/data/tiny/classifier.yaml")).expect("a card");
    let onnx = file("tests/data/tiny/tiny.onnx").display().to_string();
    let card = card.replace("tiny.onnx", &onnx);
    for (from, to, expected) in [
        (
            "output: scores",
            "output: score",
            "no output \"score\"; it has boxes, scores",
        ),
        (
            "id: 1, name",
            "id: 2, name",
            "the label 2 (\"bright\") has no channel; the output has 2",
        ),
    ] {
        assert!(card.contains(from));
        let path = dir.path().join("card.yaml");
        fs::write(&path, card.replace(from, to)).expect("room");
        let model = format!("model={}", path.display());
        let output = run(&["check", PIPELINE, "--set", &model]);
        assert_eq!(output.status.code(), Some(2), "{expected}");
        let said = stderr(&output);
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

#[test]
fn evaluations_of_boxes_and_masks_are_refused_in_one_line() {
    let pictures = file("tests/data/pictures").display().to_string();
    let masks = tempfile::tempdir().expect("a folder");
    let truth = masks.path().join("coco.json");
    fs::write(&truth, r#"{"images":[],"annotations":[],"categories":[]}"#).expect("room");
    let (truth, masks) = (
        truth.display().to_string(),
        masks.path().display().to_string(),
    );
    let name = "efficientnet_lite0_imagenet_int8";
    let cases: [(&[&str], &str); 3] = [
        (
            &[
                "eval",
                "detection",
                PIPELINE,
                "--images",
                &pictures,
                "--coco",
                &truth,
            ],
            "does not detect",
        ),
        (
            &[
                "eval",
                "segmentation",
                PIPELINE,
                "--images",
                &pictures,
                "--masks",
                &masks,
            ],
            "does not segment",
        ),
        (
            &[
                "quantize",
                "tests/data/tiny/classifier.yaml",
                "--images",
                &pictures,
                "--coco",
                &truth,
                "--eval-images",
                &pictures,
            ],
            "tiny_classifier classifies pictures",
        ),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{expected}");
        let said = stderr(&output);
        assert!(said.contains(expected), "{said}");
        assert!(said.contains(name) || said.contains("tiny"), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}
