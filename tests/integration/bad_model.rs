//! Models that are none: one clear line and exit 2 from each command that loads a model.

use std::fs;
use std::path::Path;

use crate::card::small_model;
use crate::onnx::{Onnx, Value};
use crate::support::{complaints, file, run, stderr};

/// Each command on `model` must refuse it with exit 2 and one line that holds `words`.
fn refused(model: &Path, commands: &[&str], words: &str) {
    let folder = model.parent().expect("a folder");
    let name = model.display().to_string();
    let picture = file("tests/data/pictures/coffee.png").display().to_string();
    let pipeline = folder.join("pipeline.yaml");
    let stem = model.file_name().expect("a name").to_string_lossy();
    let of_card = folder.join("any.card.yaml");
    let yaml = format!(
        "name: any\nfile: \"{stem}\"\ninput: {{ width_px: 96, height_px: 64, mean: [0, 0, 0], std: [1, 1, 1] }}\n\
         head: {{ classify: {{ output: scores, activation: none }} }}\nlabels: [{{ id: 0, name: a }}]\n"
    );
    fs::write(of_card, yaml).expect("room");
    let yaml = format!(
        "source: {{ images: {{ path: \"{picture}\" }} }}\nmodel: any.card.yaml\nsinks: [jsonl: {{ path: \"-\" }}]\n"
    );
    fs::write(&pipeline, yaml).expect("room");
    let pipeline = pipeline.display().to_string();
    for command in commands {
        let arguments: Vec<&str> = match *command {
            "check" => vec!["check", &pipeline],
            "pipeline" => vec![&pipeline, "--headless"],
            "run" => vec!["run", &name, "--input", &picture],
            command => vec![command, &name],
        };
        let output = run(&arguments);
        let context = format!("{arguments:?}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(2), "{context}");
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{context}");
        assert!(said[0].contains(words), "no \"{words}\": {context}");
        assert!(
            !context.contains("panicked") && output.stdout.is_empty(),
            "{context}"
        );
    }
}

/// All that load a model.
const ALL: [&str; 6] = ["card", "inspect", "bench", "check", "pipeline", "run"];
/// Those that look for a head.
const HEADS: [&str; 2] = ["card", "run"];

/// A classifier whose weights are these.
fn model_of(weights: impl FnOnce(&mut Onnx) -> String, input: [usize; 4]) -> Vec<u8> {
    let mut onnx = Onnx::default();
    let weights = weights(&mut onnx);
    let pooled = onnx.node("GlobalAveragePool", &["input"], &[]);
    let scores = onnx.node("Conv", &[&pooled, &weights], &[]);
    let flat = onnx.node("Flatten", &[&scores], &[("axis", Value::Int(1))]);
    onnx.rename(&flat, "scores");
    let inputs = [("input", input.to_vec())];
    onnx.file_with(&inputs, &[("scores", vec![1, 2])], &[])
}

const INPUT: [usize; 4] = [1, 3, 64, 96];
const WEIGHTS: [usize; 4] = [2, 3, 1, 1];

#[test]
fn files_that_are_no_models() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.onnx");
    let whole = model_of(|onnx| onnx.constant(&WEIGHTS, &[0.5; 6]), INPUT);
    for (bytes, words) in [
        (&b""[..], "the file is empty"),
        (b"<!DOCTYPE html>\n<html>", "not an ONNX file, or cut off"),
        (&whole[..whole.len() - 9], "not an ONNX file, or cut off"),
        (&whole[..whole.len() / 2], "not an ONNX file, or cut off"),
    ] {
        fs::write(&model, bytes).expect("room");
        refused(&model, &ALL, words);
    }
    let directory = folder.path().join("folder.onnx");
    fs::create_dir(&directory).expect("room");
    refused(
        &directory,
        &["card", "inspect", "bench", "run"],
        "not a regular file",
    );
}

#[test]
fn weights_that_are_missing_or_no_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.onnx");
    let with = |value: f32| {
        model_of(
            move |onnx| onnx.constant(&WEIGHTS, &[0.5, 0.5, value, 0.5, 0.5, 0.5]),
            INPUT,
        )
    };
    fs::write(&model, with(f32::NAN)).expect("room");
    refused(&model, &ALL, "is NaN at index 2");
    fs::write(&model, with(f32::NEG_INFINITY)).expect("room");
    refused(&model, &ALL, "is infinite at index 2");
    fs::write(
        &model,
        model_of(|onnx| onnx.external(&WEIGHTS, "model.onnx.data"), INPUT),
    )
    .expect("room");
    refused(
        &model,
        &ALL,
        "cannot read model.onnx.data, which must be beside the model",
    );
    let short = model_of(|onnx| onnx.constant(&WEIGHTS, &[0.5; 5]), INPUT);
    fs::write(&model, short).expect("room");
    refused(&model, &ALL, "24 bytes; the file has 20");
}

#[test]
fn shapes_that_no_memory_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.onnx");
    let two_gb = model_of(
        |onnx| onnx.constant(&WEIGHTS, &[0.5; 6]),
        [1, 3, 16_384, 16_384],
    );
    fs::write(&model, two_gb).expect("room");
    refused(&model, &ALL, "more than the 1024 MB that a tensor may have");
    let weights = model_of(|onnx| onnx.constant(&[1 << 20, 1 << 20, 1, 1], &[]), INPUT);
    fs::write(&model, weights).expect("room");
    refused(&model, &ALL, "more than the 1024 MB that a tensor may have");
}

#[test]
fn heads_that_are_not_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.onnx");
    let classes = || ("scores", vec![1, 10], &[][..]);
    let both = [classes(), ("mask", vec![1, 21, 8, 12], &[])];
    fs::write(&model, small_model(&both, &[])).expect("room");
    refused(
        &model,
        &HEADS,
        "it has 2 candidate heads: `classify` (scores [1, 10]",
    );
    let name = model.display().to_string();
    for head in ["classify", "segment"] {
        let output = run(&["card", &name, "--head", head]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let output = run(&["card", &name, "--head", "ssd"]);
    assert!(
        complaints(&output)[0].contains("do not fit the head `ssd`"),
        "{}",
        stderr(&output)
    );

    fs::write(
        &model,
        small_model(&[("features", vec![1, 7, 11, 13, 2], &[])], &[]),
    )
    .expect("room");
    refused(
        &model,
        &HEADS,
        "none of the heads of model cards fits its outputs: features [1, 7, 11, 13, 2]",
    );

    let task = [("task", "obb"), ("stride", "32")];
    fs::write(
        &model,
        small_model(&[("rows", vec![1, 8, 126], &["Mul"])], &task),
    )
    .expect("room");
    refused(&model, &HEADS, "its boxes are rotated");
}

#[test]
fn inputs_that_are_no_pictures() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.onnx");
    let two = |inputs: &[(&str, Vec<usize>)]| {
        let mut onnx = Onnx::default();
        let pooled = onnx.node("GlobalAveragePool", &["input"], &[]);
        let flat = onnx.node("Flatten", &[&pooled], &[]);
        onnx.rename(&flat, "scores");
        onnx.file_with(inputs, &[("scores", vec![1, 3])], &[])
    };
    let picture = || ("input", INPUT.to_vec());
    fs::write(&model, two(&[picture(), ("sizes", vec![1, 2])])).expect("room");
    refused(&model, &HEADS, "it has 2 inputs (input, sizes)");
    fs::write(&model, two(&[("input", vec![1, 64, 96, 3])])).expect("room");
    refused(&model, &HEADS, "channels last (NHWC)");
    fs::write(&model, two(&[("input", vec![1, 1, 64, 96])])).expect("room");
    refused(&model, &HEADS, "has 1 channels");

    let mut onnx = Onnx::default();
    let boxes = onnx.constant(&[1, 6, 4], &[0.0; 24]);
    let pooled = onnx.node("GlobalAveragePool", &["input"], &[]);
    let picked = onnx.node("NonMaxSuppression", &[&boxes, &pooled], &[]);
    onnx.rename(&picked, "picked");
    let nms = |metadata: &[(&str, &str)]| {
        onnx.file_with(&[picture()], &[("picked", vec![1, 3])], metadata)
    };
    fs::write(&model, nms(&[])).expect("room");
    refused(
        &model,
        &HEADS,
        "it has non-maximum suppression inside (NonMaxSuppression)",
    );
    fs::write(&model, nms(&[("task", "detect")])).expect("room");
    refused(&model, &HEADS, "export it with nms=False");
}
