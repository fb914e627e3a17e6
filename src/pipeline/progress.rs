//! A progress bar with an estimate, where the number of frames is known and somebody watches.

use std::io::{IsTerminal, stderr, stdout};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how far a run over a file is; silent where nobody would see it or it would be in the way.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Never shows anything.
    pub fn hidden() -> Self {
        Self(None)
    }

    /// A bar of `frames` on standard error, if that is a terminal. `prints` says that lines go to
    /// standard output: if that is the terminal too, the bar would be torn.
    pub fn on_terminal(frames: Option<u64>, prints: bool) -> Self {
        let torn = prints && stdout().is_terminal();
        let Some(frames) = frames.filter(|_| stderr().is_terminal() && !torn) else {
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
