//! Accuracy against ground truth, before and after.

use std::path::PathBuf;

use mobilens::config::{CardConfig, LoadedPipeline};
use mobilens::eval::{CocoGroundTruth, CocoInstances};
use mobilens::flow::StopSignal;

use super::Failure;
use crate::cli::arguments::QuantizeArgs;
use crate::cli::eval;
use crate::cli::eval::detection::detect_folders;
use crate::cli::eval::segmentation::segment_folders;

/// Lowest score that counts towards AP, so low that nearly all that is found does.
pub const SCORE_THRESHOLD: f32 = 0.001;

/// Ground truth of a model's kind.
pub enum Truth {
    /// Boxes.
    Detection(CocoGroundTruth),
    /// Masks.
    Segmentation(CocoInstances),
}

/// A figure of accuracy.
pub struct Accuracy {
    /// What it is.
    pub name: &'static str,
    /// From 0 to 1.
    pub value: f64,
}

impl Truth {
    /// What the arguments name, for the model of `card`.
    ///
    /// # Errors
    /// When it cannot be read, or is for another kind of model.
    pub fn open(arguments: &QuantizeArgs, card: &CardConfig) -> Result<Option<Self>, Failure> {
        let detects = card.head.detects();
        let name = &card.name;
        let measures = !arguments.coco.is_empty() || !arguments.instances.is_empty();
        if measures && card.head.classify.is_some() {
            let why = format!(
                "{name} classifies pictures, which COCO's annotations say nothing of: leave out --coco and --instances"
            );
            return Err(Failure::Other(why));
        }
        if !arguments.coco.is_empty() {
            if !detects {
                let why = format!("{name} does not detect: --instances measures its mean IoU");
                return Err(Failure::Other(why));
            }
            let mut truth = CocoGroundTruth::default();
            for file in &arguments.coco {
                truth.add(file).map_err(eval::Failure::from)?;
            }
            return Ok(Some(Self::Detection(truth)));
        }
        if arguments.instances.is_empty() {
            return Ok(None);
        }
        if detects {
            let why = format!("{name} does not segment: --coco measures its AP");
            return Err(Failure::Other(why));
        }
        let files = arguments.instances.iter().map(PathBuf::as_path);
        let truth = CocoInstances::open(files, &card.labels()).map_err(eval::Failure::from)?;
        Ok(Some(Self::Segmentation(truth)))
    }

    /// The figure of a model.
    ///
    /// # Errors
    /// When it cannot be loaded or run, or no picture has ground truth.
    pub fn accuracy_of(
        &self,
        model: &LoadedPipeline,
        arguments: &QuantizeArgs,
        stop: &StopSignal,
    ) -> Result<Accuracy, Failure> {
        let images = &arguments.eval_images;
        let none = || {
            let why = "no picture of --eval-images has ground truth; they are matched by name";
            Failure::Other(why.to_owned())
        };
        match self {
            Self::Detection(truth) => {
                let (results, pictures) = detect_folders(model, images, truth, stop)?;
                if pictures == 0 && !stop.is_stopped() {
                    return Err(none());
                }
                Ok(Accuracy {
                    name: "AP",
                    value: truth.figures(&results).precision[0],
                })
            }
            Self::Segmentation(truth) => {
                let segmented = segment_folders(model, images, truth, stop)?;
                let mean = segmented.confusion.mean_iou();
                Ok(Accuracy {
                    name: "mean IoU",
                    value: match mean {
                        Some(mean) => mean,
                        None if stop.is_stopped() => 0.0,
                        None => return Err(none()),
                    },
                })
            }
        }
    }
}
