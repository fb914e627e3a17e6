//! Command-line arguments of `init`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use crate::cli::devices::arguments::LoginArgs;

/// Arguments of `init`. Each question has the option that answers it.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The pipeline to write.
    #[arg(value_name = "FILE.yaml", default_value = "mobilens.yaml")]
    pub file: PathBuf,
    /// Where frames come from: a device such as /dev/video0, an rtsp:// URL, a clip, a picture or a folder of
    /// pictures; `onvif://HOST[:PORT]` asks a network camera for its stream, `onvif` the first one that is found.
    #[arg(long, value_name = "CAMERA", value_hint = ValueHint::AnyPath)]
    pub camera: Option<String>,
    #[command(flatten)]
    pub login: LoginArgs,
    /// What to look for.
    #[arg(long, value_enum, value_name = "WHAT,...", value_delimiter = ',')]
    pub look_for: Vec<Subject>,
    /// How much to compute.
    #[arg(long, value_enum, value_name = "SPEED")]
    pub speed: Option<Speed>,
    /// Where the live picture is shown.
    #[arg(long, value_enum, value_name = "WHERE")]
    pub show: Option<Show>,
    /// Write records as JSON lines to this file; `-` is standard output, `none` is nowhere.
    #[arg(long, value_name = "FILE.jsonl|none", value_hint = ValueHint::FilePath)]
    pub records: Option<String>,
    /// Record everything as MP4 into this folder; `none`: do not.
    #[arg(long, value_name = "DIR|none", value_hint = ValueHint::DirPath)]
    pub record: Option<String>,
    /// Record clips of events as MP4 into this folder; `none`: do not.
    #[arg(long, value_name = "DIR|none", value_hint = ValueHint::DirPath)]
    pub clips: Option<String>,
    /// Ask nothing: every default that no option changes.
    #[arg(long)]
    pub yes: bool,
    /// Overwrite the file if it exists.
    #[arg(long)]
    pub force: bool,
}

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// People.
    People,
    /// Bicycles, cars, motorcycles, buses, trucks.
    Vehicles,
    /// Birds, cats, dogs, horses, sheep, cows, elephants, bears, zebras, giraffes.
    Animals,
    /// Everything that the model knows: 80 classes.
    All,
}

impl Subject {
    /// Classes of COCO; none for all of them.
    pub fn classes(self) -> &'static [&'static str] {
        match self {
            Self::People => &["person"],
            Self::Vehicles => &["bicycle", "car", "motorcycle", "bus", "truck"],
            Self::Animals => &[
                "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra",
                "giraffe",
            ],
            Self::All => &[],
        }
    }
}

/// How much to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Speed {
    /// One look at each frame.
    Fast,
    /// A second look at a larger input size: small objects, about four times the time.
    Accurate,
}

/// Where the live picture is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// A window.
    Window,
    /// A page for browsers on this machine.
    Page,
    /// Nowhere.
    None,
}
