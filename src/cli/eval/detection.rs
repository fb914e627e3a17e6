//! `mobilens eval detection`: COCO AP and AR.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use image::ImageFormat;
use mobilens::config::LoadedPipeline;
use mobilens::eval::{
    CocoEvaluation, CocoGroundTruth, PrCurve, SizeMetrics, draw_pr_curves, read_results,
};
use mobilens::flow::StopSignal;
use mobilens::frame::FrameMeta;
use mobilens::pipeline::{InferenceLatency, Model};
use mobilens::records::{CocoResult, RecordBuilder};
use serde_json::json;

use super::arguments::EvalDetectionArgs;
use super::{Failure, infer_folder, load_for_pictures};
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

/// Ranges of an object's size, and the areas they stand for.
const SIZES: [(&str, &str); 4] = [
    ("all", ""),
    ("small", "up to 32x32"),
    ("medium", "32x32 to 96x96"),
    ("large", "above 96x96"),
];

/// COCO's twelve figures of saved results, or of a pipeline on pictures.
pub fn detection(arguments: &EvalDetectionArgs) -> Result<(), Failure> {
    if let Some(file) = &arguments.pr_curve {
        // Before all that takes time.
        ImageFormat::from_path(file)
            .map_err(|_| Failure::Other(format!("{}: expected .png or .jpg", file.display())))?;
    }
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
    let evaluation = truth.evaluate(&results);
    if let Some(file) = &arguments.pr_curve {
        plot_pr_curves(&evaluation, file)?;
    }
    let metrics = evaluation.metrics();
    let metrics = NAMES
        .iter()
        .zip(metrics.precision.into_iter().chain(metrics.recall));
    if arguments.json {
        let mut line: serde_json::Map<_, _> = metrics
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        if arguments.by_size {
            line.insert("by_size".to_owned(), by_size_json(&evaluation));
        }
        print(&serde_json::Value::Object(line).to_string());
        return Ok(());
    }
    for (name, value) in metrics {
        print(&format!(
            "{name:<10} {}",
            cell(Some(value).filter(|v| *v >= 0.0))
        ));
    }
    if arguments.by_size {
        print(&by_size_table(&evaluation));
    }
    Ok(())
}

/// A metric to three decimals; `-` without objects.
fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

/// The metrics that `--by-size` shows of each range of sizes.
fn metrics_of_size(size: &SizeMetrics) -> [(&'static str, Option<f64>); 4] {
    [
        ("AP", size.ap()),
        ("AP50", size.ap_at(0)),
        ("AP75", size.ap_at(5)),
        ("AR_100", size.ar()),
    ]
}

/// How much of all objects are of a size, 0 to 1.
fn share_of(size: &SizeMetrics, evaluation: &CocoEvaluation) -> f64 {
    f64::from(size.objects()) / f64::from(evaluation.by_size[0].objects().max(1))
}

fn by_size_json(evaluation: &CocoEvaluation) -> serde_json::Value {
    let sizes = SIZES.iter().zip(&evaluation.by_size);
    let sizes = sizes.map(|((name, _), size)| {
        let mut of_size: serde_json::Map<_, _> = metrics_of_size(size)
            .map(|(name, value)| (name.to_owned(), json!(value.unwrap_or(-1.0))))
            .into_iter()
            .collect();
        of_size.insert("objects".to_owned(), json!(size.objects()));
        of_size.insert("share".to_owned(), json!(share_of(size, evaluation)));
        ((*name).to_owned(), of_size.into())
    });
    serde_json::Value::Object(sizes.collect())
}

fn by_size_table(evaluation: &CocoEvaluation) -> String {
    let mut table = format!(
        "\n{:<7} {:<14} {:>6} {:>6} {:>6} {:>6} {:>8} {:>6}",
        "size", "area px", "AP", "AP50", "AP75", "AR_100", "objects", "share"
    );
    for ((name, area), size) in SIZES.iter().zip(&evaluation.by_size) {
        let _ = write!(table, "\n{name:<7} {area:<14}");
        for (_, value) in metrics_of_size(size) {
            let _ = write!(table, " {:>6}", cell(value));
        }
        let percent = 100.0 * share_of(size, evaluation);
        let _ = write!(table, " {:>8} {percent:>4.0} %", size.objects());
    }
    table
}

/// Plots precision over recall at IoU .50, at .75 and averaged over .50 to .95.
fn plot_pr_curves(evaluation: &CocoEvaluation, file: &Path) -> Result<(), Failure> {
    let all = &evaluation.by_size[0];
    let curves = [
        ("IoU .50", all.precision_at(0), all.ap_at(0)),
        ("IoU .75", all.precision_at(5), all.ap_at(5)),
        ("mean of IoU .50 to .95", all.mean_precision(), all.ap()),
    ];
    let curves: Vec<PrCurve> = curves
        .into_iter()
        .filter_map(|(name, precision, ap)| {
            Some(PrCurve {
                name: format!("{name}: AP {:.3}", ap?),
                precision: precision?,
            })
        })
        .collect();
    if curves.is_empty() {
        let why = "there are no objects in the annotations to plot precision over recall of";
        return Err(Failure::Other(why.to_owned()));
    }
    let title = match all.classes() {
        1 => "Precision over recall".to_owned(),
        n => format!("Precision over recall, mean of {n} classes"),
    };
    let picture = draw_pr_curves(&title, &curves);
    picture
        .save(file)
        .map_err(|e| Failure::Run(format!("cannot write {}: {e}", file.display())))
}

/// Runs the pipeline on the pictures that have annotations.
fn run_pipeline(
    pipeline: &Path,
    arguments: &EvalDetectionArgs,
    truth: &CocoGroundTruth,
) -> Result<Vec<CocoResult>, Failure> {
    let config = load_for_pictures(pipeline, &arguments.overrides, "eval detection")?;
    let (results, pictures) =
        detect_folders(&config, &arguments.images, truth, &StopSignal::new())?;
    if pictures == 0 {
        let why = "no picture of --images is in the annotations; they are matched by file name";
        return Err(Failure::Other(why.to_owned()));
    }
    Ok(results)
}

/// Runs the model on the pictures that have annotations, until `stop`; gives what it detects, and their
/// number.
pub fn detect_folders(
    config: &LoadedPipeline,
    images: &[PathBuf],
    truth: &CocoGroundTruth,
    stop: &StopSignal,
) -> Result<(Vec<CocoResult>, usize), Failure> {
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
    let labels = Arc::new(config.card.labels());
    let recorder = RecordBuilder {
        labels: Arc::clone(&labels),
        ..RecordBuilder::default()
    };
    let (mut results, mut pictures) = (Vec::new(), 0);
    for folder in images {
        let is_known = |name: &str, _| Ok(truth.image_id(name).is_some());
        let on_prediction = |meta: &FrameMeta, size, prediction| {
            pictures += 1;
            let mut record = recorder.frame(meta, size, 0, &prediction);
            let name = record.name.take().unwrap_or_default();
            record.frame = truth.image_id(&name).unwrap_or_default();
            record.detections.retain_mut(|detection| {
                let id = truth.category_id(&detection.label, detection.category_id, &labels);
                detection.category_id = id.unwrap_or_default();
                id.is_some()
            });
            let of_frame = CocoResult::from_frame(&record);
            results.extend(of_frame.map_err(|e| Failure::Other(e.to_string()))?);
            Ok(())
        };
        infer_folder(folder, &mut *worker, is_known, on_prediction, stop)?;
    }
    Ok((results, pictures))
}
