//! Reconnects to a live source (camera, RTSP) with exponential backoff and jitter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::open_thread::{Attempt, OpenThread, Opener};
use super::source::{CaptureError, Captured, Source, SourceInfo};
use crate::flow::{StopSignal, health};
use crate::frame::MediaTime;

/// Interval at which a wait checks the stop signal.
const POLL: Duration = Duration::from_millis(100);
/// Backoff before the first attempt to reconnect; doubles with each further one.
const MIN_BACKOFF: Duration = Duration::from_millis(250);
/// Longest backoff.
const MAX_BACKOFF: Duration = Duration::from_secs(4);

/// What happens when a live source is absent at the start, or is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconnectPolicy {
    /// It must be there at the start, and losing it is an error.
    Never,
    /// It must be there at the start, and is reconnected when it is lost.
    Lost,
    /// It is tried once; one that is absent is waited for.
    Absent,
}

/// A live source that reconnects for ever. When the inner source fails or ends, [`Captured::Lost`] is
/// returned once, and it is opened again with exponential backoff and jitter. Presentation times
/// continue across the outage.
pub struct Reconnecting {
    open: Opener,
    thread: OpenThread,
    /// Whether it is opened again; otherwise a failure is an error.
    reconnects: bool,
    /// Why it could not be opened at the start, until that is returned.
    absent: Option<String>,
    info: SourceInfo,
    state: State,
    started: Instant,
    /// Timestamps of the current connection; `None` for the first one, whose own are kept.
    connection: Option<Connection>,
    last_pts: MediaTime,
    /// Start of the outage, until a frame arrives.
    outage_began: Option<Instant>,
    /// The first frame after an outage, returned after [`Captured::Back`].
    pending_frame: Option<Captured>,
    /// The next backoff.
    backoff: Duration,
}

enum State {
    Reading(Box<dyn Source>),
    BackingOff { until: Instant },
    Opening(Attempt<Box<dyn Source>>),
}

/// Maps the timestamps of a connection to continuous presentation times.
struct Connection {
    /// Timestamp of its first frame, once there was one.
    first_pts: Option<MediaTime>,
    /// Presentation time of its first frame.
    offset: Duration,
}

impl Reconnecting {
    /// Opens the source `uri` with `open` on `thread`, within a deadline; `idle` is called again and
    /// again meanwhile.
    ///
    /// # Errors
    /// When it cannot be opened, and is not waited for.
    pub fn connect(
        (kind, uri): (&'static str, &str),
        open: Opener,
        policy: ReconnectPolicy,
        thread: &OpenThread,
        idle: &mut dyn FnMut(),
    ) -> Result<Self, CaptureError> {
        let mut source = Self::waiting((kind, uri), open, thread);
        source.reconnects = policy != ReconnectPolicy::Never;
        let mut attempt = source.start_opening();
        let error = loop {
            idle();
            match attempt.poll() {
                Some(Ok(opened)) => {
                    source.info = opened.info().clone();
                    source.state = State::Reading(opened);
                    source.started = Instant::now();
                    return Ok(source);
                }
                Some(Err(error)) => break error,
                None if attempt.is_stopped() => return Err(CaptureError::Interrupted),
                None if attempt.is_overdue() => {
                    let (device, why) = (uri.to_owned(), "no response (timeout)".to_owned());
                    source.state = State::Opening(attempt);
                    break CaptureError::Device { device, why };
                }
                None => {}
            }
        };
        if policy != ReconnectPolicy::Absent || !matches!(error, CaptureError::Device { .. }) {
            return Err(error);
        }
        source.absent = Some(error.to_string());
        Ok(source)
    }

    /// Starts without a source: the first attempt to connect is made by [`next`](Source::next).
    pub fn waiting((kind, uri): (&'static str, &str), open: Opener, thread: &OpenThread) -> Self {
        Self {
            open,
            thread: thread.clone(),
            reconnects: true,
            absent: None,
            info: SourceInfo {
                kind,
                uri: uri.to_owned(),
                size: None,
                fps: None,
                frames: None,
                live: true,
            },
            state: State::BackingOff {
                until: Instant::now(),
            },
            started: Instant::now(),
            connection: None,
            last_pts: MediaTime::ZERO,
            outage_began: None,
            pending_frame: None,
            backoff: MIN_BACKOFF,
        }
    }

    /// Starts the backoff after a failure; returns [`Captured::Lost`] at the start of an outage.
    fn on_failure(&mut self, why: &str) -> Option<Captured> {
        let jitter = 0.5 + f64::from(self.started.elapsed().subsec_nanos() % 1000) / 2000.0;
        let until = Instant::now() + self.backoff.mul_f64(jitter);
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
        self.state = State::BackingOff { until };
        self.begin_outage(why)
    }

    /// Returns [`Captured::Lost`], unless the outage is known.
    fn begin_outage(&mut self, why: &str) -> Option<Captured> {
        if self.outage_began.is_some() {
            tracing::debug!("{}: {why}", self.info.uri);
            return None;
        }
        self.outage_began = Some(Instant::now());
        tracing::warn!("{why}; reconnecting");
        Some(Captured::Lost {
            why: why.to_owned(),
        })
    }

    /// The presentation time over all connections; strictly increases after the first one.
    fn continuous_pts(&mut self, pts: MediaTime) -> MediaTime {
        let started = self.started;
        let continuous = match &mut self.connection {
            None => pts,
            Some(connection) => {
                let first = *connection.first_pts.get_or_insert_with(|| {
                    connection.offset = started.elapsed();
                    pts
                });
                let own = pts.as_duration().saturating_sub(first.as_duration());
                // A server may have sent faster than real time.
                let after = self.last_pts.as_duration() + Duration::from_micros(1);
                MediaTime::from_duration((connection.offset + own).max(after))
            }
        };
        self.last_pts = continuous;
        continuous
    }

    fn start_opening(&self) -> Attempt<Box<dyn Source>> {
        health::source_attempt();
        let open = Arc::clone(&self.open);
        self.thread.open(move |stop| open(stop))
    }
}

impl Source for Reconnecting {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError> {
        if let Some(pending_frame) = self.pending_frame.take() {
            return Ok(pending_frame);
        }
        if let Some(why) = self.absent.take()
            && let Some(lost) = self.begin_outage(&why)
        {
            return Ok(lost);
        }
        if let (State::Reading(source), false) = (&mut self.state, self.reconnects) {
            return source.next(stop);
        }
        while !stop.is_stopped() {
            let why = match &mut self.state {
                State::Reading(source) => match source.next(stop) {
                    Ok(Captured::Frame { image, pts, name }) => {
                        self.backoff = MIN_BACKOFF;
                        let pts = self.continuous_pts(pts);
                        let frame = Captured::Frame { image, pts, name };
                        let Some(since) = self.outage_began.take() else {
                            return Ok(frame);
                        };
                        self.pending_frame = Some(frame);
                        let lasted = since.elapsed();
                        let (name, seconds) = (&self.info.uri, lasted.as_secs_f64());
                        tracing::info!("{name}: reconnected after {seconds:.1} s");
                        return Ok(Captured::Back { lasted });
                    }
                    Ok(Captured::Undecodable { pts, why }) => {
                        let pts = self.continuous_pts(pts);
                        return Ok(Captured::Undecodable { pts, why });
                    }
                    Ok(Captured::End) if stop.is_stopped() => break,
                    Ok(Captured::End) => format!("{}: the stream ended", self.info.uri),
                    Ok(other) => return Ok(other),
                    Err(error) => error.to_string(),
                },
                State::BackingOff { until } => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.state = State::Opening(self.start_opening());
                    } else {
                        stop.sleep_until(Instant::now() + left.min(POLL));
                    }
                    continue;
                }
                State::Opening(attempt) => match attempt.poll() {
                    Some(Ok(source)) => {
                        self.state = State::Reading(source);
                        self.connection = Some(Connection {
                            first_pts: None,
                            offset: Duration::ZERO,
                        });
                        continue;
                    }
                    Some(Err(error)) => error.to_string(),
                    // It is not begun again before it has ended, but said.
                    None if attempt.is_overdue() && self.outage_began.is_none() => {
                        let why = format!("{}: no response (timeout)", self.info.uri);
                        if let Some(lost) = self.begin_outage(&why) {
                            return Ok(lost);
                        }
                        continue;
                    }
                    None => continue,
                },
            };
            if let Some(lost) = self.on_failure(&why) {
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
            State::BackingOff { .. } | State::Opening(_) => None,
        }
    }

    fn dropped(&mut self) -> u64 {
        match &mut self.state {
            State::Reading(source) => source.dropped(),
            State::BackingOff { .. } | State::Opening(_) => 0,
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

    fn thread() -> OpenThread {
        OpenThread::start(&StopSignal::new()).expect("a thread")
    }

    fn info() -> SourceInfo {
        waiting(Vec::new()).info
    }

    /// A source that is opened as these, one after another.
    fn waiting(sources: Vec<Option<Box<dyn Source>>>) -> Reconnecting {
        Reconnecting::waiting(("camera", "gate"), opener(sources), &thread())
    }

    fn connect(
        policy: ReconnectPolicy,
        sources: Vec<Option<Box<dyn Source>>>,
    ) -> Result<Reconnecting, CaptureError> {
        let open = opener(sources);
        Reconnecting::connect(("camera", "gate"), open, policy, &thread(), &mut || {})
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

    /// What `source` returns: `f`rame, `l`ost, `b`ack, and the times of the frames.
    fn results(source: &mut Reconnecting, times: usize) -> (String, Vec<f64>) {
        let stop = StopSignal::new();
        let (mut letters, mut at) = (String::new(), Vec::new());
        for _ in 0..times {
            letters.push(match source.next(&stop).expect("never ends") {
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
        Arc::new(move |_| {
            let next = sources.lock().expect("no panic").pop_front();
            next.flatten().ok_or_else(refused)
        })
    }

    #[test]
    fn an_outage_is_reported_once_and_time_continues() {
        let sources = vec![Some(failing(2)), None, Some(failing(2)), Some(failing(9))];
        let mut source = connect(ReconnectPolicy::Lost, sources).expect("it is there");
        let (letters, at) = results(&mut source, 9);
        assert_eq!(letters, "fflbfflbf");
        assert_eq!(
            at[..2],
            [40.0, 80.0],
            "the first connection keeps its times"
        );
        assert!(at.windows(2).all(|pair| pair[0] < pair[1]), "{at:?}");
        assert!((at[3] - at[2] - 40.0).abs() < 0.01, "{at:?}");
    }

    #[test]
    fn a_missing_source_is_waited_for() {
        let mut source = waiting(vec![Some(failing(1))]);
        assert_eq!(results(&mut source, 2).0, "fl");
        let mut source = waiting(vec![None, Some(failing(1))]);
        assert_eq!(results(&mut source, 3).0, "lbf");
    }

    #[test]
    fn an_absent_source_is_an_error_or_waited_for() {
        for policy in [ReconnectPolicy::Never, ReconnectPolicy::Lost] {
            assert!(connect(policy, vec![None, Some(failing(1))]).is_err());
        }
        let absent = vec![None, None, Some(failing(1))];
        let mut source = connect(ReconnectPolicy::Absent, absent).expect("it is waited for");
        assert_eq!(results(&mut source, 3).0, "lbf");
    }

    #[test]
    fn a_source_that_is_not_reconnected_fails() {
        let mut source = connect(ReconnectPolicy::Never, vec![Some(failing(1))]).expect("opens");
        let stop = StopSignal::new();
        assert!(matches!(source.next(&stop), Ok(Captured::Frame { .. })));
        assert!(source.next(&stop).is_err());
    }

    #[test]
    fn the_stop_signal_ends_the_backoff() {
        let sources = vec![Some(failing(0))];
        let mut source = connect(ReconnectPolicy::Lost, sources).expect("it is there");
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
