//! Arguments of `mobilens analyze`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// The JSON lines of a run, or `-` for standard input.
    #[arg(value_name = "RECORDS.jsonl")]
    pub records: PathBuf,
    /// The pipeline, of which `detect`, `track`, `zones` and `lines` are used.
    #[arg(value_name = "PIPELINE.yaml")]
    pub pipeline: PathBuf,
    /// Where the records go; default: standard output.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Output format: records, or tracks in MOTChallenge format.
    #[arg(long, value_enum, default_value_t)]
    pub format: AnalyzeFormat,
    /// Add the events to an event store, in the place of those of an earlier analysis or replay of the same
    /// recording; records are then written only with --output.
    #[arg(long, value_name = "EVENTS.db")]
    pub store: Option<PathBuf>,
    /// When the run began, for instance 2026-03-01T18:30: events get dates; default: they have their place in the
    /// recording.
    #[arg(long, value_name = "TIME", requires = "store")]
    pub began: Option<String>,
    /// Override a key of the pipeline; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AnalyzeFormat {
    #[default]
    Jsonl,
    Mot,
}
