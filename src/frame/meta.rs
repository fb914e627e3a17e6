//! Identity and time of a frame.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::telemetry::Telemetry;
use mobilens_image::Image;

/// A point on a stream's media clock, kept in the clock's own ticks so that nothing is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaTime {
    /// Ticks since the stream began.
    pub ticks: i64,
    /// Ticks a second; never 0.
    pub rate_hz: u32,
}

impl MediaTime {
    /// The start of a stream.
    pub const ZERO: Self = Self {
        ticks: 0,
        rate_hz: 1,
    };

    /// `duration` on a clock of nanoseconds.
    pub fn from_duration(duration: Duration) -> Self {
        Self {
            ticks: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX),
            rate_hz: 1_000_000_000,
        }
    }

    /// Milliseconds since the stream began.
    pub fn as_ms(self) -> f64 {
        self.ticks as f64 * 1000.0 / f64::from(self.rate_hz)
    }

    /// Time since the stream began; what lies before the beginning counts as the beginning.
    pub fn as_duration(self) -> Duration {
        let nanos = i128::from(self.ticks.max(0)) * 1_000_000_000 / i128::from(self.rate_hz);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Who a frame is and when it was. Set at capture, never changed after.
#[derive(Clone, Debug)]
pub struct FrameMeta {
    /// Name of the stream, the same in every record of it.
    pub stream: Arc<str>,
    /// Number of the frame in its stream, from 0; lost and dropped frames keep theirs.
    pub frame: u64,
    /// Presentation time.
    pub pts: MediaTime,
    /// When the frame reached this process; ages and latencies count from here.
    pub captured_at: Instant,
    /// The picture's own name (its file name) where it has one.
    pub name: Option<Arc<str>>,
    /// What the drone that carries the camera said at that time.
    pub telemetry: Option<Telemetry>,
}

/// A frame on its way, with what the last stage made of it.
#[derive(Clone, Debug)]
pub struct Packet<T> {
    /// Identity and time.
    pub meta: FrameMeta,
    /// The picture as it was captured, in the decoder's own pixel format.
    pub image: Arc<Image>,
    /// What the last stage made.
    pub payload: T,
}

impl<T> Packet<T> {
    /// The same frame with another payload.
    pub fn with<U>(self, payload: U) -> Packet<U> {
        Packet {
            meta: self.meta,
            image: self.image,
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_time_keeps_fractions_of_the_clock() {
        let t = MediaTime {
            ticks: 1001,
            rate_hz: 30_000,
        };
        assert!((t.as_ms() - 33.366_666).abs() < 1e-5);
        assert_eq!(t.as_duration(), Duration::from_nanos(33_366_666));
    }

    #[test]
    fn time_before_the_beginning_is_the_beginning() {
        let t = MediaTime {
            ticks: -5,
            rate_hz: 10,
        };
        assert_eq!(t.as_duration(), Duration::ZERO);
        assert_eq!(t.as_ms(), -500.0);
    }
}
