//! The main thread's work while a window is open.

use std::time::{Duration, Instant};

use super::show::Drawn;
use crate::flow::{Received, Receiver, StopReason, StopSignal};
use crate::sink::{Window, WindowError};

/// How long the window waits for a picture before it looks at its keys again.
const WINDOW_POLL: Duration = Duration::from_millis(15);

/// Shows pictures until no more come or the user has seen enough. With `hold` the last one stays
/// until then.
pub fn watch_window(
    window: &mut Window,
    pictures: Receiver<Drawn>,
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
            Received::Item(drawn) => {
                let fps = rate.tick(Instant::now());
                window.show(&drawn.picture, &format!("{fps:.1} frames/s"))?;
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

/// Frames a second over the last second or so.
#[derive(Default)]
struct FrameRate {
    last: Option<Instant>,
    seconds_a_frame: f64,
}

impl FrameRate {
    fn tick(&mut self, now: Instant) -> f64 {
        if let Some(last) = self.last.replace(now) {
            let seconds = (now - last).as_secs_f64();
            // An exponential average that forgets within about a second.
            let share = seconds.min(1.0).max(0.02);
            self.seconds_a_frame += (seconds - self.seconds_a_frame)
                * if self.seconds_a_frame == 0.0 {
                    1.0
                } else {
                    share
                };
        }
        if self.seconds_a_frame > 0.0 {
            1.0 / self.seconds_a_frame
        } else {
            0.0
        }
    }
}
