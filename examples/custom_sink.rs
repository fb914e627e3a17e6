//! A sink of one's own: counts detections by label, and prints the sums when the stream ends.
//! `cargo run --example custom_sink`

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use mobilens::config::{self, RunArguments};
use mobilens::flow::StopSignal;
use mobilens::pipeline::{self, RunOptions};
use mobilens::records::{EndRecord, FrameRecord};
use mobilens::sink::{RecordSink, SinkError};

/// How often each label was detected.
#[derive(Default)]
struct LabelCounts(BTreeMap<String, u64>);

impl RecordSink for LabelCounts {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        for detection in &record.detections {
            *self.0.entry(detection.label.clone()).or_default() += 1;
        }
        Ok(())
    }

    fn finish(&mut self, end: &EndRecord) -> Result<(), SinkError> {
        println!("{}: {} frames", end.stream, end.frames.emitted);
        for (label, count) in &self.0 {
            println!("{count:>6} x {label}");
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/ssd_replay.yaml");
    let mut loaded = config::load_all(Path::new(path), &[], &RunArguments::default())?;
    // The pipeline's own sinks are left out; ours runs on a thread of its own, as they would.
    let mut pipeline = loaded.remove(0);
    pipeline.clear_sinks();
    let sinks = vec![(
        "label-counts".to_owned(),
        Box::new(LabelCounts::default()) as _,
    )];
    let options = RunOptions {
        frames: Some(100),
        ..RunOptions::default()
    };
    let report = pipeline::run_with_sinks(pipeline, sinks, &options, &StopSignal::new())?;
    if let Some(failure) = report.failures.into_iter().next() {
        return Err(failure.to_string().into());
    }
    Ok(())
}
