//! `mobilens quantize` on a tiny segmentation model.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::onnx::{Onnx, Value};
use crate::support::{Process, complaints, file, mobilens, run, stderr};

const CARD: &str = r#"# A test.
name: tiny
file: tiny.onnx
input:
  width_px: 64
  height_px: 64
  mean: [127.5, 127.5, 127.5]
  std: [127.5, 127.5, 127.5]
head:
  deeplab:
    logits: LOGITS
    output_stride: 16
    align_corners: true
labels:
  - { id: 0, name: background }
  - { id: 1, name: person }
"#;

/// A folder with `tiny.yaml`, `tiny.onnx` and `pictures`.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let mut onnx = Onnx::default();
    let mut x = "input".to_owned();
    for (outputs, inputs) in [(8, 3), (2, 8)] {
        let shape = [outputs, inputs, 3, 3];
        let count: usize = shape.iter().product();
        let weights: Vec<f32> = (0..count)
            .map(|i| ((i * 7919) % 101) as f32 / 200.0 - 0.25)
            .collect();
        let weights = onnx.constant(&shape, &weights);
        let attributes = [
            ("kernel_shape", Value::Ints(&[3, 3])),
            ("strides", Value::Ints(&[4, 4])),
            ("pads", Value::Ints(&[1, 1, 1, 1])),
        ];
        x = onnx.node("Conv", &[&x, &weights], &attributes);
        if outputs == 8 {
            x = onnx.node("Relu", &[&x], &[]);
        }
    }
    let card = CARD.replace("LOGITS", &x);
    let model = onnx.file(&[1, 3, 64, 64], &x, &[1, 2, 4, 4]);
    fs::write(dir.path().join("tiny.yaml"), card).expect("room");
    fs::write(dir.path().join("tiny.onnx"), model).expect("room");
    let pictures = dir.path().join("pictures");
    fs::create_dir(&pictures).expect("room");
    for name in ["astronaut.png", "chelsea.png", "coffee.png"] {
        let from = file("tests/data/pictures").join(name);
        fs::copy(from, pictures.join(name)).expect("room");
    }
    dir
}

fn quantize(dir: &Path, more: &[&str]) -> std::process::Output {
    let path = |name: &str| dir.join(name).display().to_string();
    let (card, pictures) = (path("tiny.yaml"), path("pictures"));
    let mut arguments = vec!["quantize", &card, "--images", &pictures];
    arguments.extend(more);
    run(&arguments)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("a folder")
        .map(|entry| entry.expect("readable").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn model_and_card_are_written_and_can_be_used() {
    let dir = folder();
    let output = quantize(dir.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Json = serde_json::from_slice(&output.stdout).expect("one JSON line");
    assert_eq!(report["convolutions"], 2);
    assert_eq!(report["pictures"], 3);
    let db = report["outputs"][0]["sqnr_db"].as_f64().expect("a figure");
    assert!(db > 25.0, "{report}");
    let expected = [
        "pictures",
        "tiny.onnx",
        "tiny.yaml",
        "tiny_int8.onnx",
        "tiny_int8.yaml",
    ];
    assert_eq!(names(dir.path()), expected);
    let card = fs::read_to_string(dir.path().join("tiny_int8.yaml")).expect("a card");
    assert!(card.contains("\nname: tiny_int8\n"), "{card}");
    assert!(!card.contains(&*dir.path().to_string_lossy()), "{card}");
    let pipeline = dir.path().join("pipeline.yaml");
    let text = "source: { images: { path: pictures } }\nmodel: tiny_int8.yaml\n";
    fs::write(&pipeline, text).expect("room");
    let check = run(&["check", &pipeline.display().to_string()]);
    assert_eq!(check.status.code(), Some(0), "{}", stderr(&check));

    let model = |dir: &Path| fs::read(dir.join("tiny_int8.onnx")).expect("a model");
    let first = model(dir.path());
    let again = quantize(dir.path(), &[]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(first == model(dir.path()), "the same bytes");
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(text.contains("SQNR in dB of the outputs"), "{text}");

    let int8 = dir.path().join("tiny_int8.yaml").display().to_string();
    let pictures = dir.path().join("pictures").display().to_string();
    let twice = run(&["quantize", &int8, "--images", &pictures]);
    assert_eq!(twice.status.code(), Some(2));
    assert!(complaints(&twice)[0].contains("quantised already"));
}

#[test]
fn a_loss_over_the_limit_is_exit_code_1() {
    let dir = folder();
    let truth = r#"{"images":[{"id":1,"file_name":"coffee.png","width":600,"height":400}],
        "categories":[{"id":1,"name":"person"}],
        "annotations":[{"image_id":1,"category_id":1,"area":60000,
            "segmentation":[[0,0,300,0,300,200,0,200]]}]}"#;
    fs::write(dir.path().join("truth.json"), truth).expect("room");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (truth, pictures) = (path("truth.json"), path("pictures"));
    let measured = ["--instances", &truth, "--eval-images", &pictures];
    let with = |limit| [&measured[..], &[limit]].concat();
    let within = quantize(dir.path(), &with("--max-loss=0.5"));
    assert_eq!(within.status.code(), Some(0), "{}", stderr(&within));
    let text = String::from_utf8_lossy(&within.stdout);
    assert!(text.contains("mean IoU 0."), "{text}");
    // No model is better than itself by this much.
    let over = quantize(dir.path(), &with("--max-loss=-0.5"));
    assert_eq!(over.status.code(), Some(1));
    assert!(complaints(&over)[0].contains("--max-loss"));
    let card = fs::read_to_string(dir.path().join("tiny_int8.yaml")).expect("a card");
    assert!(card.contains("mean IoU"), "{card}");
}

#[test]
fn what_cannot_be_used_is_one_line() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::create_dir(dir.path().join("empty")).expect("room");
    fs::create_dir(dir.path().join("damaged")).expect("room");
    fs::write(dir.path().join("damaged/cut.png"), b"\x89PNG\r\n\x1a\n").expect("room");
    fs::write(
        dir.path().join("truth.json"),
        r#"{"images":[],"annotations":[],"categories":[]}"#,
    )
    .expect("room");
    let (card, pictures, empty) = (path("tiny.yaml"), path("pictures"), path("empty"));
    let (damaged, truth, none) = (path("damaged"), path("truth.json"), path("none"));
    let over = path("tiny.onnx");
    let nowhere = path("nowhere/int8.onnx");
    let cases: [(&[&str], &str); 9] = [
        (&[&none, "--images", &pictures], "No such file"),
        (&[&card, "--images", &none], "No such file"),
        (&[&card, "--images", &empty], "no pictures"),
        (&[&card, "--images", &damaged], "cut.png"),
        (
            &[&card, "--images", &pictures, "-o", "int8"],
            "ends with .onnx",
        ),
        (
            &[&card, "--images", &pictures, "-o", &over],
            "would be overwritten",
        ),
        (
            &[&card, "--images", &pictures, "-o", &nowhere],
            "there is no folder",
        ),
        (
            &[
                &card,
                "--images",
                &pictures,
                "--coco",
                &truth,
                "--eval-images",
                &pictures,
            ],
            "does not detect",
        ),
        (
            &[
                &card,
                "--images",
                &pictures,
                "--instances",
                &truth,
                "--eval-images",
                &pictures,
            ],
            "no picture of --eval-images has ground truth",
        ),
    ];
    let before = names(dir.path());
    for (arguments, expected) in cases {
        let output = run(&[&["quantize"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let lines = complaints(&output);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(expected), "{lines:?}");
    }
    assert_eq!(names(dir.path()), before);
    let usage = quantize(dir.path(), &["--max-loss", "0.1"]);
    assert_eq!(usage.status.code(), Some(2), "it needs ground truth");
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let pictures = dir.path().join("pictures");
    fs::create_dir(&pictures).expect("room");
    for i in 0..100 {
        let from = file("tests/data/pictures/coffee.png");
        fs::copy(from, pictures.join(format!("{i}.png"))).expect("room");
    }
    let mut command = mobilens();
    command
        .arg("quantize")
        .arg(file("models/ssdlite_mobilenet_v2_coco.yaml"))
        .arg("--images")
        .arg(&pictures)
        .args(["--limit", "100", "-o"])
        .arg(dir.path().join("int8.onnx"));
    let mut process = Process::start(&mut command);
    // Long after the handler is there, and long before the end, which is minutes off.
    std::thread::sleep(std::time::Duration::from_secs(3));
    process.interrupt();
    assert_eq!(process.ended().code(), Some(130));
    assert_eq!(names(dir.path()), ["pictures"]);
}

/// The shipped detector keeps its outputs.
#[test]
#[ignore = "slow: run by CI"]
fn ssdlite_keeps_its_outputs() {
    let dir = tempfile::tempdir().expect("a folder");
    let model: PathBuf = dir.path().join("ssdlite.onnx");
    let (card, pictures) = (
        file("models/ssdlite_mobilenet_v2_coco.yaml"),
        file("tests/data/pictures"),
    );
    let [card, pictures, model] = [&card, &pictures, &model].map(|p| p.display().to_string());
    let output = run(&[
        "quantize", &card, "--images", &pictures, "-o", &model, "--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Json = serde_json::from_slice(&output.stdout).expect("one JSON line");
    assert_eq!(report["convolutions"], 88);
    for output in report["outputs"].as_array().expect("a list") {
        assert!(
            output["sqnr_db"].as_f64().expect("a figure") > 18.0,
            "{report}"
        );
    }
}
