//! The clock is set while the program runs.

use std::path::PathBuf;

use super::camera::Camera;
use super::{clip, end, interrupt, is_event, is_frame, next, start};
use crate::support::{mobilens, skip};

/// The library that gives a process another time of day.
fn faketime() -> Option<PathBuf> {
    let dirs = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten();
    let mut found = dirs.map(|dir| dir.path().join("faketime/libfaketimeMT.so.1"));
    let library = found.find(|library| library.is_file());
    if library.is_none() {
        skip("libfaketime is not installed");
    }
    library
}

#[test]
fn a_clock_set_back_and_ahead_by_a_day_loses_no_camera_and_no_recording() {
    let Some(library) = faketime() else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let (videos, offset) = (dir.path().join("videos"), dir.path().join("offset"));
    let set = |text: &str| std::fs::write(&offset, text).expect("room");
    set("+0d");
    let camera = Camera::good(None, &clip());
    let source = format!("source={{rtsp: {{url: \"{}\"}}}}", camera.url());
    let video = format!(
        "sinks.1={{video: {{dir: {}, split_s: 1}}}}",
        videos.display()
    );
    let (child, lines) = start(
        mobilens()
            .args([super::TINY, "--headless", "--set", &source, "--set", &video])
            // The library reads a file that is none of the pipeline's.
            .args(["--set", "sandbox=false"])
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &offset)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    );
    let mut last = -1.0;
    let mut frames = |count: usize| {
        for _ in 0..count {
            let record = next(&lines, "a frame", |record| {
                assert!(!is_event("lost")(record), "{record}");
                is_frame(record)
            });
            let at = record["pts_ms"].as_f64().expect("a number");
            assert!(
                at > last && (last < 0.0 || at < last + 60_000.0),
                "{at} after {last}"
            );
            last = at;
        }
    };
    frames(40);
    set("-1d");
    frames(40);
    set("+1d");
    frames(40);
    end(&interrupt(child, &lines));
    // One a second.
    let kept = std::fs::read_dir(&videos).expect("a folder").count();
    assert!(kept >= 3, "{kept} recordings");
}
