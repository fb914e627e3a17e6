//! Inferences that are planned frame by frame, and the repetition of a plan, through the binary.

use std::fs;

use crate::support::{complaints, of_type, records, run, stderr};

const COUNTING: &str = "pipelines/ssd_counting.yaml";

fn looks(more: &[&str]) -> std::process::Output {
    let pairs = more.iter().flat_map(|pair| ["--set", *pair]);
    let fixed = [COUNTING, "--headless", "--pace", "fast", "--frames", "40"];
    run(&fixed.into_iter().chain(pairs).collect::<Vec<_>>())
}

#[test]
fn a_recorded_plan_leads_to_the_same_records_on_any_number_of_workers() {
    let auto = looks(&["gating={looks: auto, budget_ms: 2000}"]);
    assert_eq!(auto.status.code(), Some(0), "{}", stderr(&auto));
    let got = records(&auto.stdout);
    let frames = of_type(&got, "frame");
    assert_eq!(frames.len(), 40);
    let inputs = |i: usize| -> Vec<u64> {
        let of_frame = frames[i]["looks"].as_array().expect("looks");
        let side = |look: &serde_json::Value| look["input"][0].as_u64().expect("a width");
        of_frame.iter().map(side).collect()
    };
    assert_eq!(inputs(0), [300, 556, 812, 1068], "there is time for all");
    assert!((0..40).all(|i| inputs(i)[0] == 300));
    assert!(
        (1..25).any(|i| inputs(i).len() < 4 || frames[i]["looks"][1]["region"].is_array()),
        "each frame is surveyed as if it were the first"
    );

    let dir = tempfile::tempdir().expect("a folder");
    let plan = dir.path().join("auto.jsonl");
    fs::write(&plan, &auto.stdout).expect("room");
    let again = looks(&[
        &format!("gating={{plan: {}}}", plan.display()),
        "inference.workers=3",
    ]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let of_frames = |bytes: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        // The run's own record holds the configuration's hash.
        text.lines().skip(1).map(str::to_owned).collect()
    };
    assert_eq!(of_frames(&again.stdout), of_frames(&auto.stdout));
}

#[test]
fn a_plan_that_is_none_is_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let plan = dir.path().join("plan.jsonl");
    let set = format!("gating={{plan: {}}}", plan.display());
    let refused = |why: &str| {
        let output = looks(&[&set]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let lines = complaints(&output);
        assert!(lines.len() == 1 && lines[0].contains(why), "{lines:?}");
    };
    refused("No such file");
    fs::write(&plan, "{}\n").expect("room");
    refused("plan.jsonl: line 1: ");
    fs::write(&plan, looks(&[]).stdout).expect("room");
    refused("it has no frame of the stream \"ssd_counting\" with `looks`");
}

#[test]
fn looks_exclude_other_choices_of_sizes_and_parts() {
    for (set, why) in [
        (
            "gating={looks: auto, scales: [300, 556]}",
            "expected one of looks and scales; got both",
        ),
        (
            "gating={looks: auto, tiles: {}}",
            "expected one of looks and tiles; got both",
        ),
        (
            "gating={looks: auto, plan: a.jsonl}",
            "expected one of looks and plan; got both",
        ),
        (
            "gating={budget_ms: 20}",
            "has no effect without `looks: auto`",
        ),
        ("gating={looks: all}", "auto"),
    ] {
        let output = looks(&[set]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
}
