//! Command-line arguments of `label`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use serde::{Deserialize, Serialize};

use crate::cli::arguments::share;

/// Longest time between two pictures: a year.
const MAX_EVERY_S: f64 = 31_536_000.0;

/// Arguments of `label`.
#[derive(Debug, Args)]
pub struct LabelArgs {
    /// The JSON lines of a run.
    #[arg(value_name = "RECORDS.jsonl")]
    pub records: PathBuf,
    /// The clip or the folder of pictures that the run was on.
    #[arg(long, value_name = "CLIP|DIR", value_hint = ValueHint::AnyPath)]
    pub clip: String,
    /// The folder to write: `images` and the labels.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// What the labels are for.
    #[arg(long = "for", value_enum, value_name = "TARGET", default_value_t)]
    pub target: LabelTarget,
    /// The stream, where the records are of several.
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// At most so many pictures.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub frames: u32,
    /// Frames with a detection whose score is nearest to this one come first; default: the lowest
    /// score of the run's detections, which is just above its threshold.
    #[arg(long, value_name = "SCORE", value_parser = share)]
    pub near: Option<f64>,
    /// Share of pictures from frames without any detection, where missed objects are found.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    pub empty: f64,
    /// Least time between two pictures in seconds; default: 1 for a clip, 0 for a folder of pictures.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub every: Option<f64>,
    /// A class to label; may be repeated. One that the model does not know is only offered to the
    /// annotator. Default: the classes that the run detected.
    #[arg(long = "class", value_name = "NAME")]
    pub classes: Vec<String>,
    /// Write no labels with a lower score; their frames are chosen all the same.
    #[arg(long, value_name = "SCORE", default_value_t = 0.0, value_parser = share)]
    pub score: f64,
    /// File format of the pictures.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: PictureFormat,
    /// Quality of JPEG pictures.
    #[arg(long, value_name = "1-100", default_value_t = 95, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
    /// Where Label Studio finds the pictures; default: /data/local-files/?d=DIR/images/, for its local
    /// file storage.
    #[arg(long, value_name = "PREFIX")]
    pub image_url: Option<String>,
    /// Add to the pictures and labels that DIR has, for instance of another clip.
    #[arg(long, conflicts_with = "force")]
    pub append: bool,
    /// Replace the pictures and labels that DIR has. Other files stay.
    #[arg(long)]
    pub force: bool,
}

/// The program or format that the labels are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelTarget {
    /// COCO instances: instances.json.
    #[default]
    Coco,
    /// CVAT: annotations.xml ("CVAT for images 1.1") and labels.json for the task's labels.
    Cvat,
    /// Label Studio: tasks.json with predictions, and label_config.xml.
    LabelStudio,
    /// YOLO: labels/*.txt and data.yaml.
    Yolo,
}

/// File format of pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PictureFormat {
    #[default]
    Jpeg,
    Png,
}

fn seconds(text: &str) -> Result<f64, String> {
    let value = text.parse().ok();
    let value = value.filter(|seconds| (0.0..=MAX_EVERY_S).contains(seconds));
    value.ok_or_else(|| format!("expected seconds from 0 to {MAX_EVERY_S}"))
}
