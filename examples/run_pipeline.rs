//! Runs a pipeline from Rust, without the command line:
//! `cargo run --example run_pipeline [PIPELINE.yaml]`.
//!
//! The YAML says what to run; this program only replaces the source's pace, limits the number of
//! frames, and reads the report.

#![allow(clippy::print_stderr, reason = "it is what an example is for")]

use std::error::Error;
use std::path::PathBuf;

use mobilens::config::{self, Override, RunArguments};
use mobilens::flow::StopSignal;
use mobilens::pipeline::{self, RunOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/ssd_replay.yaml");
    let path = std::env::args_os().nth(1).unwrap_or_else(|| default.into());

    // What `--set` and `--headless` are on the command line.
    let overrides = [Override::parse("detect.score_threshold=0.5")?];
    let arguments = RunArguments {
        headless: true,
        ..RunArguments::default()
    };
    let loaded = config::load_all(&PathBuf::from(path), &overrides, &arguments)?;

    // Another thread may call `stop.stop(...)` to end the run; all records are then still written.
    let stop = StopSignal::new();
    let options = RunOptions {
        frames: Some(50),
        ..RunOptions::default()
    };
    for outcome in pipeline::run_streams(loaded, &options, &stop)? {
        let report = outcome.result?;
        let frames = &report.end.frames;
        eprintln!(
            "{}: {} frames captured, {} with a record, {} dropped",
            outcome.stream,
            frames.captured,
            frames.emitted,
            frames.dropped.total()
        );
    }
    Ok(())
}
