//! Every message of a faulty configuration, with its line and column.
//!
//! `UPDATE_GOLDENS=1 cargo test --test config` writes the expected texts anew.

mod support;

use std::fs;

use mobilens::config::RunArguments;
use proptest::prelude::*;
use support::{file, mobilens};

#[test]
fn each_fault_is_named_where_it_stands() {
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
        mobilens::config::load_all(&path, &[], &RunArguments::default())
            .unwrap_or_else(|faults| panic!("{faults}"));
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
            mobilens::config::load_card(&path).unwrap_or_else(|faults| panic!("{faults}"));
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
        check_faults(mobilens::config::load_all(&path, &[], &RunArguments::default()).err())?;
        let good = fs::read_to_string(file("models/ssd_mobilenet_v2_oidv4.yaml")).expect("readable");
        fs::write(&path, slip(&good, at, drop, &text)).expect("room");
        check_faults(mobilens::config::load_card(&path).err())?;
    }
}

/// There are some, and each is one line.
fn check_faults(faults: Option<mobilens::config::ConfigFaults>) -> Result<(), TestCaseError> {
    let Some(faults) = faults else { return Ok(()) };
    prop_assert!(!faults.0.is_empty());
    prop_assert_eq!(faults.to_string().lines().count(), faults.0.len());
    Ok(())
}
