//! Command-line arguments (clap).

use std::fmt::Write;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use mobilens::config::PrecisionConfig;
use mobilens_nn::KernelChoice;

use super::analyze::arguments::AnalyzeArgs;
use super::card::arguments::{CardArgs, RunModelArgs};
use super::data_dir::DATA_DIR_VARIABLE;
use super::devices::arguments::DevicesArgs;
use super::eval::arguments::EvalCommand;
#[cfg(feature = "store")]
use super::events::arguments::EventsArgs;
use super::init::arguments::InitArgs;
use super::label::arguments::LabelArgs;
use super::reload::ReloadArgs;

/// Longest axis of `--shape`.
const MAX_AXIS: usize = 65_536;

/// What people do most, each with its command.
pub const EXAMPLES: &[(&str, &str)] = &[
    (
        "mobilens init gate.yaml",
        "a pipeline of your own, by a few questions",
    ),
    (
        "mobilens pipelines/ssd_camera.yaml",
        "boxes around people and vehicles, live in a window",
    ),
    (
        "mobilens pipelines/ssd_replay.yaml --input clip.mp4",
        "what is in a clip, as JSON lines on standard output",
    ),
    (
        "mobilens pipelines/web_security.yaml",
        "the live picture in a browser, at http://127.0.0.1:8080/",
    ),
    (
        "mobilens run model.onnx --input clip.mp4",
        "what a model of your own finds in a clip, without a card or a pipeline",
    ),
    (
        "mobilens check gate.yaml",
        "every error in a pipeline of your own, with line and column",
    ),
];

/// The environment variables that the program reads by itself.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "MOBILENS_LOG",
        "what is logged to standard error, for instance \"debug\" or \"warn,mobilens=trace\"",
    ),
    (
        DATA_DIR_VARIABLE,
        "a data folder that is searched before /usr/local/share/mobilens and /usr/share/mobilens",
    ),
];

/// What the exit status means.
pub const EXIT_STATUS: &str =
    "0 done, 1 the run failed, 2 usage or configuration, 130 interrupted twice.";

/// What follows the options in `--help`.
fn after_help() -> String {
    let mut text = String::new();
    for (title, entries) in [
        ("Examples", EXAMPLES),
        ("Environment variables", ENVIRONMENT),
    ] {
        let _ = writeln!(text, "{title}:");
        for (term, explanation) in entries {
            let _ = writeln!(text, "  {term}\n      {explanation}");
        }
        text.push('\n');
    }
    text + "Exit status: " + EXIT_STATUS
}

/// Real-time detection and segmentation for security cameras and drones, described by one YAML file.
#[derive(Debug, Parser)]
#[command(
    name = "mobilens",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = after_help()
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The pipeline to run; one that is not in the current folder is searched for in the data folders,
    /// such as /usr/share/mobilens.
    #[arg(value_name = "PIPELINE.yaml", required = true)]
    pub pipeline: Option<PathBuf>,
    /// Replace the source: a clip, a picture, a folder of pictures, rtsp://, or `-` for Y4M from
    /// standard input. Options of the new source are set with --set, e.g. `source.images.fps=10`.
    #[arg(long, value_name = "PATH|URL", value_hint = ValueHint::AnyPath)]
    pub input: Option<String>,
    /// No window; JSON lines to standard output unless a sink says otherwise.
    #[arg(long)]
    pub headless: bool,
    /// Write the JSON to FILE instead of to the pipeline's own JSON sinks.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Output format: JSON lines, a COCO results array, or MOTChallenge lines.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Compare the run with saved records; the first difference ends it with exit status 1.
    #[arg(long, value_name = "FILE.jsonl")]
    pub expect: Option<PathBuf>,
    /// Stop after N frames.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// Playback pace of recorded frames: as fast as possible, or in real time.
    #[arg(long, value_enum, value_name = "PACE")]
    pub pace: Option<CliPace>,
    /// Kernel implementation for the model's operators, to compare.
    #[arg(long, value_enum, default_value_t, hide_short_help = true)]
    pub kernels: Kernels,
    /// Override a key of the pipeline, e.g. `--set detect.score_threshold=0.3`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Jsonl,
    Coco,
    Mot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CliPace {
    Fast,
    Realtime,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a model on a clip or pictures, without a pipeline.
    ///
    /// Takes the card MODEL.yaml beside the model, or makes one as `mobilens card` does and says what it does not know.
    /// A clip is shown in a window if there is a display; else the results are JSON lines on standard output.
    Run(Box<RunModelArgs>),
    /// Make a model card: look at an ONNX file, and write its preprocessing, head and labels.
    ///
    /// Each value has its reason as a comment; "guess" marks what networks of this kind usually have, "UNKNOWN" what the
    /// file does not say. `mobilens check` accepts the card as it is.
    Card(CardArgs),
    /// Validate pipelines without running them: all errors, with file, line and column.
    Check(CheckArgs),
    /// Print the JSON Schema of the pipeline's YAML.
    Schema {
        /// Print the schema of the JSON records instead.
        #[arg(long, conflicts_with = "card")]
        records: bool,
        /// Print the schema of the model cards instead.
        #[arg(long)]
        card: bool,
        /// As a reference of all keys in Markdown: types, defaults and descriptions.
        #[arg(long, conflicts_with = "records")]
        markdown: bool,
    },
    /// List cameras: those of this machine with their formats and rates, or those in the network.
    Devices(DevicesArgs),
    /// Write a pipeline by a few questions, or by options.
    ///
    /// Each question has a default and an option that answers it; --yes takes the defaults. The pipeline is
    /// checked before it is written.
    Init(Box<InitArgs>),
    /// Have a running pipeline read its file again, and go on under what it says now.
    Reload(ReloadArgs),
    /// Measure the latency of a model, or the cost of each stage of a pipeline.
    Bench(BenchArgs),
    /// Run tracking, zones and counting again on saved records, without video or model.
    Analyze(AnalyzeArgs),
    /// Draw a heat map of tracks from saved records.
    Plot(PlotArgs),
    /// Compare the detections of two runs: what one saw and the other did not.
    ///
    /// Boxes of the same label are matched, those with the highest IoU first. Exit status 0 whether or
    /// not the runs differ.
    Compare(CompareArgs),
    /// Cut frames out of a clip and label them by the records of a run, for a human to correct.
    ///
    /// Frames whose detections are least certain come first, spread over time, and some without any
    /// detection. Writes COCO instances, or what CVAT, Label Studio or YOLO's training reads.
    Label(Box<LabelArgs>),
    /// Evaluate accuracy against ground truth.
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Show the events in an event store: who came, when, where.
    ///
    /// A table by default; the newest come first. Reads only, also while a run writes to the file.
    #[cfg(feature = "store")]
    Events(Box<EventsArgs>),
    /// Show the events in an event store (left out of this build).
    #[cfg(not(feature = "store"))]
    #[command(disable_help_flag = true)]
    Events {
        /// Whatever there is.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        arguments: Vec<String>,
    },
    /// Show a model's layers: operator, number format, instruction set, MACs, parameters.
    Inspect(InspectArgs),
    /// Quantize a float32 model to int8 with the help of pictures.
    ///
    /// Writes an ONNX file in the QDQ format and its card, and prints the signal-to-quantization-noise
    /// ratio (SQNR) of each output and of the worst layers. Exit status 1 where the loss of accuracy is
    /// over --max-loss.
    Quantize(QuantizeArgs),
    /// Print a completion script for a shell.
    ///
    /// For instance: mobilens completions bash >/etc/bash_completion.d/mobilens
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page, or write one for each command into a folder.
    ///
    /// For instance: mobilens man | man -l -
    Man {
        /// The folder, which is made if need be; without it, the main page goes to standard output.
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// What to validate.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The pipelines.
    #[arg(required = true, value_name = "PIPELINE.yaml")]
    pub pipelines: Vec<PathBuf>,
    /// Print the effective configuration of one pipeline: every default filled in, secrets masked.
    #[arg(long)]
    pub effective: bool,
    /// Override a key of the pipelines; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

/// Which model to show, and how it would run.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// An ONNX model.
    #[arg(value_name = "MODEL.onnx")]
    pub model: PathBuf,
    /// Number format of the model; default: `model`.
    #[arg(long, value_enum, value_name = "PRECISION")]
    pub precision: Option<CliPrecision>,
    /// Kernel implementation for the model's operators.
    #[arg(long, value_enum, default_value_t)]
    pub kernels: Kernels,
    /// Shape of the input, where the file leaves axes free or has another, for instance 1x3x48x192.
    #[arg(long, value_name = "NxCxHxW")]
    pub shape: Option<InputShape>,
    /// Print one JSON object: the layers, and the sums by what runs them.
    #[arg(long)]
    pub json: bool,
}

/// Shape of a model's input.
#[derive(Clone, Debug)]
pub struct InputShape(pub Vec<usize>);

impl FromStr for InputShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let axes = text.split(['x', 'X']).map(|axis| match axis.parse() {
            Ok(size @ 1..=MAX_AXIS) => Ok(size),
            _ => Err(format!(
                "expected sizes of 1 to {MAX_AXIS} joined by x, for instance 1x3x224x224"
            )),
        });
        axes.collect::<Result<_, _>>().map(Self)
    }
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// An ONNX model, or a pipeline's YAML.
    #[arg(value_name = "MODEL.onnx|PIPELINE.yaml")]
    pub target: PathBuf,
    /// Threads inside one inference.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: Option<u16>,
    /// Measured runs of a model (default 50), or frames of a pipeline (default: all).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub iters: Option<u32>,
    /// Shape of a model's input, where the file leaves axes free or has another, for instance 1x3x48x192.
    #[arg(long, value_name = "NxCxHxW")]
    pub shape: Option<InputShape>,
    /// Only these classes of a detector, by the labels of the card beside the model.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub classes: Vec<String>,
    /// Number format of the network; default: `model`, or what the pipeline says.
    #[arg(long, value_enum, value_name = "PRECISION")]
    pub precision: Option<CliPrecision>,
    /// Kernel implementation for the model's operators.
    #[arg(long, value_enum, default_value_t)]
    pub kernels: Kernels,
    /// Also print the time of each step of a model.
    #[arg(long, conflicts_with = "json")]
    pub layers: bool,
    /// One JSON line instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `quantize`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("truth").args(["coco", "instances"])))]
pub struct QuantizeArgs {
    /// The card of a float32 model.
    #[arg(value_name = "MODEL.yaml")]
    pub model: PathBuf,
    /// A folder of pictures to calibrate with, like those that the model will see.
    #[arg(long, value_name = "DIR")]
    pub images: PathBuf,
    /// The ONNX file to write, with its card beside it; default: the model's name with _int8 behind
    /// it.
    #[arg(short, long, value_name = "OUT.onnx")]
    pub output: Option<PathBuf>,
    /// At most so many pictures, evenly spread over the folder.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub limit: u16,
    /// COCO instance annotations: measure a detector's AP before and after; may be repeated.
    #[arg(long, value_name = "FILE.json", requires = "eval_images")]
    pub coco: Vec<PathBuf>,
    /// COCO instance annotations: measure a segmentation model's mean IoU before and after; may be
    /// repeated.
    #[arg(long, value_name = "FILE.json", requires = "eval_images")]
    pub instances: Vec<PathBuf>,
    /// A folder of the pictures that are annotated; may be repeated.
    #[arg(long, alias = "coco-images", value_name = "DIR", requires = "truth")]
    pub eval_images: Vec<PathBuf>,
    /// Greatest loss of AP or mean IoU, for instance 0.005; a greater one ends with exit status 1.
    #[arg(long, value_name = "X", requires = "truth", value_parser = finite)]
    pub max_loss: Option<f64>,
    /// One JSON line instead of a table.
    #[arg(long)]
    pub json: bool,
}

fn finite(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err("expected a finite number".to_owned())
    }
}

#[derive(Debug, Args)]
pub struct PlotArgs {
    /// The JSON lines of a run with tracking.
    #[arg(value_name = "RECORDS.jsonl")]
    pub records: PathBuf,
    /// The picture to write (.png or .jpg).
    #[arg(short, long, value_name = "HEAT.png")]
    pub output: PathBuf,
    /// A picture to draw on, for instance a frame of the clip.
    #[arg(long, value_name = "PICTURE")]
    pub background: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The JSON lines of a run.
    #[arg(value_name = "A.jsonl")]
    pub first: PathBuf,
    /// The JSON lines of another run on the same frames.
    #[arg(value_name = "B.jsonl")]
    pub second: PathBuf,
    /// Lowest IoU of two boxes that are the same object.
    #[arg(long, value_name = "IOU", default_value_t = 0.5, value_parser = share)]
    pub iou: f64,
    /// Leave out detections with a lower score.
    #[arg(long, value_name = "SCORE", default_value_t = 0.0, value_parser = share)]
    pub score: f64,
    /// One JSON line instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Draw the frames that differ most, as PNG files into this folder.
    #[arg(long, value_name = "OUT_DIR", requires = "input")]
    pub images: Option<PathBuf>,
    /// The clip or the folder of pictures that the runs were on.
    #[arg(long, value_name = "CLIP|DIR", requires = "images", value_hint = ValueHint::AnyPath)]
    pub input: Option<String>,
    /// Draw at most so many frames; default: 20.
    #[arg(long, value_name = "N", requires = "images", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_images: Option<u32>,
}

/// A number from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    let value = text
        .parse()
        .ok()
        .filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// The same, as a score.
pub fn score(text: &str) -> Result<f32, String> {
    share(text).map(|value| value as f32)
}

/// See [`KernelChoice`].
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Kernels {
    /// The kernels for the best instruction set of this CPU.
    #[default]
    Auto,
    /// tract alone, in float32.
    Tract,
    /// The kernels in plain Rust.
    Portable,
    /// The kernels for AVX2 and FMA, without VNNI.
    Avx2,
    /// The same for float32, and AVX-VNNI for int8.
    Avxvnni,
    /// The kernels for AVX-512, for int8 with AMX or VNNI where the CPU has it.
    Avx512,
    /// The same for float32, and AVX-512 VNNI without AMX for int8.
    Avx512vnni,
}

impl From<Kernels> for KernelChoice {
    fn from(kernels: Kernels) -> Self {
        match kernels {
            Kernels::Auto => Self::Auto,
            Kernels::Tract => Self::Tract,
            Kernels::Portable => Self::Portable,
            Kernels::Avx2 => Self::Avx2,
            Kernels::Avxvnni => Self::AvxVnni,
            Kernels::Avx512 => Self::Avx512,
            Kernels::Avx512vnni => Self::Avx512Vnni,
        }
    }
}

/// See [`PrecisionConfig`].
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum CliPrecision {
    /// Int8 where the model is quantised, else float32.
    #[default]
    Model,
    /// Float32, also where the model is quantised.
    F32,
    /// bfloat16, on CPUs with AVX-512 BF16.
    Bf16,
    /// Int8, for a quantised model only.
    Int8,
    /// The fastest of this CPU.
    Fast,
}

impl From<CliPrecision> for PrecisionConfig {
    fn from(precision: CliPrecision) -> Self {
        match precision {
            CliPrecision::Model => Self::Model,
            CliPrecision::F32 => Self::F32,
            CliPrecision::Bf16 => Self::Bf16,
            CliPrecision::Int8 => Self::Int8,
            CliPrecision::Fast => Self::Fast,
        }
    }
}
