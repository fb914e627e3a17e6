//! Signals: the first Ctrl-C or SIGTERM asks for the end, a second one leaves at once; SIGHUP has the pipeline file
//! read again, unless it says that the run's terminal was closed.

use std::sync::Arc;

#[cfg(unix)]
use std::fs::File;

use super::Reloads;

/// What SIGHUP asks for.
pub enum Hangup {
    /// The end, as it does by default.
    End,
    /// The pipeline file is read again.
    Reload(Arc<Reloads>),
}

/// Calls `stop` for each signal that asks for the end.
#[cfg(unix)]
pub fn on_signals(hangup: Hangup, stop: impl Fn() + Send + 'static) {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    // nohup has it ignored; a terminal that is closed is no reason to end then.
    let is_ignored = ignores(SIGHUP);
    let asks_for_end = matches!(hangup, Hangup::End);
    let had_terminal = has_terminal() && !is_ignored;
    let mut wanted = vec![SIGINT, SIGTERM];
    if !(is_ignored && asks_for_end) {
        wanted.push(SIGHUP);
    }
    let watch = move |mut signals: Signals| {
        for signal in signals.forever() {
            match &hangup {
                Hangup::Reload(reloads)
                    if signal == SIGHUP && (!had_terminal || has_terminal()) =>
                {
                    // It is told in the log.
                    let _ = reloads.reload("SIGHUP");
                }
                _ => stop(),
            }
        }
    };
    let started = Signals::new(wanted).and_then(|signals| {
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || watch(signals))
    });
    if let Err(error) = started {
        tracing::warn!("cannot install signal handler: {error}");
    }
}

/// Whether the process has a terminal that controls it, and has not lost it.
#[cfg(unix)]
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether the process was started with a signal ignored.
#[cfg(unix)]
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

/// Calls `stop` for each signal that asks for the end.
#[cfg(not(unix))]
pub fn on_signals(_: Hangup, stop: impl Fn() + Send + 'static) {
    if let Err(error) = ctrlc::set_handler(stop) {
        tracing::warn!("cannot install signal handler: {error}");
    }
}
