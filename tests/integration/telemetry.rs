//! A drone's subtitles beside a clip.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::support::{complaints, file, of_type, records, run, shared, stderr};

const TINY: &str = "tests/data/tiny/replay.yaml";

/// Subtitles of a drone that flies north at a metre a second, looking half-way down.
fn subtitles() -> String {
    let mut text = String::new();
    for i in 0..12 {
        let _ = write!(
            text,
            "{}\n00:00:{i:02},000 --> 00:00:{:02},000\nF/5.6, SS 400, GPS (11.5, {:.6}, 15), \
             D 7.70m, H 40.00m, H.S 1.00m/s, G.PRY (-45.0°, 0.0°, 0.0°)\n\n",
            i + 1,
            i + 1,
            48.0 + f64::from(i) * 9e-6,
        );
    }
    text
}

fn clip_with(subtitles: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::copy(file("assets/street.mp4"), dir.path().join("flight.mp4")).expect("room");
    fs::write(dir.path().join("flight.SRT"), subtitles).expect("room");
    dir
}

fn fly(dir: &Path, more: &[&str]) -> std::process::Output {
    let clip = dir.join("flight.mp4").display().to_string();
    run(&[&[TINY, "--headless", "--input", &clip], more].concat())
}

#[test]
fn subtitles_beside_the_clip_are_read_along_and_give_things_a_place() {
    let dir = clip_with(subtitles().as_bytes());
    let output = fly(dir.path(), &["--set", "telemetry.hfov_deg=70"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    let frames = of_type(&got, "frame");
    assert_eq!(frames.len(), 250);
    // Half-way between two entries: 1500 ms is frame 37.5; frame 38 is at 1520 ms.
    let telemetry = &frames[38]["telemetry"];
    let latitude = telemetry["latitude"].as_f64().expect("a number");
    assert!((latitude - (48.0 + 1.52 * 9e-6)).abs() < 1e-7, "{latitude}");
    assert_eq!(telemetry["height_m"], 40.0);
    assert_eq!(telemetry["gimbal_pitch_deg"], -45.0);
    let mut placed = 0;
    for frame in &frames {
        let drone = frame["telemetry"]["latitude"].as_f64().expect("a number");
        for detection in frame["detections"].as_array().expect("a list") {
            let at = &detection["position"];
            let ahead_m = (at["latitude"].as_f64().expect("on the ground") - drone) * 111_200.0;
            // The lowest row looks 61 degrees down, the highest 29: 22 to 72 m ahead of 40 m up.
            assert!((20.0..80.0).contains(&ahead_m), "{ahead_m} m");
            placed += 1;
        }
    }
    assert!(placed >= 100, "{placed}");
}

#[test]
fn without_a_field_of_view_nothing_has_a_place() {
    let dir = clip_with(subtitles().as_bytes());
    let output = fly(dir.path(), &["--frames", "30"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(r#""telemetry":{"latitude":48"#));
    assert!(!text.contains(r#""position""#));
}

#[test]
fn subtitles_that_end_in_the_middle_are_used_as_far_as_they_go() {
    let whole = subtitles();
    let cut = &whole.as_bytes()[..whole.rfind("H 40").expect("there") + 3];
    let dir = clip_with(cut);
    let output = fly(dir.path(), &["--frames", "30"]);
    assert_eq!(output.status.code(), Some(0));
    let said = stderr(&output);
    let said: Vec<_> = said.lines().filter(|l| l.contains("flight.SRT")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("ends in the middle of entry 12 (line 45); the 11 before"),
        "{said:?}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains(r#""height_m":40.0"#));
}

#[test]
fn other_subtitles_are_one_line_and_the_run_goes_on() {
    for other in ["", "1\n00:00:00,000 --> 00:00:01,000\nHello there.\n\n"] {
        let dir = clip_with(other.as_bytes());
        let output = fly(dir.path(), &["--frames", "3"]);
        assert_eq!(output.status.code(), Some(0));
        let said = stderr(&output);
        let warned = said.lines().filter(|l| l.contains("no drone telemetry"));
        assert_eq!(warned.count(), 1, "{said}");
        // Asked for by name, it is a fault of the pipeline.
        let named = format!("telemetry.srt={}", dir.path().join("flight.SRT").display());
        let output = fly(dir.path(), &["--set", &named]);
        assert_eq!(output.status.code(), Some(2));
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("no drone telemetry"), "{said:?}");
    }
}

/// Recordings of eight kinds of drones, if they are at hand.
#[test]
fn real_recordings_are_read() {
    let Some(dir) = shared("dji_srt") else {
        return;
    };
    use mobilens::telemetry::TelemetryLog;
    let read = |name: &str| TelemetryLog::read(&dir.join(name));
    let entries = [
        ("MAVIC3.srt", 12_318),
        ("air2s.srt", 17),
        ("matrice_300.srt", 381),
        ("mavic_2_style.SRT", 468),
        ("mavic_mini.SRT", 117),
        ("p4_rtk.SRT", 55),
        ("broken_incomplete.SRT", 19),
    ];
    for (name, expected) in entries {
        let log = read(name).expect("telemetry");
        assert_eq!(log.len(), expected, "{name}");
        assert_eq!(
            log.truncated().is_some(),
            name.starts_with("broken"),
            "{name}"
        );
        let at = log.at(500.0).expect("the beginning");
        assert!(at.latitude.is_some() && at.longitude.is_some(), "{name}");
    }
    assert!(read("broken_empty.SRT").is_err());
}
