//! Window: shows annotated pictures, on the thread that opened the window.

use std::time::{Duration, Instant};

use super::render::RenderedFrame;
use crate::flow::{Received, Receiver, StopReason, StopSignal};
use crate::sink::{DisplayWindow, WindowError};

/// How long the window waits for a picture before it polls its keys again.
const WINDOW_POLL: Duration = Duration::from_millis(15);

/// Shows pictures until no more come or the user closes the window. With `hold` the last one stays until
/// then.
///
/// # Errors
/// When the display is lost.
pub fn watch_window(
    window: &mut DisplayWindow,
    pictures: Receiver<RenderedFrame>,
    hold: bool,
    stop: &StopSignal,
) -> Result<(), WindowError> {
    let mut rate = FrameRate::default();
    let mut ended = false;
    loop {
        let received = if ended {
            std::thread::sleep(WINDOW_POLL);
            Received::Nothing
        } else {
            pictures.recv_timeout(WINDOW_POLL)
        };
        match received {
            Received::Item(rendered) => {
                let status = rate
                    .tick(Instant::now())
                    .map_or_else(String::new, |fps| format!("{fps:.1} frames/s"));
                window.show(&rendered.picture, &status)?;
            }
            Received::Nothing => window.poll()?,
            Received::Closed => ended = true,
        }
        if !window.is_open() {
            stop.stop(StopReason::WindowClosed);
            return Ok(());
        }
        if ended && (!hold || stop.is_stopped()) {
            return Ok(());
        }
    }
}

/// Frames per second over the last second or so.
#[derive(Default)]
struct FrameRate {
    last: Option<Instant>,
    seconds_a_frame: f64,
}

impl FrameRate {
    /// `None` before the second frame.
    fn tick(&mut self, now: Instant) -> Option<f64> {
        let seconds = (now - self.last.replace(now)?).as_secs_f64();
        // An exponential average that forgets within about a second.
        let share = if self.seconds_a_frame == 0.0 {
            1.0
        } else {
            seconds.clamp(0.02, 1.0)
        };
        self.seconds_a_frame += (seconds - self.seconds_a_frame) * share;
        Some(1.0 / self.seconds_a_frame.max(1e-6))
    }
}
