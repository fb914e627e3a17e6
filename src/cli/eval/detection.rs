//! `mobilens eval detection`: COCO AP and AR.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use mobilens::config::LoadedPipeline;
use mobilens::eval::{CocoGroundTruth, read_results};
use mobilens::flow::StopSignal;
use mobilens::frame::FrameMeta;
use mobilens::pipeline::{InferenceLatency, Model};
use mobilens::records::{CocoResult, RecordBuilder, image_id_from_name};
use serde_json::json;

use super::{Failure, infer_folder, load_for_pictures};
use crate::cli::arguments::EvalDetectionArgs;
use crate::cli::print;

/// The metrics in pycocotools' order.
const NAMES: [&str; 12] = [
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR_1",
    "AR_10",
    "AR_100",
    "AR_small",
    "AR_medium",
    "AR_large",
];

/// COCO's twelve figures of saved results, or of a pipeline on pictures.
pub fn detection(arguments: &EvalDetectionArgs) -> Result<(), Failure> {
    let mut truth = CocoGroundTruth::default();
    for file in &arguments.coco {
        truth.add(file)?;
    }
    let results = match (&arguments.results, &arguments.pipeline) {
        (Some(results), _) => read_results(results)?,
        (None, Some(pipeline)) => run_pipeline(pipeline, arguments, &truth)?,
        (None, None) => unreachable!("clap requires one of them"),
    };
    let unannotated = results
        .iter()
        .filter(|r| !truth.has_image(r.image_id))
        .count();
    if unannotated > 0 {
        let all = results.len();
        let why = format!("{unannotated} of {all} results are of pictures without annotations");
        return Err(Failure::Other(why));
    }
    let figures = truth.figures(&results);
    let figures = NAMES
        .iter()
        .zip(figures.precision.into_iter().chain(figures.recall));
    if arguments.json {
        let line: serde_json::Map<_, _> = figures
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        print(&serde_json::Value::Object(line).to_string());
        return Ok(());
    }
    for (name, value) in figures {
        if value < 0.0 {
            print(&format!("{name:<10} -"));
        } else {
            print(&format!("{name:<10} {value:.3}"));
        }
    }
    Ok(())
}

/// Runs the pipeline on the pictures that have annotations.
fn run_pipeline(
    pipeline: &Path,
    arguments: &EvalDetectionArgs,
    truth: &CocoGroundTruth,
) -> Result<Vec<CocoResult>, Failure> {
    let config = load_for_pictures(pipeline, &arguments.overrides, "eval detection")?;
    detect_folders(&config, &arguments.images, truth, &StopSignal::new())
}

/// Runs the model on the pictures that have annotations, until `stop`.
pub fn detect_folders(
    config: &LoadedPipeline,
    images: &[PathBuf],
    truth: &CocoGroundTruth,
    stop: &StopSignal,
) -> Result<Vec<CocoResult>, Failure> {
    let model = Model::load(config)?;
    if !matches!(model, Model::Detector(_)) {
        let why = format!("{} does not detect", config.card.name);
        return Err(Failure::Other(why));
    }
    if images.is_empty() {
        return Err(Failure::Other(
            "a pipeline needs pictures: --images DIR".to_owned(),
        ));
    }
    let threads = available_parallelism().map_or(1, usize::from);
    let mut worker = model.worker(threads, &InferenceLatency::default(), &Arc::default())?;
    let recorder = RecordBuilder {
        labels: Arc::new(config.card.labels()),
        ..RecordBuilder::default()
    };
    let mut results = Vec::new();
    for folder in images {
        let is_known =
            |name: &str, _| Ok(image_id_from_name(name).is_some_and(|id| truth.has_image(id)));
        let on_prediction = |meta: &FrameMeta, size, prediction| {
            let record = recorder.frame(meta, size, 0, &prediction);
            let of_frame = CocoResult::from_frame(&record);
            results.extend(of_frame.map_err(|e| Failure::Other(e.to_string()))?);
            Ok(())
        };
        infer_folder(folder, &mut *worker, is_known, on_prediction, stop)?;
    }
    Ok(results)
}
