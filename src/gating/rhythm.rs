//! On which frames one of several models runs.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::frame::MediaTime;

/// How often a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// On one of so many frames, by their number.
    Frames(u32),
    /// On the first frame of each interval of so many milliseconds of media time.
    Millis(u64),
}

/// The rhythm of a model, shared by the workers of a stream.
///
/// Time is divided into slots: so many frames, or so many milliseconds. Of a recording every frame arrives,
/// and the model runs on the first of each slot, whichever worker has it. Of a live source the first may have
/// been dropped; there it runs on the first that arrives.
#[derive(Debug)]
pub struct Rhythm {
    every: Every,
    /// The last slot in which it ran, where frames may be dropped.
    last: Option<AtomicI64>,
}

impl Rhythm {
    /// For a stream of which frames may be dropped (`drops`), or not.
    pub fn new(every: Every, drops: bool) -> Self {
        Self {
            every,
            last: drops.then(|| AtomicI64::new(-1)),
        }
    }

    /// Whether the model runs on the frame with this number and presentation time; `previous` is that of the
    /// frame captured before. Where frames may be dropped, its slot is then taken.
    pub fn take(&self, frame: u64, pts: MediaTime, previous: Option<MediaTime>) -> bool {
        let slot = self.slot(frame, pts);
        if let Some(last) = &self.last {
            return last.swap(slot, Ordering::SeqCst) != slot;
        }
        let before = match self.every {
            Every::Frames(_) => frame.checked_sub(1).map(|before| self.slot(before, pts)),
            Every::Millis(_) => previous.map(|previous| self.slot(frame, previous)),
        };
        before != Some(slot)
    }

    fn slot(&self, frame: u64, pts: MediaTime) -> i64 {
        match self.every {
            Every::Frames(n) => (frame / u64::from(n.max(1))) as i64,
            Every::Millis(ms) => {
                let ticks = i128::from(pts.ticks.max(0)) * 1000;
                let length = i128::from(pts.rate_hz) * i128::from(ms.max(1));
                i64::try_from(ticks / length.max(1)).unwrap_or(i64::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ticks: i64) -> MediaTime {
        MediaTime { ticks, rate_hz: 25 }
    }

    fn taken(rhythm: &Rhythm, frames: &[i64]) -> Vec<i64> {
        let takes = |frame: &i64| {
            let previous = (*frame > 0).then(|| at(frame - 1));
            rhythm.take(*frame as u64, at(*frame), previous)
        };
        frames.iter().copied().filter(takes).collect()
    }

    #[test]
    fn of_a_recording_the_frame_decides_in_whatever_order_workers_ask() {
        let frames: Vec<i64> = (0..12).collect();
        let backwards: Vec<i64> = frames.iter().copied().rev().collect();
        let third = Rhythm::new(Every::Frames(3), false);
        assert_eq!(taken(&third, &frames), [0, 3, 6, 9]);
        assert_eq!(taken(&third, &backwards), [9, 6, 3, 0]);
        // 40 ms apart: 0, 40, 80, 120, ...
        let hundred = Rhythm::new(Every::Millis(100), false);
        assert_eq!(taken(&hundred, &frames), [0, 3, 5, 8, 10]);
        assert_eq!(taken(&hundred, &backwards), [10, 8, 5, 3, 0]);
        let each = Rhythm::new(Every::Frames(1), false);
        assert_eq!(taken(&each, &frames), frames);
    }

    #[test]
    fn of_a_live_source_the_first_frame_of_a_slot_that_arrives_is_taken() {
        let third = Rhythm::new(Every::Frames(3), true);
        assert_eq!(
            taken(&third, &[1, 2, 5, 6, 7, 13, 14, 15]),
            [1, 5, 6, 13, 15]
        );
        let hundred = Rhythm::new(Every::Millis(100), true);
        assert_eq!(taken(&hundred, &[0, 1, 4, 5, 6, 7, 8]), [0, 4, 5, 8]);
    }
}
