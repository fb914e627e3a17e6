//! `mobilens card` and `mobilens run`: cards that are made from models' files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value as Json;

use crate::onnx::{Onnx, Value};
use crate::support::{complaints, end, file, of_type, records, run, stderr};
use mobilens::config::{CardConfig, FilterConfig, load_card};

/// Shape of the input of the small models, that of `tests/heads/reference.py`.
const INPUT: [usize; 4] = [1, 3, 64, 96];

/// The operators that an output ends with, behind a convolution.
type Ends<'a> = &'a [&'a str];

/// A network whose outputs have these names, shapes and last operators; their values do not matter.
pub fn small_model(outputs: &[(&str, Vec<usize>, Ends<'_>)], metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut onnx = Onnx::default();
    let pooled = onnx.node("GlobalAveragePool", &["input"], &[]);
    for (name, shape, ends) in outputs {
        let count: usize = shape.iter().product();
        let weights: Vec<f32> = (0..3 * count)
            .map(|i| (i * 7919 % 255) as f32 / 255.0 - 0.5)
            .collect();
        let weights = onnx.constant(&[count, 3, 1, 1], &weights);
        let mut value = onnx.node("Conv", &[&pooled, &weights], &[]);
        for op in *ends {
            value = match *op {
                "Mul" => {
                    let half = onnx.constant(&[1], &[0.5]);
                    onnx.node("Mul", &[&value, &half], &[])
                }
                "Softmax" => onnx.node("Softmax", &[&value], &[("axis", Value::Int(1))]),
                op => onnx.node(op, &[&value], &[]),
            };
        }
        let sizes: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        let sizes = onnx.integers(&sizes);
        let shaped = onnx.node("Reshape", &[&value, &sizes], &[]);
        onnx.rename(&shaped, name);
    }
    let named: Vec<_> = outputs
        .iter()
        .map(|(name, shape, _)| (*name, shape.clone()))
        .collect();
    onnx.file_with(&[("input", INPUT.to_vec())], &named, metadata)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn card(model: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["card".to_owned(), model.display().to_string()];
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    run(&arguments)
}

/// Writes a card and a pipeline that names it.
fn pipeline_of(model: &Path, folder: &Path) -> (PathBuf, PathBuf) {
    let name = model
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let of_card = folder.join(format!("{name}.yaml"));
    let output = card(model, &["-o", &of_card.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
    let pipeline = folder.join(format!("{name}.pipeline.yaml"));
    let clip = file("assets/street.mp4");
    let clip = clip.display();
    let yaml = format!(
        "source: {{ video: {{ path: \"{clip}\" }} }}\nmodel: {name}.yaml\nsinks: [jsonl: {{ path: \"-\" }}]\n"
    );
    fs::write(&pipeline, yaml).expect("room");
    (of_card, pipeline)
}

fn check(pipelines: &[PathBuf]) {
    let mut arguments = vec!["check".to_owned()];
    arguments.extend(pipelines.iter().map(|p| p.display().to_string()));
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(text(&output).lines().count(), pipelines.len());
}

/// The head's values, without what no file says.
fn head_of(card: &CardConfig) -> Json {
    let mut head = serde_json::to_value(&card.head).expect("JSON");
    if let Some(deeplab) = head.get_mut("deeplab").and_then(Json::as_object_mut) {
        deeplab.remove("siblings");
    }
    // A choice for pipelines, not a property of the file.
    if let Some(classify) = head.get_mut("classify").and_then(Json::as_object_mut) {
        classify.remove("budget_ms_per_s");
    }
    head
}

#[test]
fn cards_of_the_shipped_models_say_what_the_shipped_cards_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut pipelines = Vec::new();
    for name in [
        "centerface",
        "deeplabv3_mobilenet_v2_voc_os16",
        "deeplabv3_mobilenet_v2_voc_os8_int8",
        "efficientnet_lite0_imagenet_int8",
        "ssd_mobilenet_v2_oidv4",
        "ssdlite_mobilenet_v2_coco_int8",
    ] {
        let (made, pipeline) = pipeline_of(&file(&format!("models/{name}.onnx")), folder.path());
        pipelines.push(pipeline);
        let yaml = fs::read_to_string(&made).expect("the card");
        let (made, _) = load_card(&made).expect("a good card");
        let (shipped, _) = load_card(&file(&format!("models/{name}.yaml"))).expect("shipped");
        assert_eq!(head_of(&made), head_of(&shipped), "{name}");
        let (a, b) = (&made.input, &shipped.input);
        let size =
            |input: &mobilens::config::InputConfig| (input.width_px, input.height_px, input.colour);
        assert_eq!(size(a), size(b), "{name}");
        assert_eq!(
            (a.mean, a.std, a.resize),
            (b.mean, b.std, b.resize),
            "{name}"
        );
        assert_eq!(a.letterbox_anchor(), b.letterbox_anchor(), "{name}");
        assert_eq!(a.letterbox_pad_value(), b.letterbox_pad_value(), "{name}");
        assert_eq!(
            a.center_crop_shorter_px(),
            b.center_crop_shorter_px(),
            "{name}"
        );
        if b.filter == FilterConfig::Bilinear {
            assert_eq!(a.half_pixel, b.half_pixel, "{name}");
        } else {
            assert!(yaml.contains("# UNKNOWN: resizing filter"), "{name}");
        }
        assert_eq!(
            made.file.canonicalize().ok(),
            shipped.file.canonicalize().ok()
        );
        if name.contains("oidv4") {
            assert!(
                yaml.contains("# UNKNOWN: names of the 23 classes"),
                "{yaml}"
            );
        } else {
            assert_eq!(made.labels, shipped.labels, "{name}");
        }
    }
    check(&pipelines);
}

/// What a small model of a kind has besides the shapes of the reference.
struct Kind {
    ends: Ends<'static>,
    metadata: &'static [(&'static str, &'static str)],
    /// What must be in the card.
    lines: &'static [&'static str],
}

const NAMES: (&str, &str) = ("names", "{0: 'person', 1: 'car', 2: \"no\"}");
const EXPORT: [(&str, &str); 3] = [NAMES, ("task", "detect"), ("stride", "32")];

const POSE: [(&str, &str); 4] = [
    NAMES,
    ("task", "pose"),
    ("stride", "32"),
    ("kpt_shape", "[4, 3]"),
];
const SEGMENT: [(&str, &str); 3] = [NAMES, ("task", "segment"), ("stride", "32")];

fn kind_of(name: &str) -> Kind {
    let kind = |ends: Ends<'static>, metadata, lines| Kind {
        ends,
        metadata,
        lines,
    };
    match name {
        "yolov2" => kind(&[], &[], &["anchor_unit: cells", "activation: softmax"]),
        "yolov3" | "yolov4" | "yolov7_raw" => kind(
            &[],
            &[],
            &["size_coding: exp", "anchors, which training may change"],
        ),
        "yolov3_channels_last" => kind(&[], &[], &["layout: channels_last"]),
        "yolov5_raw" => kind(
            &[],
            &[],
            &["layout: anchors_first", "size_coding: squared_sigmoid"],
        ),
        "yolov5_rows" | "yolov5_rows_best_label" => kind(
            &["Sigmoid", "Mul"],
            &EXPORT,
            &["objectness: true", "layout: rows_first", "name: \"no\""],
        ),
        "yolov8" | "yolov8_best_label" => kind(
            &["Sigmoid", "Mul"],
            &EXPORT,
            &[
                "objectness: false",
                "layout: channels_first",
                "pad_value: 114",
            ],
        ),
        "yolov8_transposed" => kind(
            &["Sigmoid"],
            &EXPORT,
            &["objectness: false", "layout: rows_first"],
        ),
        "yolov8_pose" => kind(&["Sigmoid", "Mul"], &POSE, &["kpt_shape: [4, 3]"]),
        "pose_end_to_end" => kind(
            &[],
            &[NAMES, ("end2end", "True"), ("kpt_shape", "[4, 2]")],
            &["end_to_end: {}", "kpt_shape: [4, 2]"],
        ),
        "yolov8_seg" => kind(
            &["Sigmoid", "Mul"],
            &SEGMENT,
            &["prototypes: o1", "objectness: false"],
        ),
        "yolov5_seg" => kind(
            &["Sigmoid", "Mul"],
            &SEGMENT,
            &["prototypes: o1", "objectness: true"],
        ),
        "yolov8_raw" => kind(&[], &EXPORT, &["distribution_maps:", "bins: 16"]),
        "yolov6_raw" => kind(&[], &[], &["bins: 17", "split: true"]),
        "distances_raw" => kind(&[], &[], &["bins: 1"]),
        "yolox" => kind(
            &["Sigmoid"],
            &[],
            &["grid_rows:", "colour: bgr", "anchor: top_left"],
        ),
        "yolov10" => kind(&[], &[NAMES, ("end2end", "True")], &["end_to_end: {}"]),
        "nanodet" | "picodet" => kind(&["Sigmoid"], &[], &["cell_offset: 0.5", "bins: 8"]),
        "nanodet_plus" => kind(&["Sigmoid"], &[], &["joined: true", "cell_offset: 0"]),
        "gfl_maps" => kind(&["Sigmoid"], &[], &["layout: channels_first", "bins: 17"]),
        "centernet" => kind(&["Sigmoid"], &[], &["coding: centernet", "size: o1"]),
        "centerface" => kind(&["Sigmoid"], &[], &["coding: centerface", "landmarks: o3"]),
        "retinaface" => kind(&["Softmax"], &[], &["retinaface:", "landmarks: o2"]),
        "rtdetr" => kind(&[], &[], &["detr:", "activation: sigmoid"]),
        "detr" => kind(&["Softmax"], &[], &["detr:", "activation:"]),
        // Anchors of such small inputs could be those of several layouts.
        "ssd_torchvision" | "ssd_fpn_lite" | "ssd_anchor_list" => kind(&[], &[], &["head:"]),
        other => panic!("the case {other} is new"),
    }
}

#[test]
fn cards_of_each_head_are_accepted_by_check() {
    let index = fs::read_to_string(file("tests/data/heads/index.json")).expect("the index");
    let index: Json = serde_json::from_str(&index).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let mut pipelines = Vec::new();
    for case in index["cases"].as_array().expect("a list") {
        let name = case["name"].as_str().expect("a name");
        // Known by the number of its anchors at its own input sizes, which this case has not.
        if name == "blazeface" {
            continue;
        }
        let shapes: Vec<Vec<usize>> =
            serde_json::from_value(case["shapes"].clone()).expect("shapes");
        let Kind {
            ends,
            metadata,
            lines,
        } = kind_of(name);
        let names: Vec<String> = (0..shapes.len()).map(|i| format!("o{i}")).collect();
        let outputs: Vec<_> = names
            .iter()
            .zip(&shapes)
            .map(|(name, shape)| (name.as_str(), shape.clone(), ends))
            .collect();
        let model = folder.path().join(format!("{name}.onnx"));
        fs::write(&model, small_model(&outputs, metadata)).expect("room");
        let (made, pipeline) = pipeline_of(&model, folder.path());
        pipelines.push(pipeline);
        let yaml = fs::read_to_string(made).expect("the card");
        for line in lines {
            assert!(yaml.contains(line), "{name}: no \"{line}\" in\n{yaml}");
        }
    }
    check(&pipelines);
}

#[test]
fn a_graph_that_normalises_itself_is_seen() {
    let mut onnx = Onnx::default();
    let mean = onnx.constant(&[1, 3, 1, 1], &[0.485, 0.456, 0.406]);
    let std = onnx.constant(&[1, 3, 1, 1], &[0.229, 0.224, 0.225]);
    let weights = onnx.constant(&[5, 3, 1, 1], &[0.5; 15]);
    let centred = onnx.node("Sub", &["input", &mean], &[]);
    let scaled = onnx.node("Div", &[&centred, &std], &[]);
    let pooled = onnx.node("GlobalAveragePool", &[&scaled], &[]);
    let scores = onnx.node("Conv", &[&pooled, &weights], &[]);
    let flat = onnx.node("Flatten", &[&scores], &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("own.onnx");
    let bytes = onnx.file_with(&[("input", INPUT.to_vec())], &[(&flat, vec![1, 5])], &[]);
    fs::write(&model, bytes).expect("room");
    let output = card(&model, &[]);
    let yaml = text(&output);
    assert!(yaml.contains("std: [255, 255, 255]"), "{yaml}");
    assert!(
        yaml.contains("the graph normalises itself (Sub and Div by constants), for 0 to 1"),
        "{yaml}"
    );
    assert!(yaml.contains("# UNKNOWN: names of the 5 classes"), "{yaml}");
}

/// A classifier of three classes.
fn classifier(folder: &Path) -> PathBuf {
    let model = folder.join("three.onnx");
    let outputs: [(&str, Vec<usize>, Ends<'_>); 1] = [("scores", vec![1, 3], &["Softmax"])];
    fs::write(&model, small_model(&outputs, &[NAMES])).expect("room");
    model
}

#[test]
fn a_card_is_tried_on_a_picture_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = classifier(folder.path());
    let picture = folder.path().join("a.png");
    fs::copy(file("tests/data/pictures/coffee.png"), &picture).expect("room");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (written, tried) = (at("card.yaml"), at("a.png"));
    let output = card(&model, &["-o", &written, "--try", &tried]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = text(&output);
    assert!(said.contains("card.yaml: head `classify`"), "{said}");
    assert!(
        said.contains("a.three.png: drawn") && said.contains("person"),
        "{said}"
    );
    image::open(at("a.three.png")).expect("a picture");

    let again = card(&model, &["-o", &written]);
    assert_eq!(again.status.code(), Some(2));
    let said = complaints(&again);
    assert!(
        said.len() == 1 && said[0].contains("card.yaml exists"),
        "{said:?}"
    );
    assert_eq!(
        card(&model, &["-o", &written, "--force"]).status.code(),
        Some(0)
    );
    let drawn = card(&model, &["--try", &tried]);
    assert_eq!(drawn.status.code(), Some(2), "{}", text(&drawn));
}

#[test]
fn a_model_runs_without_a_pipeline() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = classifier(folder.path());
    let name = model.display().to_string();
    let picture = file("tests/data/pictures/coffee.png").display().to_string();
    let output = run(&["run", &name, "--input", &picture]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    assert_eq!(end(&got)["frames"]["captured"], 1);
    let frame = of_type(&got, "frame")[0];
    assert_eq!(
        frame["classification"].as_array().expect("classes").len(),
        3,
        "{frame}"
    );
    // What is not known is said, a line each.
    let said = complaints(&output);
    assert!(
        said.iter()
            .any(|line| line.contains("UNKNOWN: preprocessing")),
        "{said:?}"
    );

    // With a card beside it, that is used, and says all that options would say.
    let beside = model.with_extension("yaml").display().to_string();
    assert_eq!(card(&model, &["-o", &beside]).status.code(), Some(0));
    let output = run(&["run", &name, "--input", &picture, "--score", "0.9"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(complaints(&output).is_empty(), "{}", stderr(&output));
    let output = run(&["run", &name, "--input", &picture, "--head", "classify"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        complaints(&output)[0].contains("--head has no effect"),
        "{}",
        stderr(&output)
    );
}

/// Kinds of outputs that the reference does not have.
#[test]
fn cards_of_more_kinds_are_accepted_by_check() {
    type Case = (
        &'static str,
        Vec<(&'static str, Vec<usize>, Ends<'static>)>,
        &'static [(&'static str, &'static str)],
        &'static [&'static str],
    );
    // 64x96: strides 8, 16, 32 have 126 cells, 8 to 128 together 129.
    let cases: [Case; 6] = [
        (
            "pyramid",
            vec![
                ("boxes", vec![1, 774, 4], &[]),
                ("scores", vec![1, 774, 91], &["Sigmoid"]),
            ],
            &[],
            &[
                "multiscale_anchors:",
                "activation: none",
                "id: 1, name: person",
            ],
        ),
        (
            "plates",
            vec![
                ("loc", vec![1, 252, 4], &[]),
                ("conf", vec![1, 252, 2], &["Softmax"]),
                ("landms", vec![1, 252, 8], &[]),
            ],
            &[],
            &["landmarks: landms", "# UNKNOWN: sizes of the priors"],
        ),
        (
            "logits",
            vec![("o", vec![1, 21, 64, 96], &[])],
            &[],
            &["segment:", "values: logits", "name: aeroplane"],
        ),
        (
            "mask",
            vec![("o", vec![1, 1, 64, 96], &["Sigmoid"])],
            &[],
            &[
                "values: probabilities",
                "name: foreground",
                "UNKNOWN: name of what is segmented",
            ],
        ),
        (
            "last",
            vec![("o", vec![1, 32, 48, 5], &[])],
            &[],
            &["layout: channels_last", "UNKNOWN: names of the 5 classes"],
        ),
        (
            "blazeface",
            vec![
                ("scores8", vec![1, 192, 1], &[]),
                ("scores16", vec![1, 144, 1], &[]),
                ("boxes8", vec![1, 192, 16], &[]),
                ("boxes16", vec![1, 144, 16], &[]),
            ],
            &[],
            &[
                "fixed_anchors:",
                "keypoints: 6",
                "nms: weighted",
                "scores: scores16",
            ],
        ),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let mut pipelines = Vec::new();
    for (name, outputs, metadata, lines) in cases {
        let model = folder.path().join(format!("{name}.onnx"));
        fs::write(&model, small_model(&outputs, metadata)).expect("room");
        let (made, pipeline) = pipeline_of(&model, folder.path());
        pipelines.push(pipeline);
        let yaml = fs::read_to_string(made).expect("the card");
        for line in lines {
            assert!(yaml.contains(line), "{name}: no \"{line}\" in\n{yaml}");
        }
    }
    check(&pipelines);
}
