//! Heads of cards through the binary, on networks of a node or two: class ids and one channel of a segmentation,
//! keypoints and masks of objects.

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use serde_json::Value as Json;

use crate::onnx::{Onnx, Type, Value};
use crate::support::{of_type, records, run, stderr};

/// A picture whose left half is red and whose right half is blue, a network, its card, and a pipeline.
fn setup(folder: &Path, network: &[u8], head: &str, labels: &str) -> String {
    let picture = RgbImage::from_fn(16, 16, |x, _| {
        Rgb(if x < 8 { [255, 0, 0] } else { [0, 0, 255] })
    });
    let pictures = folder.join("pictures");
    fs::create_dir_all(&pictures).expect("a folder");
    picture.save(pictures.join("1.png")).expect("a picture");
    fs::write(folder.join("any.onnx"), network).expect("writable");
    let card = format!(
        "name: any\nfile: any.onnx\ninput: {{ width_px: 8, height_px: 8, mean: [0, 0, 0], std: [255, 255, 255], \
         half_pixel: true }}\nhead: {{ {head} }}\nlabels: {labels}\n"
    );
    fs::write(folder.join("any.yaml"), card).expect("writable");
    let pipeline = folder.join("pipeline.yaml");
    let text = "source: { images: { path: pictures } }\nmodel: any.yaml\nsinks: [{ jsonl: { path: '-' } }]\n";
    fs::write(&pipeline, text).expect("writable");
    pipeline.display().to_string()
}

/// The one frame record.
fn frame(pipeline: &str, more: &[&str]) -> Json {
    let output = run(&[&[pipeline, "--headless"], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    of_type(&got, "frame")[0].clone()
}

/// The one line of a run that is refused.
fn refusal(pipeline: &str) -> String {
    let output = run(&[pipeline, "--headless"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    said
}

const COLOURS: &str = "[{ id: 0, name: red }, { id: 1, name: green }, { id: 2, name: blue }]";

fn shares(frame: &Json) -> Vec<(String, f64)> {
    let classes = frame["segmentation"]["classes"].as_array().expect("a list");
    let of_class = |class: &Json| {
        let label = class["label"].as_str().expect("a label").to_owned();
        (label, class["share"].as_f64().expect("a share"))
    };
    classes.iter().map(of_class).collect()
}

#[test]
fn the_argmax_of_a_network_is_a_segmentation() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut onnx = Onnx::with_types([Type::Float, Type::Int64]);
    let attributes = [("axis", Value::Int(1)), ("keepdims", Value::Int(0))];
    let ids = onnx.node("ArgMax", &["input"], &attributes);
    let network = onnx.file(&[1, 3, 8, 8], &ids, &[1, 8, 8]);
    let head = format!("segment: {{ output: {ids}, values: class_ids }}");
    let pipeline = setup(folder.path(), &network, &head, COLOURS);
    let half = |label: &str| (label.to_owned(), 0.5);
    assert_eq!(shares(&frame(&pipeline, &[])), [half("red"), half("blue")]);

    let head = format!("segment: {{ output: {ids}, values: logits }}");
    let pipeline = setup(folder.path(), &network, &head, COLOURS);
    let said = refusal(&pipeline);
    assert!(
        said.contains("expected [1, channels, rows, columns]"),
        "{said}"
    );
}

#[test]
fn one_channel_is_an_object_and_its_background() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut onnx = Onnx::default();
    let weights = onnx.constant(&[1, 3, 1, 1], &[1.0, 0.0, 0.0]);
    let share = onnx.node("Conv", &["input", &weights], &[]);
    let network = onnx.file(&[1, 3, 8, 8], &share, &[1, 1, 8, 8]);
    let head = format!("segment: {{ output: {share}, values: probabilities }}");
    let labels = "[{ id: 0, name: background }, { id: 1, name: red }]";
    let pipeline = setup(folder.path(), &network, &head, labels);
    let got = frame(&pipeline, &[]);
    let half = |label: &str| (label.to_owned(), 0.5);
    assert_eq!(shares(&got), [half("background"), half("red")]);

    let pipeline = setup(folder.path(), &network, &head, COLOURS);
    let said = refusal(&pipeline);
    assert!(said.contains("3 labels, the network 2 classes"), "{said}");
}

/// A network whose output is the constant `values` of this shape, whatever the picture.
fn constant(shape: &[usize], values: &[f32]) -> (Vec<u8>, String) {
    let mut onnx = Onnx::default();
    let axes = [
        ("axes", Value::Ints(&[1, 2, 3])),
        ("keepdims", Value::Int(1)),
    ];
    let mean = onnx.node("ReduceMean", &["input"], &axes);
    let flat = onnx.integers(&[1, 1, 1]);
    let mean = onnx.node("Reshape", &[&mean, &flat], &[]);
    let nothing = onnx.constant(&[1], &[0.0]);
    let nothing = onnx.node("Mul", &[&mean, &nothing], &[]);
    let values = onnx.constant(shape, values);
    let sum = onnx.node("Add", &[&nothing, &values], &[]);
    (onnx.file(&[1, 3, 8, 8], &sum, shape), sum)
}

#[test]
fn keypoints_are_in_records_and_in_coco_results() {
    let folder = tempfile::tempdir().expect("a folder");
    // x0, y0, x1, y1, score, class; two keypoints.
    let row = [2.0, 2.0, 6.0, 7.0, 0.9, 0.0, 3.0, 2.5, 0.8, 5.0, 6.0, 0.25];
    let (network, output) = constant(&[1, 1, 12], &row);
    let pose = |shape: &str| {
        format!(
            "yolo: {{ outputs: [{output}], kpt_shape: {shape}, format: {{ end_to_end: }}, max_detections: 9 }}"
        )
    };
    let labels = "[{ id: 0, name: person }]";
    let pipeline = setup(folder.path(), &network, &pose("[2, 3]"), labels);
    let expected = serde_json::json!([[6.0, 5.0, 0.8], [10.0, 12.0, 0.25]]);
    let got = frame(&pipeline, &[]);
    let person = &got["detections"][0];
    assert_eq!(person["bbox"], serde_json::json!([4.0, 4.0, 8.0, 10.0]));
    assert_eq!(person["keypoints"], expected);
    let results = folder.path().join("results.json").display().to_string();
    let arguments = [
        &pipeline[..],
        "--headless",
        "--format",
        "coco",
        "--output",
        &results,
    ];
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = fs::read_to_string(&results).expect("results");
    let results: Json = serde_json::from_str(&text).expect("JSON");
    let flat = serde_json::json!([6.0, 5.0, 0.8, 10.0, 12.0, 0.25]);
    assert_eq!(results[0]["keypoints"], flat);

    let pipeline = setup(folder.path(), &network, &pose("[4, 3]"), labels);
    let said = refusal(&pipeline);
    assert!(said.contains("expected [1, K, 6+12]"), "{said}");
}
