//! Identity and time of a frame.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Telemetry;
use mobilens_image::Image;

/// A time on a stream's media clock, in ticks of that clock, so that nothing is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaTime {
    /// Ticks since the stream began.
    pub ticks: i64,
    /// Ticks per second; never 0.
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

    /// Time since the stream began; 0 for times before it.
    pub fn as_duration(self) -> Duration {
        let nanos = i128::from(self.ticks.max(0)) * 1_000_000_000 / i128::from(self.rate_hz);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Identity and time of a frame. Set at capture, never changed afterwards.
#[derive(Clone, Debug)]
pub struct FrameMeta {
    /// Name of the stream, the same in every record of it.
    pub stream: Arc<str>,
    /// Number of the frame in its stream, from 0; lost and dropped frames keep theirs.
    pub frame: u64,
    /// Presentation time.
    pub pts: MediaTime,
    /// When the frame reached this process; ages and latencies are measured from here.
    pub captured_at: Instant,
    /// File name of the picture, if it comes from a file.
    pub name: Option<Arc<str>>,
    /// Telemetry of the drone that carries the camera, at that time.
    pub telemetry: Option<Telemetry>,
}

/// A frame in the pipeline, with the output of the last stage.
#[derive(Clone, Debug)]
pub struct Packet<T> {
    /// Identity and time.
    pub meta: FrameMeta,
    /// The captured image, in the decoder's pixel format.
    pub image: Arc<Image>,
    /// Output of the last stage.
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
