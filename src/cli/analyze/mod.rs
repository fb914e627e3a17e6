//! `mobilens analyze`: tracks and events from saved detections.

pub mod arguments;
mod outputs;
#[cfg(feature = "store")]
mod store;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use mobilens::config::{self, LoadedPipeline, Override};
use mobilens::pipeline::{Analyzer, analyzer};
use mobilens::records::{EventRecord, FrameRecord, Record};
use mobilens::sink::SinkError;
use mobilens_image::SizePx;

use super::{DONE, FAILED, USAGE, data_dir, print_error};
use arguments::AnalyzeArgs;
use outputs::Outputs;

/// Events that derive from pixels, not from detections; they are copied unchanged.
const OF_PIXELS: [&str; 4] = ["area_above", "area_below", "interval", "source"];

/// What an analysis does not use of a pipeline.
const UNUSED: [&str; 12] = [
    "stream",
    "source",
    "fallback",
    "telemetry",
    "segment",
    "classify_tracks",
    "gating",
    "inference",
    "overlay",
    "sandbox",
    "watch",
    "sinks",
];

/// Why an analysis failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{file}: line {line}: {why}")]
    Records {
        file: String,
        line: usize,
        why: String,
    },
    #[cfg(feature = "store")]
    #[error("--began {text}: {error}")]
    Began {
        text: String,
        error: mobilens::store::InstantError,
    },
    #[error(transparent)]
    Sink(#[from] SinkError),
}

/// Runs the analysis; exit code 2 for errors of the command line or of a file.
pub fn analyze(arguments: &AnalyzeArgs) -> u8 {
    #[cfg(not(feature = "store"))]
    if arguments.store.is_some() {
        return super::no_event_store();
    }
    let overrides = arguments.overrides.iter().map(|o| Override::parse(o));
    let overrides: Result<Vec<_>, _> = overrides.collect();
    let config = match overrides.and_then(|o| {
        config::ensure_used(&o, &UNUSED, "analyze")?;
        config::load_for_analysis(&data_dir::find(&arguments.pipeline)?, &o)
    }) {
        Ok(config) => config,
        Err(faults) => {
            print_error(&faults.to_string());
            return USAGE;
        }
    };
    let failure = match run(arguments, &config) {
        Ok(()) | Err(Failure::Sink(SinkError::ReaderGone { .. })) => return DONE,
        Err(failure) => failure,
    };
    print_error(&failure.to_string());
    match failure {
        Failure::Records { .. } => USAGE,
        #[cfg(feature = "store")]
        Failure::Began { .. } | Failure::Sink(SinkError::Store(_)) => USAGE,
        Failure::Sink(_) => FAILED,
    }
}

fn run(arguments: &AnalyzeArgs, config: &LoadedPipeline) -> Result<(), Failure> {
    let file = arguments.records.display().to_string();
    let fault = |line: usize, why: String| Failure::Records {
        file: file.clone(),
        line,
        why,
    };
    let reader: Box<dyn BufRead> = if arguments.records == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        let opened = File::open(&arguments.records).map_err(|e| fault(0, e.to_string()))?;
        Box::new(BufReader::new(opened))
    };
    let mut run = Analysis {
        analyzer: analyzer(config, &Arc::new(config.labels())),
        outputs: None,
        size: None,
        held: None,
    };
    let mut line_of_frame = 0;
    for (i, line) in reader.lines().enumerate() {
        let line = line.map_err(|e| fault(i + 1, e.to_string()))?;
        let record: Record =
            serde_json::from_str(&line).map_err(|e| fault(i + 1, format!("not a record: {e}")))?;
        let unknown_size = |at: usize| {
            let why = "the frame's size is neither in its record nor in the run's";
            fault(at, why.to_owned())
        };
        match record {
            Record::Run(_) if run.outputs.is_some() => {
                return Err(fault(
                    i + 1,
                    "a second run begins; analyze one at a time".to_owned(),
                ));
            }
            Record::Run(mut of_run) => {
                let source = &of_run.source;
                let size = source.width.zip(source.height);
                run.size = size.map(|(width, height)| SizePx { width, height });
                of_run.analysis_sha256 = config.analysis_sha256();
                run.outputs = Some(Outputs::open(arguments, &of_run)?);
            }
            Record::Frame(_) if run.outputs.is_none() => {
                return Err(fault(i + 1, "there is no run record before it".to_owned()));
            }
            Record::Frame(frame) => {
                run.flush(|| unknown_size(line_of_frame))?;
                line_of_frame = i + 1;
                run.held = Some(without_analysis(frame));
            }
            Record::Event(event) => {
                if let Some(frame) = run.held.as_mut().filter(|_| is_of_pixels(&event)) {
                    frame.events.push(event);
                }
            }
            Record::End(end) => {
                run.flush(|| unknown_size(line_of_frame))?;
                if let Some(outputs) = run.outputs.take() {
                    outputs.finish(Some(&end))?;
                }
            }
        }
    }
    // Records without an end were cut off; what is there is analyzed.
    run.flush(|| fault(line_of_frame, "the frame's size is not known".to_owned()))?;
    if let Some(outputs) = run.outputs {
        outputs.finish(None)?;
    }
    Ok(())
}

/// An analysis under way.
struct Analysis {
    analyzer: Analyzer,
    /// None before the run record.
    outputs: Option<Outputs>,
    /// Of all frames, if they have the same.
    size: Option<SizePx>,
    /// The last frame, whose events may follow.
    held: Option<FrameRecord>,
}

impl Analysis {
    /// Analyzes and writes the last frame.
    fn flush(&mut self, unknown_size: impl FnOnce() -> Failure) -> Result<(), Failure> {
        let (Some(mut frame), Some(outputs)) = (self.held.take(), &mut self.outputs) else {
            return Ok(());
        };
        let own = frame.size.map(|[width, height]| SizePx { width, height });
        let size = own.or(self.size).ok_or_else(unknown_size)?;
        self.analyzer.update(&mut frame, size);
        outputs.frame(&frame)?;
        Ok(())
    }
}

fn is_of_pixels(event: &EventRecord) -> bool {
    OF_PIXELS.contains(&event.kind.as_str())
}

/// The record as it was before anything was made of it.
fn without_analysis(mut frame: FrameRecord) -> FrameRecord {
    // What second networks said went with the tracks: without pictures it cannot be said anew.
    frame.tracks = None;
    for detection in frame.detections.iter_mut().chain(&mut frame.faint) {
        detection.track_id = None;
        detection.zones.clear();
    }
    frame
}
