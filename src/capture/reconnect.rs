//! A camera that is lost is waited for, and taken up again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::source::{CaptureError, Captured, Source, SourceInfo};
use crate::flow::StopSignal;
use crate::frame::MediaTime;

/// How often a wait looks at the stop signal.
const POLL: Duration = Duration::from_millis(100);
/// The first pause before a lost camera is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// Opens a source, again and again.
pub type Opener = Arc<dyn Fn() -> Result<Box<dyn Source>, CaptureError> + Send + Sync>;

/// Reads a camera for ever. When it fails or ends, the loss is told once; it is opened again after
/// pauses that grow, and differ between cameras. Media time goes on through the gap.
pub struct Reconnecting {
    open: Opener,
    info: SourceInfo,
    state: State,
    began: Instant,
    /// Where the connection in use stands in media time; `None` for the first one, whose own times
    /// are kept.
    place: Option<Place>,
    last: MediaTime,
    /// Since when it is lost; until a frame comes.
    lost: Option<Instant>,
    /// The frame with which it came back.
    held: Option<Captured>,
    pause: Duration,
}

enum State {
    Reading(Box<dyn Source>),
    Pausing { until: Instant },
    Opening(Receiver<Result<Box<dyn Source>, CaptureError>>),
}

struct Place {
    /// The first frame's own time, once there was one.
    first: Option<MediaTime>,
    offset: Duration,
}

impl Reconnecting {
    /// Goes on with `source`, which was opened with `open`.
    pub fn new(source: Box<dyn Source>, open: Opener) -> Self {
        Self::with(source.info().clone(), State::Reading(source), open)
    }

    /// Waits for a source that is not there yet, of which only kind and name are known.
    pub fn waiting(kind: &'static str, uri: &str, open: Opener) -> Self {
        let info = SourceInfo {
            kind,
            uri: uri.to_owned(),
            size: None,
            fps: None,
            frames: None,
            live: true,
        };
        let until = Instant::now();
        Self::with(info, State::Pausing { until }, open)
    }

    fn with(info: SourceInfo, state: State, open: Opener) -> Self {
        Self {
            open,
            info,
            state,
            began: Instant::now(),
            place: None,
            last: MediaTime::ZERO,
            lost: None,
            held: None,
            pause: PAUSES.0,
        }
    }

    /// The loss, the first time that it is noticed.
    fn lose(&mut self, why: &str) -> Option<Captured> {
        let now = Instant::now();
        let jitter = 0.5 + f64::from(self.began.elapsed().subsec_nanos() % 1000) / 2000.0;
        let until = now + self.pause.mul_f64(jitter);
        self.pause = (self.pause * 2).min(PAUSES.1);
        self.state = State::Pausing { until };
        if self.lost.is_some() {
            tracing::debug!("{}: {why}", self.info.uri);
            return None;
        }
        self.lost = Some(now);
        tracing::warn!("{why}; trying again");
        Some(Captured::Lost {
            why: why.to_owned(),
        })
    }

    /// The frame's time over all connections; never goes back.
    fn place(&mut self, pts: MediaTime) -> MediaTime {
        let began = self.began;
        let placed = match &mut self.place {
            None => pts,
            Some(place) => {
                let first = *place.first.get_or_insert_with(|| {
                    place.offset = began.elapsed();
                    pts
                });
                let own = pts.as_duration().saturating_sub(first.as_duration());
                // A server may have sent ahead of time.
                let after = self.last.as_duration() + Duration::from_micros(1);
                MediaTime::from_duration((place.offset + own).max(after))
            }
        };
        self.last = placed;
        placed
    }

    fn opening(&self) -> State {
        let (sender, opened) = sync_channel(1);
        let open = Arc::clone(&self.open);
        let spawned = std::thread::Builder::new()
            .name("0-reopen".to_owned())
            .spawn(move || {
                let _ = sender.send(open());
            });
        // Without a thread there is nobody to answer, which is seen as a failure.
        drop(spawned);
        State::Opening(opened)
    }
}

impl Source for Reconnecting {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError> {
        if let Some(held) = self.held.take() {
            return Ok(held);
        }
        while !stop.is_stopped() {
            let why = match &mut self.state {
                State::Reading(source) => match source.next(stop) {
                    Ok(Captured::Frame { image, pts, name }) => {
                        self.pause = PAUSES.0;
                        let pts = self.place(pts);
                        let frame = Captured::Frame { image, pts, name };
                        let Some(since) = self.lost.take() else {
                            return Ok(frame);
                        };
                        self.held = Some(frame);
                        let lasted = since.elapsed();
                        let (name, seconds) = (&self.info.uri, lasted.as_secs_f64());
                        tracing::info!("{name} is back after {seconds:.1} s");
                        return Ok(Captured::Back { lasted });
                    }
                    Ok(Captured::Undecodable { pts, why }) => {
                        let pts = self.place(pts);
                        return Ok(Captured::Undecodable { pts, why });
                    }
                    Ok(Captured::End) if stop.is_stopped() => break,
                    Ok(Captured::End) => format!("{}: the stream ended", self.info.uri),
                    Ok(other) => return Ok(other),
                    Err(error) => error.to_string(),
                },
                State::Pausing { until } => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.state = self.opening();
                    } else {
                        stop.sleep_until(Instant::now() + left.min(POLL));
                    }
                    continue;
                }
                State::Opening(opened) => match opened.recv_timeout(POLL) {
                    Ok(Ok(source)) => {
                        self.state = State::Reading(source);
                        self.place = Some(Place {
                            first: None,
                            offset: Duration::ZERO,
                        });
                        continue;
                    }
                    Ok(Err(error)) => error.to_string(),
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => "it could not be opened".to_owned(),
                },
            };
            if let Some(lost) = self.lose(&why) {
                return Ok(lost);
            }
        }
        Ok(Captured::End)
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        Ok(())
    }

    fn arrived(&self) -> Option<Instant> {
        match &self.state {
            State::Reading(source) => source.arrived(),
            State::Pausing { .. } | State::Opening(_) => None,
        }
    }

    fn dropped(&mut self) -> u64 {
        match &mut self.state {
            State::Reading(source) => source.dropped(),
            State::Pausing { .. } | State::Opening(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use mobilens_image::{Image, PixelFormat, SizePx, YuvColour};

    /// Gives frames 40 ms apart, then fails.
    struct Failing {
        info: SourceInfo,
        frames: i64,
        at: i64,
    }

    fn info() -> SourceInfo {
        Reconnecting::waiting("camera", "gate", Arc::new(|| unreachable!()))
            .info
            .clone()
    }

    fn failing(frames: i64) -> Box<dyn Source> {
        Box::new(Failing {
            info: info(),
            frames,
            at: 0,
        })
    }

    impl Source for Failing {
        fn info(&self) -> &SourceInfo {
            &self.info
        }
        fn next(&mut self, _: &StopSignal) -> Result<Captured, CaptureError> {
            if self.at == self.frames {
                return Err(refused());
            }
            self.at += 1;
            let size = SizePx {
                width: 1,
                height: 1,
            };
            let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, vec![0; 3]);
            Ok(Captured::Frame {
                image: image.expect("three bytes"),
                pts: MediaTime {
                    ticks: self.at * 40,
                    rate_hz: 1000,
                },
                name: None,
            })
        }
        fn rewind(&mut self) -> Result<(), CaptureError> {
            Ok(())
        }
    }

    fn refused() -> CaptureError {
        CaptureError::Device {
            device: "gate".to_owned(),
            why: "refused".to_owned(),
        }
    }

    /// What `source` says, in letters: frame, lost, back.
    fn said(source: &mut Reconnecting, times: usize) -> (String, Vec<f64>) {
        let stop = StopSignal::new();
        let (mut letters, mut at) = (String::new(), Vec::new());
        for _ in 0..times {
            letters.push(match source.next(&stop).expect("is never lost for good") {
                Captured::Frame { pts, .. } => {
                    at.push(pts.as_ms());
                    'f'
                }
                Captured::Lost { .. } => 'l',
                Captured::Back { .. } => 'b',
                other => panic!("{other:?}"),
            });
        }
        (letters, at)
    }

    fn opener(sources: Vec<Option<Box<dyn Source>>>) -> Opener {
        let sources = Mutex::new(VecDeque::from(sources));
        Arc::new(move || {
            let next = sources.lock().expect("no panic").pop_front();
            next.flatten().ok_or_else(refused)
        })
    }

    #[test]
    fn a_loss_is_told_once_and_time_goes_on() {
        let open = opener(vec![None, Some(failing(2)), Some(failing(9))]);
        let mut source = Reconnecting::new(failing(2), open);
        let (letters, at) = said(&mut source, 9);
        assert_eq!(letters, "fflbfflbf");
        assert_eq!(at[..2], [40.0, 80.0], "the first connection's own times");
        assert!(at.windows(2).all(|pair| pair[0] < pair[1]), "{at:?}");
        assert!((at[3] - at[2] - 40.0).abs() < 0.01, "{at:?}");
    }

    #[test]
    fn one_that_is_not_there_yet_is_waited_for() {
        let open = opener(vec![Some(failing(1))]);
        let mut source = Reconnecting::waiting("camera", "gate", open);
        assert_eq!(said(&mut source, 2).0, "fl");
        let open = opener(vec![None, Some(failing(1))]);
        let mut source = Reconnecting::waiting("camera", "gate", open);
        assert_eq!(said(&mut source, 3).0, "lbf");
    }

    #[test]
    fn the_stop_is_seen_in_a_pause() {
        let mut source = Reconnecting::new(failing(0), opener(Vec::new()));
        let stop = StopSignal::new();
        assert!(matches!(source.next(&stop), Ok(Captured::Lost { .. })));
        let other = stop.clone();
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            other.stop(crate::flow::StopReason::Interrupted);
        });
        assert!(matches!(source.next(&stop), Ok(Captured::End)));
        stopper.join().expect("no panic");
    }
}
