//! Pipelines and models are found where each way of installing puts them.

use std::fs;

use crate::support::{file, mobilens, stderr};

/// A data folder with one pipeline that none of the others has.
fn data_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for part in ["pipelines", "models", "assets"] {
        fs::create_dir(folder.path().join(part)).expect("writable");
    }
    for (from, to) in [
        ("pipelines/ssd_replay.yaml", "pipelines/installed.yaml"),
        (
            "models/ssdlite_mobilenet_v2_coco_int8.yaml",
            "models/ssdlite_mobilenet_v2_coco_int8.yaml",
        ),
        (
            "models/ssdlite_mobilenet_v2_coco_int8.onnx",
            "models/ssdlite_mobilenet_v2_coco_int8.onnx",
        ),
        ("assets/street.mp4", "assets/street.mp4"),
    ] {
        fs::copy(file(from), folder.path().join(to)).expect("a file of the checkout");
    }
    folder
}

#[test]
fn every_command_finds_what_is_installed() {
    let (data, elsewhere) = (data_folder(), tempfile::tempdir().expect("a folder"));
    let pipeline = "pipelines/installed.yaml";
    let model = "models/ssdlite_mobilenet_v2_coco_int8.onnx";
    for arguments in [
        vec![pipeline, "--headless", "--frames", "1"],
        vec!["check", pipeline],
        vec!["bench", pipeline, "--iters", "1"],
        vec!["bench", model, "--iters", "1", "--classes", "person"],
        vec!["inspect", model],
    ] {
        let output = mobilens()
            .current_dir(&elsewhere)
            .env("MOBILENS_DATA_DIR", data.path())
            .args(&arguments)
            .output()
            .expect("starts");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn the_current_folder_comes_first() {
    let (data, here) = (data_folder(), tempfile::tempdir().expect("a folder"));
    fs::create_dir(here.path().join("pipelines")).expect("writable");
    fs::write(here.path().join("pipelines/installed.yaml"), "source: {}\n").expect("writable");
    let output = mobilens()
        .current_dir(&here)
        .env("MOBILENS_DATA_DIR", data.path())
        .args(["check", "pipelines/installed.yaml"])
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn what_is_nowhere_is_said_with_where_it_was_looked_for() {
    for arguments in [
        vec!["none.yaml"],
        vec!["check", "none.yaml"],
        vec!["bench", "none.yaml"],
        vec!["inspect", "none.onnx"],
    ] {
        let output = mobilens()
            .env("MOBILENS_DATA_DIR", "/nowhere")
            .args(&arguments)
            .output()
            .expect("starts");
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(
            said.contains(": no such file in the current folder or in /nowhere, ")
                && said.contains("/usr/share/mobilens"),
            "{said}"
        );
    }
}
