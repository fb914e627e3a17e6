//! Command-line arguments of `eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Kind of results to evaluate.
#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Mean IoU, IoU per class and pixel accuracy of a segmentation pipeline.
    Segmentation(EvalSegmentationArgs),
    /// COCO AP and AR of saved results, or of a detection pipeline on pictures.
    Detection(EvalDetectionArgs),
    /// MOTA, IDF1 and HOTA of tracks in MOTChallenge format, or of a pipeline with tracking on the
    /// frames of MOTChallenge sequences.
    Tracking(EvalTrackingArgs),
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["results", "pipeline"])))]
pub struct EvalDetectionArgs {
    /// The pipeline, whose model and `detect` are used.
    #[arg(value_name = "PIPELINE.yaml")]
    pub pipeline: Option<PathBuf>,
    /// COCO instance annotations; may be repeated.
    #[arg(long, value_name = "FILE.json", required = true)]
    pub coco: Vec<PathBuf>,
    /// A COCO results file, instead of a pipeline.
    #[arg(long, value_name = "FILE.json")]
    pub results: Option<PathBuf>,
    /// A folder of the pictures, by the file names of the annotations or named after their image ids;
    /// may be repeated.
    #[arg(long, value_name = "DIR", conflicts_with = "results")]
    pub images: Vec<PathBuf>,
    /// Override a key of the pipeline; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "results")]
    pub overrides: Vec<String>,
    /// Also print AP and AR for small, medium and large objects, and how many there are.
    #[arg(long)]
    pub by_size: bool,
    /// Plot precision over recall, averaged over the classes, to this picture (.png or .jpg).
    #[arg(long, value_name = "PLOT.png")]
    pub pr_curve: Option<PathBuf>,
    /// One JSON line instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["mot", "run"])))]
pub struct EvalTrackingArgs {
    /// A folder with gt.txt or gt/gt.txt, or a folder of such folders: evaluate saved tracks.
    #[arg(long, value_name = "DIR")]
    pub mot: Option<PathBuf>,
    /// The tracks: a file, or a folder with NAME.txt for each sequence; default: test.txt beside
    /// each gt.txt.
    #[arg(long, value_name = "FILE|DIR", conflicts_with = "run")]
    pub results: Option<PathBuf>,
    /// A pipeline with tracking: detect, track and evaluate.
    #[arg(long, value_name = "PIPELINE.yaml", requires = "frames")]
    pub run: Option<PathBuf>,
    /// A MOTChallenge sequence with img1/, gt/gt.txt and, for the frame rate, seqinfo.ini; or a folder
    /// of such folders.
    #[arg(long, value_name = "DIR", requires = "run")]
    pub frames: Option<PathBuf>,
    /// Override a key of the pipeline; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "run")]
    pub overrides: Vec<String>,
    /// One JSON line a sequence instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("truth").required(true).args(["instances", "masks"])))]
pub struct EvalSegmentationArgs {
    /// The pipeline, whose model and `segment` are used.
    #[arg(value_name = "PIPELINE.yaml")]
    pub pipeline: PathBuf,
    /// A folder of pictures; may be repeated.
    #[arg(long, value_name = "DIR", required = true)]
    pub images: Vec<PathBuf>,
    /// COCO instance annotations of the pictures; may be repeated.
    #[arg(long, value_name = "FILE.json")]
    pub instances: Vec<PathBuf>,
    /// A folder of masks: NAME.png or NAME_mask.png for a picture NAME.
    #[arg(long, value_name = "DIR")]
    pub masks: Option<PathBuf>,
    /// Override a key of the pipeline; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// One JSON line instead of a table.
    #[arg(long)]
    pub json: bool,
}
