//! A progress bar with an estimate of the time left, where the number of frames is known and standard
//! error is a terminal.

use std::io::{IsTerminal, stderr, stdout};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows the progress of a run over a file; hidden where there is no terminal, or where it would mix with
/// the output.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Never shows anything.
    pub fn hidden() -> Self {
        Self(None)
    }

    /// A bar of `frames` on standard error, if that is a terminal. With `prints`, lines go to standard
    /// output; if that is a terminal too, the bar stays hidden, as they would mix.
    pub fn on_terminal(frames: Option<u64>, prints: bool) -> Self {
        let would_mix = prints && stdout().is_terminal();
        let Some(frames) = frames.filter(|_| stderr().is_terminal() && !would_mix) else {
            return Self::hidden();
        };
        let bar = ProgressBar::with_draw_target(Some(frames), ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template("{bar:30} {pos}/{len} frames  {per_sec}  {eta} left")
                .expect("constant template"),
        );
        bar.enable_steady_tick(Duration::from_millis(500));
        Self(Some(bar))
    }

    /// A bar on standard error, if that is a terminal, of work in phases: see
    /// [`at`](Self::at).
    pub fn of_phases() -> Self {
        if !stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template("{msg:10} {bar:30} {pos}/{len}  {eta} left")
                .expect("constant template"),
        );
        bar.enable_steady_tick(Duration::from_millis(500));
        Self(Some(bar))
    }

    /// `done` steps of `total` of the phase `name` are done.
    pub fn at(&self, name: &'static str, done: usize, total: usize) {
        if let Some(bar) = &self.0 {
            if bar.message() != name {
                bar.set_message(name);
                bar.reset_eta();
            }
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    }

    /// One frame more is done.
    pub fn frame_done(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
