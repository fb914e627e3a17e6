//! The thin binary: what was typed goes in, an exit code comes out.

mod cli;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::Cli;

fn main() -> ExitCode {
    // clap prints usage errors itself, and ends with 2.
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("MOBILENS_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,mobilens=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
    cli::dispatch(cli)
}
