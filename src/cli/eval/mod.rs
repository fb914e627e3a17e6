//! `mobilens eval`: accuracy of results against ground truth.

pub mod arguments;
pub mod detection;
pub mod segmentation;
mod tracking;
mod tracking_run;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use mobilens::capture::{CaptureError, Captured, ImagesSource, Source};
use mobilens::config::{self, ConfigError, LoadedPipeline, Override};
use mobilens::eval::EvalError;
use mobilens::flow::StopSignal;
use mobilens::frame::{FrameMeta, InferencePlan, Packet};
use mobilens::pipeline::{InferenceWorker, ModelError, Progress};
use mobilens::postprocess::Prediction;
use mobilens_image::SizePx;
use mobilens_nn::NnError;

use super::{DONE, FAILED, USAGE, data_dir, print_error};
use arguments::EvalCommand;

/// Why an evaluation failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Network(#[from] NnError),
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    GroundTruth(#[from] EvalError),
    #[error("{0}")]
    Other(String),
    #[error("{0}")]
    Run(String),
}

/// What an evaluation on single pictures does not use of a pipeline.
const UNUSED_ON_PICTURES: [&str; 19] = [
    "stream",
    "source",
    "fallback",
    "telemetry",
    "track",
    "zones",
    "lines",
    "gating.motion_gate",
    "gating.interval",
    "gating.regions",
    "gating.tiles",
    "gating.looks",
    "gating.budget_ms",
    "gating.plan",
    "inference.workers",
    "inference.threads",
    "inference.max_age_ms",
    "overlay",
    "sinks",
];

/// Loads a pipeline for the evaluation `command` on single pictures.
fn load_for_pictures(
    pipeline: &Path,
    overrides: &[String],
    command: &str,
) -> Result<LoadedPipeline, Failure> {
    let overrides = overrides.iter().map(|o| Override::parse(o));
    let overrides = overrides.collect::<Result<Vec<_>, _>>()?;
    config::ensure_used(&overrides, &UNUSED_ON_PICTURES, command)?;
    Ok(config::load(&data_dir::find(pipeline)?, &overrides)?)
}

/// Runs the evaluation; exit code 2 for errors of the command line or of a file.
pub fn eval(command: &EvalCommand) -> u8 {
    let evaluated = match command {
        EvalCommand::Segmentation(arguments) => segmentation::segmentation(arguments),
        EvalCommand::Detection(arguments) => detection::detection(arguments),
        EvalCommand::Tracking(arguments) => tracking::tracking(arguments),
    };
    match evaluated {
        Ok(()) => DONE,
        Err(failure) => {
            print_error(&failure.to_string());
            match failure {
                Failure::Run(_) => FAILED,
                _ => USAGE,
            }
        }
    }
}

/// Runs `worker` on the pictures of a folder selected by `is_wanted`, until `stop`; passes each prediction to `on_prediction`.
fn infer_folder(
    folder: &Path,
    worker: &mut dyn InferenceWorker,
    mut is_wanted: impl FnMut(&str, SizePx) -> Result<bool, Failure>,
    mut on_prediction: impl FnMut(&FrameMeta, SizePx, Prediction) -> Result<(), Failure>,
    stop: &StopSignal,
) -> Result<(), Failure> {
    let mut source = ImagesSource::open(folder, 1.0)?;
    let progress = Progress::on_terminal(source.info().frames, true);
    let mut frame = 0;
    loop {
        let (image, pts, name) = match source.next(stop)? {
            Captured::Frame { image, pts, name } => (image, pts, name),
            Captured::Undecodable { why, .. } => {
                print_error(&why);
                continue;
            }
            Captured::Lost { .. } | Captured::Back { .. } => continue,
            Captured::End => return Ok(()),
        };
        progress.frame_done();
        let size = image.size();
        if !is_wanted(name.as_deref().unwrap_or_default(), size)? {
            continue;
        }
        let meta = FrameMeta {
            stream: "eval".into(),
            frame,
            pts,
            captured_at: Instant::now(),
            name,
            telemetry: None,
        };
        frame += 1;
        let packet = Packet {
            meta,
            image: Arc::new(image),
            payload: InferencePlan::default(),
        };
        let packet = worker.run(packet).map_err(Failure::Run)?;
        on_prediction(&packet.meta, size, packet.payload)?;
    }
}
