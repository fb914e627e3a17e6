//! What each command does; errors end here, as one line and an exit code.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use mobilens::app::{self, RunError, RunOptions};
use mobilens::capture::list_cameras;
use mobilens::config::{self, Override, RunOverrides};
use mobilens::flow::{StopReason, StopSignal};

use crate::cli::{Cli, CliPace, Command, Format, RunArgs};

mod bench;
mod inspect;

/// Done.
const DONE: u8 = 0;
/// The run failed.
const FAILED: u8 = 1;
/// Usage or configuration.
const USAGE: u8 = 2;
/// A second Ctrl-C.
const INTERRUPTED_TWICE: i32 = 130;

/// Runs the command and says how it went.
pub fn dispatch(cli: Cli) -> ExitCode {
    let code = match cli.command {
        None => run(&cli.run),
        Some(Command::Check { pipelines }) => check(&pipelines),
        Some(Command::Schema { records, card }) => print_schema(records, card),
        Some(Command::Devices) => devices(),
        Some(Command::Bench {
            target,
            threads,
            iters,
            json,
        }) => bench::bench(&target, threads.map(usize::from), iters, json),
        Some(Command::Inspect { model }) => inspect::inspect(&model),
    };
    ExitCode::from(code)
}
