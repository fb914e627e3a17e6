//! `mobilens eval segmentation`: mean IoU and pixel accuracy.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use mobilens::config::LoadedPipeline;
use mobilens::eval::{CocoInstances, ConfusionMatrix, GroundTruth, MaskFolder};
use mobilens::flow::StopSignal;
use mobilens::pipeline::{InferenceLatency, Model};
use serde_json::json;

use super::arguments::EvalSegmentationArgs;
use super::{Failure, infer_folder, load_for_pictures};
use crate::cli::print;

/// Mean IoU of a pipeline that segments.
pub fn segmentation(arguments: &EvalSegmentationArgs) -> Result<(), Failure> {
    let (pipeline, overrides) = (&arguments.pipeline, &arguments.overrides);
    let config = load_for_pictures(pipeline, overrides, "eval segmentation")?;
    let labels = config.card.labels();
    let truth: Box<dyn GroundTruth> = match &arguments.masks {
        Some(dir) => Box::new(MaskFolder::open(dir)?),
        None => {
            let files = arguments.instances.iter().map(PathBuf::as_path);
            Box::new(CocoInstances::open(files, &labels)?)
        }
    };
    let Segmented {
        confusion,
        pictures,
        unknown,
    } = segment_folders(&config, &arguments.images, &*truth, &StopSignal::new())?;
    let Some(mean) = confusion.mean_iou() else {
        let why = "no picture has ground truth; masks and annotations are matched by file name";
        return Err(Failure::Other(why.to_owned()));
    };
    let accuracy = confusion.pixel_accuracy().unwrap_or(0.0);
    let iou = confusion.iou();
    let named = || (0_u32..).map(|id| labels.name(id).to_owned()).zip(&iou);
    if arguments.json {
        let classes: serde_json::Map<_, _> = named()
            .map(|(name, iou)| (name, iou.map_or(serde_json::Value::Null, |iou| json!(iou))))
            .collect();
        let line = json!({
            "model": config.card.name, "pictures": pictures, "without_truth": unknown,
            "mean_iou": mean, "pixel_accuracy": accuracy, "iou": classes,
        });
        print(&line.to_string());
        return Ok(());
    }
    for (name, iou) in named() {
        match iou {
            Some(iou) => print(&format!("{name:<16} {iou:.3}")),
            None => print(&format!("{name:<16} -")),
        }
    }
    print(&format!(
        "mean IoU {mean:.3}, pixel accuracy {accuracy:.3}, {pictures} pictures{}",
        if unknown > 0 {
            format!(" ({unknown} more have no truth)")
        } else {
            String::new()
        }
    ));
    Ok(())
}

/// What came of segmented pictures.
pub struct Segmented {
    /// Over all pixels with ground truth.
    pub confusion: ConfusionMatrix,
    /// Pictures with ground truth.
    pub pictures: u64,
    /// Pictures without.
    pub unknown: u64,
}

/// Runs the model on the pictures that have ground truth, until `stop`.
pub fn segment_folders(
    config: &LoadedPipeline,
    images: &[PathBuf],
    truth: &dyn GroundTruth,
    stop: &StopSignal,
) -> Result<Segmented, Failure> {
    let model = Model::load(config)?;
    if !matches!(model, Model::Segmenter(_)) {
        let why = format!("{} does not segment", config.card.name);
        return Err(Failure::Other(why));
    }
    let threads = available_parallelism().map_or(1, usize::from);
    let mut worker = model.worker(threads, &InferenceLatency::default(), &Arc::default())?;
    let mut confusion = ConfusionMatrix::new(config.card.labels.len());
    let (mut pictures, mut unknown) = (0_u64, 0_u64);
    for folder in images {
        let true_mask = RefCell::new(None);
        infer_folder(
            folder,
            &mut *worker,
            |name, size| {
                let mask = truth.of(name, size)?;
                unknown += u64::from(mask.is_none());
                let is_known = mask.is_some();
                true_mask.replace(mask);
                Ok(is_known)
            },
            |_, _, prediction| {
                pictures += 1;
                if let (Some(truth), Some(seen)) = (true_mask.take(), prediction.segmentation) {
                    confusion.add(&truth, &seen.mask);
                }
                Ok(())
            },
            stop,
        )?;
    }
    Ok(Segmented {
        confusion,
        pictures,
        unknown,
    })
}
