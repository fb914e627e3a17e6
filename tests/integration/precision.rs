//! Number formats: how one is chosen, and what is said of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{complaints, end, file, of_type, records, run, stderr};

const FLOAT: &str = "tests/data/tiny/tiny.onnx";
const QUANTISED: &str = "tests/data/tiny/quantised.onnx";

/// Instruction sets that int8 may run on.
const INT8_SETS: [&str; 5] = ["portable", "avx2", "avxvnni", "avx512vnni", "amx_int8"];

/// A pipeline of the quantised network in `dir`.
fn pipeline(dir: &Path) -> PathBuf {
    let (clip, card) = (
        file("assets/street.mp4"),
        file("tests/data/tiny/quantised.yaml"),
    );
    let text = format!(
        "source: {{ video: {{ path: {clip:?} }} }}\nmodel: {card:?}\n\
         detect: {{ score_threshold: 0.0 }}\nsinks: [ jsonl: {{ path: \"-\" }} ]\n"
    );
    let path = dir.join("quantised_replay.yaml");
    fs::write(&path, text).expect("room");
    path
}

/// It must be refused with exit 2 and one line that holds `words`.
fn refused(args: &[&str], words: &str) {
    let output = run(args);
    let said = complaints(&output);
    let context = format!("{args:?}: {}", stderr(&output));
    assert_eq!(output.status.code(), Some(2), "{context}");
    assert_eq!(said.len(), 1, "{context}");
    assert!(said[0].contains(words), "no \"{words}\": {context}");
}

/// Standard output; the exit code must be 0.
fn printed(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args:?}: {}",
        stderr(&output)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&printed(args)).expect("one line of JSON")
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    let tiny = "tests/data/tiny/replay.yaml";
    let set = |precision: &str| format!("inference.precision={precision}");
    for command in [&[tiny][..], &["check", tiny]] {
        let with = |set: &str, words: &str| refused(&[command, &["--set", set]].concat(), words);
        with(
            &set("int4"),
            "expected one of model, f32, bf16, int8, fast; got \"int4\"; did you mean \"int8\"?",
        );
        with(&set("int8"), "`mobilens quantize`");
    }
    refused(&["bench", FLOAT, "--precision", "int8"], "tiny.onnx");
    refused(&["bench", tiny, "--precision", "int8"], "is not quantised");
    refused(&["inspect", FLOAT, "--precision", "int8"], "not quantised");
    let bf16 = [
        "bench",
        FLOAT,
        "--precision",
        "bf16",
        "--kernels",
        "portable",
    ];
    refused(&bf16, "`bf16` cannot be used here");
    // Evaluation runs what the pipeline says.
    let dir = tempfile::tempdir().expect("a folder");
    let truth = dir.path().join("truth.json");
    fs::write(
        &truth,
        r#"{"images": [], "annotations": [], "categories": []}"#,
    )
    .expect("room");
    let truth = truth.display().to_string();
    let eval = ["eval", "detection", tiny, "--coco", &truth, "--set"];
    refused(
        &[&eval[..], &["inference.precision=int8"]].concat(),
        "not quantised",
    );
}

#[test]
fn bench_runs_the_precision_and_the_kernels_that_it_names() {
    let bench = |model: &str, args: &[&str]| {
        let line = json(&[&["bench", model, "--iters", "1", "--json"], args].concat());
        let text = |key: &str| line[key].as_str().expect("a text").to_owned();
        [text("precision"), text("instruction_set")]
    };
    let [precision, set] = bench(QUANTISED, &[]);
    assert_eq!(precision, "int8");
    assert!(INT8_SETS.contains(&set.as_str()), "{set}");
    assert_eq!(bench(QUANTISED, &["--precision", "fast"]), [precision, set]);
    let portable = ["--kernels", "portable"];
    assert_eq!(bench(QUANTISED, &portable), ["int8", "portable"]);
    let float = ["--kernels", "portable", "--precision", "f32"];
    assert_eq!(bench(QUANTISED, &float), ["f32", "portable"]);
    assert_eq!(bench(QUANTISED, &["--precision", "f32"])[0], "f32");
    // tract rounds as the file says, but works in float32.
    assert_eq!(bench(QUANTISED, &["--kernels", "tract"]), ["f32", "tract"]);
    assert_eq!(bench(FLOAT, &[])[0], "f32");

    let dir = tempfile::tempdir().expect("a folder");
    let pipeline = pipeline(dir.path()).display().to_string();
    assert_eq!(bench(&pipeline, &portable), ["int8", "portable"]);
    assert_eq!(bench(&pipeline, &float), ["f32", "portable"]);
    assert_eq!(bench(&pipeline, &[])[0], "int8");
}

#[test]
fn inspect_tells_the_precision_of_each_layer() {
    let table = |args: &[&str]| printed(&[&["inspect", QUANTISED], args].concat());
    let with = |text: &str, words: [&str; 2]| {
        let has = |line: &&str| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns.windows(2).any(|pair| pair == words)
        };
        text.lines().filter(has).count()
    };
    let int8 = table(&["--kernels", "portable"]);
    // Five convolutions, the sum and the pooling.
    assert!(with(&int8, ["int8", "portable"]) >= 5, "{int8}");
    assert!(int8.contains("all            int8 on portable"), "{int8}");
    for args in [
        &["--kernels", "portable", "--precision", "f32"][..],
        &["--kernels", "tract"],
    ] {
        let float = table(args);
        assert!(!float.contains("int8"), "{float}");
        assert!(with(&float, ["f32", args[1]]) >= 5, "{float}");
    }
}

#[test]
fn check_tells_the_precision_and_the_instruction_set() {
    let dir = tempfile::tempdir().expect("a folder");
    let pipeline = pipeline(dir.path()).display().to_string();
    let said = printed(&["check", &pipeline]);
    assert!(
        said.starts_with(&format!("{pipeline}: ok (int8 on ")),
        "{said}"
    );
    let float = printed(&["check", &pipeline, "--set", "inference.precision=f32"]);
    assert!(float.contains(": ok (f32 on "), "{float}");
    let effective = printed(&["check", "--effective", &pipeline]);
    assert!(effective.contains("  precision: model\n"), "{effective}");
}

#[test]
fn int8_gives_the_same_bytes_on_every_instruction_set() {
    let dir = tempfile::tempdir().expect("a folder");
    let pipeline = pipeline(dir.path()).display().to_string();
    let mut first: Option<Vec<u8>> = None;
    for kernels in [
        "portable",
        "avx2",
        "avxvnni",
        "avx512vnni",
        "avx512",
        "auto",
    ] {
        let output = run(&[&pipeline, "--kernels", kernels, "--frames", "40"]);
        if output.status.code() == Some(2) {
            let said = complaints(&output);
            assert!(said[0].contains("does not support"), "{said:?}");
            eprintln!("{kernels}: not on this CPU");
            continue;
        }
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("quantised: int8 on "),
            "{}",
            stderr(&output)
        );
        match &first {
            None => first = Some(output.stdout),
            Some(first) => assert!(*first == output.stdout, "{kernels}: other records"),
        }
    }
    let got = records(&first.expect("portable runs everywhere"));
    assert_eq!(got[0]["model"]["precision"], "int8");
    assert_eq!(got[0]["model"].get("instruction_set"), None);
    assert_eq!(end(&got)["frames"]["emitted"], 40);

    // Float32 has other results, and the fingerprint of the run says so; the instruction set is told
    // where timings are.
    let float = printed(&[
        &pipeline,
        "--kernels",
        "portable",
        "--frames",
        "40",
        "--set",
        "inference.precision=f32",
        "--set",
        "sinks.0.jsonl.timings=true",
    ]);
    let float = records(float.as_bytes());
    assert_eq!(float[0]["model"]["precision"], "f32");
    assert_eq!(float[0]["model"]["instruction_set"], "portable");
    assert_ne!(float[0]["config_sha256"], got[0]["config_sha256"]);
    let scores = |records: &[Value]| -> Vec<f64> {
        of_type(records, "frame")
            .iter()
            .flat_map(|frame| frame["detections"].as_array().expect("a list"))
            .map(|detection| detection["score"].as_f64().expect("a number"))
            .collect()
    };
    let (int8, float) = (scores(&got), scores(&float));
    assert_eq!(int8.len(), 40);
    assert_eq!(float.len(), 40);
    assert!(int8.iter().any(|score| *score != int8[0]), "{int8:?}");
    assert_ne!(int8, float);
    let off = int8.iter().zip(&float).map(|(a, b)| (a - b).abs());
    let off = off.fold(0.0, f64::max);
    assert!(off < 0.05, "{off}");
}
