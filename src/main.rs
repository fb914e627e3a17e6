//! The `mobilens` program: logging, command line, exit code.

mod cli;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use cli::Cli;

fn main() -> ExitCode {
    // clap prints usage errors itself, and ends with 2.
    let cli = Cli::parse();
    let default = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("mobilens", LevelFilter::INFO);
    let asked = std::env::var("MOBILENS_LOG").ok();
    let filter = match asked.as_deref().map(str::parse) {
        Some(Ok(filter)) => filter,
        Some(Err(_)) | None => default,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false);
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .init();
    cli::dispatch(cli)
}
