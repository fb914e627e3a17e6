//! Arguments of `card` and `run`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use crate::cli::arguments::{CliPace, Format, InputShape};

/// Arguments of `card`.
#[derive(Debug, Args)]
pub struct CardArgs {
    /// An ONNX model.
    #[arg(value_name = "MODEL.onnx")]
    pub model: PathBuf,
    /// The card to write; default: standard output.
    #[arg(short, long, value_name = "CARD.yaml")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub options: CardOptions,
    /// Run the model with the card on a picture, draw the result, and print a line for each object or class: on
    /// standard output with -o, else on standard error.
    #[arg(long = "try", value_name = "PICTURE", value_hint = ValueHint::FilePath)]
    pub try_picture: Option<PathBuf>,
    /// The drawn picture; default: PICTURE.MODEL.png beside the picture.
    #[arg(long, value_name = "DRAWN.png", requires = "try_picture")]
    pub drawn: Option<PathBuf>,
    /// Overwrite files that exist.
    #[arg(long)]
    pub force: bool,
}

/// What a file does not say.
#[derive(Clone, Debug, Default, Args)]
pub struct CardOptions {
    /// Shape of the input, where the file leaves axes free or has another, for instance 1x3x480x640.
    #[arg(long, value_name = "1x3xHxW")]
    pub shape: Option<InputShape>,
    /// The head, where the outputs fit more than one.
    #[arg(long, value_enum, value_name = "HEAD")]
    pub head: Option<HeadKind>,
    /// Names of the classes, one a line, in the order of the model's channels; with or without the background.
    #[arg(long, value_name = "FILE.txt")]
    pub labels: Option<PathBuf>,
}

impl CardOptions {
    /// The option that was given, if any was.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            ("--shape", self.shape.is_some()),
            ("--head", self.head.is_some()),
            ("--labels", self.labels.is_some()),
        ];
        given.into_iter().find(|(_, is)| *is).map(|(name, _)| name)
    }
}

/// A head, by its key in the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HeadKind {
    /// A classifier.
    Classify,
    /// SSD.
    Ssd,
    /// YOLO of any version.
    Yolo,
    /// NanoDet, PicoDet.
    Gfl,
    /// CenterNet, CenterFace.
    Centernet,
    /// RetinaFace.
    Retinaface,
    /// DETR, RT-DETR, D-FINE.
    Detr,
    /// DeepLab: logits for each cell of pixels.
    Deeplab,
    /// A class for each pixel.
    Segment,
}

impl HeadKind {
    /// Its key in the card.
    pub fn key(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Ssd => "ssd",
            Self::Yolo => "yolo",
            Self::Gfl => "gfl",
            Self::Centernet => "centernet",
            Self::Retinaface => "retinaface",
            Self::Detr => "detr",
            Self::Deeplab => "deeplab",
            Self::Segment => "segment",
        }
    }
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunModelArgs {
    /// An ONNX model; its card is MODEL.yaml beside it, or is made as `mobilens card` does.
    #[arg(value_name = "MODEL.onnx")]
    pub model: PathBuf,
    /// A clip, a picture, a folder of pictures, rtsp://, or `-` for Y4M from standard input.
    #[arg(long, value_name = "PATH|URL", value_hint = ValueHint::AnyPath)]
    pub input: String,
    #[command(flatten)]
    pub options: CardOptions,
    /// Lowest score of what is recorded and drawn; default: 0.25 for boxes, 0 for the classes of a picture.
    #[arg(long, value_name = "SCORE", value_parser = crate::cli::arguments::score)]
    pub score: Option<f32>,
    /// No window; JSON lines to standard output.
    #[arg(long)]
    pub headless: bool,
    /// Write the JSON to FILE instead of to standard output.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Output format: JSON lines, a COCO results array, or MOTChallenge lines.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Stop after N frames.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// Playback pace of a clip; default: in real time in a window, else as fast as possible.
    #[arg(long, value_enum, value_name = "PACE")]
    pub pace: Option<CliPace>,
}
