//! Every message of an invalid configuration, with its line and column.
//!
//! `UPDATE_GOLDENS=1 cargo test --test integration config::` writes the expected texts anew.

use std::fs;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

use crate::support::{self, file, mobilens};
use mobilens::config::{self, LoadedPipeline, Override, RunArguments};
use proptest::prelude::*;

#[test]
fn each_error_is_reported_with_its_location() {
    let folder = file("tests/data/config");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 20);
    for path in files {
        let name = path.file_name().expect("a name");
        let output = mobilens()
            .current_dir(&folder)
            .arg("check")
            .arg(name)
            .output()
            .expect("starts");
        assert_eq!(output.status.code(), Some(2), "{}", path.display());
        let got = support::stderr(&output);
        let golden = path.with_extension("expected");
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            fs::write(&golden, &got).expect("writable checkout");
        }
        let expected = fs::read_to_string(&golden).expect("run once with UPDATE_GOLDENS=1");
        assert_eq!(got, expected, "{}", path.display());
    }
}

#[test]
fn the_shipped_pipelines_and_cards_are_sound() {
    for entry in fs::read_dir(file("pipelines")).expect("the folder") {
        let path = entry.expect("an entry").path();
        config::load_all(&path, &[], &RunArguments::default())
            .unwrap_or_else(|errors| panic!("{errors}"));
        let text = fs::read_to_string(&path).expect("readable");
        assert!(
            text.starts_with("# "),
            "{} does not say what it shows",
            path.display()
        );
    }
    for entry in fs::read_dir(file("models")).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "yaml") {
            config::load_card(&path).unwrap_or_else(|errors| panic!("{errors}"));
        }
    }
}

/// `good` with `drop` bytes at `at` replaced by `text`.
fn slip(good: &str, at: usize, drop: usize, text: &str) -> String {
    let at = good.floor_char_boundary(at % (good.len() + 1));
    let end = good.floor_char_boundary((at + drop).min(good.len()));
    format!("{}{text}{}", &good[..at], &good[end..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever a hand slips on: a configuration is taken or refused, and nothing panics.
    #[test]
    fn slips_of_the_hand_never_panic(
        at in 0usize..4000,
        drop in 0usize..12,
        text in "([ -~\\n\\t]|[&*!|>?{}\\[\\]:#-]|\\PC){0,8}",
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("slip.yaml");
        let good = fs::read_to_string(file("pipelines/ssd_camera.yaml")).expect("readable");
        fs::write(&path, slip(&good, at, drop, &text)).expect("room");
        check_errors(config::load_all(&path, &[], &RunArguments::default()).err())?;
        let good = fs::read_to_string(file("models/ssd_mobilenet_v2_oidv4.yaml")).expect("readable");
        fs::write(&path, slip(&good, at, drop, &text)).expect("room");
        check_errors(config::load_card(&path).err())?;
    }
}

/// There are some, and each is one line.
fn check_errors(errors: Option<config::ConfigError>) -> Result<(), TestCaseError> {
    let Some(errors) = errors else { return Ok(()) };
    prop_assert!(!errors.0.is_empty());
    prop_assert_eq!(errors.to_string().lines().count(), errors.0.len());
    Ok(())
}

/// The streams of a pipeline, under `overrides`.
fn load(path: &Path, overrides: &[&str]) -> Vec<LoadedPipeline> {
    let overrides: Vec<Override> = overrides
        .iter()
        .map(|text| Override::parse(text).expect("an override"))
        .collect();
    config::load_all(path, &overrides, &RunArguments::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
}

/// A directory `pipelines` beside the repository's models and assets.
#[cfg(unix)]
fn folder_of_pipelines() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["models", "assets"] {
        std::os::unix::fs::symlink(file(name), dir.path().join(name)).expect("a link");
    }
    let pipelines = dir.path().join("pipelines");
    fs::create_dir(&pipelines).expect("room");
    (dir, pipelines)
}

#[test]
#[cfg(unix)]
fn the_effective_configuration_describes_the_same_pipeline() {
    let (_dir, folder) = folder_of_pipelines();
    for entry in fs::read_dir(file("pipelines")).expect("the folder") {
        let path = entry.expect("an entry").path();
        let text = config::effective_yaml(&load(&path, &[])).expect("YAML");
        let copy = folder.join(path.file_name().expect("a name"));
        fs::write(&copy, &text).expect("room");
        let again = load(&copy, &[]);
        let text_again = config::effective_yaml(&again).expect("YAML");
        assert_eq!(text, text_again, "{}", path.display());
        for (was, is) in load(&path, &[]).iter().zip(&again) {
            let sinks = |p: &LoadedPipeline| (p.shared.clone(), p.config.sinks.len());
            assert_eq!(sinks(was), sinks(is), "{}", path.display());
            assert_eq!(was.config.gating, is.config.gating);
            assert_eq!(was.config.track, is.config.track);
            assert_eq!(was.config.zones, is.config.zones);
        }
    }
}

#[test]
fn the_effective_configuration_has_every_default_and_no_secret() {
    let output = mobilens()
        .current_dir(file("pipelines"))
        .args(["check", "--effective", "rtsp_security.yaml"])
        .args([
            "--set",
            "source.rtsp.url=rtsp://viewer:hush@192.0.2.10/1?key=hush",
        ])
        .args(["--set", "sinks.0.web.token=hush hush hush"])
        .args([
            "--set",
            "sinks.1={webhook: {url: 'http://a:hush@b', headers: {Authorization: Bearer hush}}}",
        ])
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        support::stderr(&output)
    );
    assert!(!text.contains("hush"), "{text}");
    for line in [
        "stream: rtsp_security",
        "    url: rtsp://viewer:********@192.0.2.10/1?key=********",
        "    stall_ms: 5000",
        "  score_threshold: 0.4",
        "  nms_iou: 0.6",
        "    leave_ms: 500",
        "    share: 0.002",
        "    bind: 127.0.0.1:8080",
        "    token: '********'",
        "    attempts: 8",
        "  alpha: 0.5",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
}

#[test]
#[cfg(unix)]
fn the_old_name_of_gating_is_read_with_one_warning() {
    let (_dir, folder) = folder_of_pipelines();
    let path = folder.join("old.yaml");
    for name in ["multi_camera", "rtsp_security"] {
        let new = file(&format!("pipelines/{name}.yaml"));
        let text = fs::read_to_string(&new).expect("readable");
        let old = text.replace("gating:", "attention:").replace(
            "  - stream: yard\n",
            "  - stream: yard\n    attention: { interval: { every: 2 } }\n",
        );
        assert_ne!(text, old);
        fs::write(&path, old).expect("room");
        let overrides = match name {
            "multi_camera" => &["streams.1.gating.interval.every=2"][..],
            _ => &[],
        };
        let gating = |pipelines: &[LoadedPipeline]| -> Vec<_> {
            pipelines.iter().map(|p| p.config.gating.clone()).collect()
        };
        assert_eq!(gating(&load(&path, &[])), gating(&load(&new, overrides)));
        let output = mobilens().arg("check").arg(&path).output().expect("starts");
        assert_eq!(output.status.code(), Some(0));
        let said = support::stderr(&output);
        let warnings: Vec<&str> = said.lines().filter(|l| l.contains("deprecated")).collect();
        assert_eq!(warnings.len(), 1, "{said}");
        let line = 1 + text.lines().position(|l| l == "gating:").expect("is there");
        let place = format!("old.yaml:{line}:1: `attention` is deprecated; use `gating`");
        assert!(warnings[0].ends_with(&place), "{said}");
    }
    let path = file("pipelines/ssd_replay.yaml");
    assert_eq!(
        load(&path, &["attention.tiles.rows=3"])[0].config.gating,
        load(&path, &["gating.tiles.rows=3"])[0].config.gating
    );
    let several = file("pipelines/multi_camera.yaml");
    assert_eq!(
        load(&several, &["streams.0.attention={}"])[0].config.gating,
        config::GatingConfig::default()
    );
}

#[test]
fn the_fingerprint_of_a_pipeline_stays() {
    // What records of runs with version 0.1.0 have.
    let expected = "976493be4241b84ec1e1d473d472a99299ec9c2436e0902a512159101096d33e";
    let path = file("pipelines/ssd_replay.yaml");
    let sha256 = |overrides: &[&str]| {
        let float32 = ["model=../models/ssdlite_mobilenet_v2_coco.yaml"];
        load(&path, &[&float32, overrides].concat())[0].sha256()
    };
    assert_eq!(sha256(&[]), expected);
    assert_ne!(load(&path, &[])[0].sha256(), expected);
    // Neither what is left out nor how the machine is used is part of it.
    assert_eq!(sha256(&["inference.workers=1"]), expected);
    assert_eq!(sha256(&["zones="]), expected);
    assert_eq!(sha256(&["inference.precision=model"]), expected);
    assert_ne!(sha256(&["inference.precision=f32"]), expected);
    assert_ne!(sha256(&["detect.score_threshold="]), expected);
}

#[test]
fn the_fingerprint_of_an_analysis_stays() {
    let expected = "54f444652f67e0d19c85a278f24a70d30d484b32f2f3054a0c8fe7e6ba5f1158";
    let path = file("pipelines/ssd_counting.yaml");
    let sha256 = |overrides: &[&str]| load(&path, overrides)[0].analysis_sha256();
    assert_eq!(sha256(&[]).as_deref(), Some(expected));
    // What is given is part of it, as is each key of the block that was there from the first.
    assert_ne!(sha256(&["track.start_score=0.65"]), sha256(&[]));
    assert_ne!(sha256(&["track.memory_ms=1600"]), sha256(&[]));
}

#[test]
fn the_reference_is_generated_from_the_schema() {
    let output = mobilens()
        .args(["schema", "--markdown"])
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stdout);
    for block in [
        "source",
        "detect",
        "track",
        "gating",
        "inference",
        "overlay",
    ] {
        assert!(text.contains(&format!("\n## `{block}`\n")), "{block}");
    }
}
