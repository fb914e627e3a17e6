//! Capture: reads the source, numbers its frames, paces recorded ones, and counts what is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::capture::{CaptureError, Captured, Source};
use crate::flow::{Clock, Latency, Sender, StopReason, StopSignal, health};
use crate::frame::{FrameMeta, InferencePlan, MediaTime, Packet, SourceEvent, StreamMessage};
use crate::gating::{Feedback, Gating};
use crate::telemetry::TelemetryLog;

/// When a recorded frame is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As soon as the next stage takes it.
    Fast,
    /// At its media time.
    Realtime,
}

/// A source and how it is to be read.
pub struct OpenSource {
    /// The source.
    pub source: Box<dyn Source>,
    /// When its frames are due.
    pub pace: Pace,
    /// Whether frames are dropped while the next stage is busy.
    pub drops: bool,
    /// Whether to begin again at its end.
    pub looping: bool,
    /// Telemetry that a drone recorded with the clip.
    pub telemetry: Option<TelemetryLog>,
}

/// What the capture stage has counted.
#[derive(Debug, Default)]
pub struct CaptureCounts {
    /// Frames that the source had, decodable or not.
    pub captured: AtomicU64,
    /// Frames that could not be decoded.
    pub decode_error: AtomicU64,
    /// Frames that the source itself had to drop, because it was not read in time.
    pub source_dropped: AtomicU64,
    /// How often the source was lost.
    pub outages: AtomicU64,
}

/// What a reload changes.
pub struct CaptureUpdate {
    /// The generation of the messages from now on.
    pub generation: u64,
    /// What decides where the network runs, if that changes.
    pub gating: Option<Gating>,
}

/// Reads a source into the pipeline.
pub struct CaptureStage {
    /// Where frames come from.
    pub source: Box<dyn Source>,
    /// Name of the stream.
    pub stream: Arc<str>,
    /// Telemetry that a drone recorded with the clip.
    pub telemetry: Option<TelemetryLog>,
    /// Decides on which frames and regions the network runs; on all of every frame without.
    pub gating: Option<Gating>,
    /// Feedback of later stages to the gating.
    pub feedback: Arc<Feedback>,
    /// When a frame is due.
    pub pace: Pace,
    /// Whether to begin again at the end.
    pub looping: bool,
    /// Captures at most so many frames.
    pub frame_limit: Option<u64>,
    /// Gives what a reload changes, if there was one.
    pub reload: Box<dyn FnMut() -> Option<CaptureUpdate> + Send>,
    /// Counts of frames and outages.
    pub counts: Arc<CaptureCounts>,
    /// Time to read and decode a frame.
    pub latency: Latency,
}

impl CaptureStage {
    /// Reads until the source ends, `stop` is given, or `out` has no readers any more.
    ///
    /// # Errors
    /// When the source is lost.
    pub fn run(
        mut self,
        out: &Sender<StreamMessage<InferencePlan>>,
        clock: &dyn Clock,
        stop: &StopSignal,
    ) -> Result<(), CaptureError> {
        let mut events = Vec::new();
        let mut generation = 0;
        let result = self.read(out, clock, stop, &mut events, &mut generation);
        if !events.is_empty() {
            // An edge without readers is no error here: the run is ending.
            let _ = out.send(StreamMessage {
                frame: None,
                events,
                generation,
            });
        }
        result
    }

    /// `events` go with the next frame: the source is back, and its first frame is about to come.
    fn read(
        &mut self,
        out: &Sender<StreamMessage<InferencePlan>>,
        clock: &dyn Clock,
        stop: &StopSignal,
        events: &mut Vec<SourceEvent>,
        generation: &mut u64,
    ) -> Result<(), CaptureError> {
        let mut timeline = Timeline::default();
        let mut next_frame = 0;
        let mut previous_pts = None;
        while !stop.is_stopped() {
            if self.frame_limit.is_some_and(|limit| next_frame >= limit) {
                stop.stop(StopReason::FrameLimit);
                break;
            }
            let started = clock.now();
            let captured = self.source.next(stop)?;
            let lost = self.source.dropped();
            next_frame += lost;
            self.counts.captured.fetch_add(lost, Ordering::SeqCst);
            self.counts.source_dropped.fetch_add(lost, Ordering::SeqCst);
            match captured {
                Captured::Frame { image, pts, name } => {
                    health::source_frame();
                    if !self.source.info().live {
                        self.latency.record(clock.now() - started);
                    }
                    // By the clip's own time, also when it is played again.
                    let log = self.telemetry.as_ref();
                    let telemetry = log.and_then(|log| log.at(pts.as_ms()));
                    let pts = timeline.place(pts);
                    if self.pace == Pace::Realtime
                        && clock.sleep_until(timeline.due(pts, clock.now()), stop)
                    {
                        break;
                    }
                    self.counts.captured.fetch_add(1, Ordering::SeqCst);
                    let meta = FrameMeta {
                        stream: Arc::clone(&self.stream),
                        frame: next_frame,
                        pts,
                        captured_at: self.source.arrived().unwrap_or_else(|| clock.now()),
                        name,
                        telemetry,
                    };
                    if let Some(update) = (self.reload)() {
                        *generation = update.generation;
                        self.change_gating(update.gating);
                    }
                    let plan = self.gating.as_mut().map(|gating| {
                        let t_ms = meta.pts.as_ms();
                        gating.plan(meta.frame, t_ms, &image, &self.feedback, stop)
                    });
                    let plan = InferencePlan {
                        previous_pts: previous_pts.replace(pts),
                        ..plan.unwrap_or_default()
                    };
                    let packet = Packet {
                        meta,
                        image: Arc::new(image),
                        payload: plan,
                    };
                    next_frame += 1;
                    let message = StreamMessage {
                        frame: Some(packet),
                        events: std::mem::take(events),
                        generation: *generation,
                    };
                    if out.send(message).is_err() {
                        break;
                    }
                }
                Captured::Undecodable { pts, why } => {
                    timeline.place(pts);
                    tracing::warn!(frame = next_frame, why, "frame skipped: it is damaged");
                    self.counts.captured.fetch_add(1, Ordering::SeqCst);
                    self.counts.decode_error.fetch_add(1, Ordering::SeqCst);
                    next_frame += 1;
                }
                // At once: no frame may come for a long time.
                Captured::Lost { .. } => {
                    health::source_lost();
                    self.counts.outages.fetch_add(1, Ordering::SeqCst);
                    events.push(SourceEvent::Lost);
                    let message = StreamMessage {
                        frame: None,
                        events: std::mem::take(events),
                        generation: *generation,
                    };
                    if out.send(message).is_err() {
                        break;
                    }
                }
                Captured::Back { lasted } => events.push(SourceEvent::Back(lasted)),
                // A loop over an empty source would never end.
                Captured::End if self.looping && !stop.is_stopped() && timeline.has_frames() => {
                    self.source.rewind()?;
                    timeline.rewind();
                }
                Captured::End => break,
            }
        }
        Ok(())
    }

    /// Decides from now on as `gating` does.
    fn change_gating(&mut self, gating: Option<Gating>) {
        let Some(mut gating) = gating else {
            return;
        };
        if let Some(before) = self.gating.take() {
            gating.continue_from(before);
        }
        self.gating = Some(gating);
    }
}

/// The media time of a source that may loop, and when its frames are due.
#[derive(Debug, Default)]
struct Timeline {
    /// Added to the source's own ticks: the length of the loops before.
    offset_ticks: i64,
    /// Time of the last frame, and its distance from the one before, which stands for its length.
    last: Option<MediaTime>,
    step_ticks: i64,
    began: Option<(Instant, Duration)>,
}

impl Timeline {
    /// The time of a frame over all loops.
    fn place(&mut self, pts: MediaTime) -> MediaTime {
        let placed = MediaTime {
            ticks: pts.ticks.saturating_add(self.offset_ticks),
            ..pts
        };
        if let Some(last) = self.last {
            self.step_ticks = (placed.ticks - last.ticks).max(1);
        }
        self.last = Some(placed);
        placed
    }

    /// Whether the source gave any frame.
    fn has_frames(&self) -> bool {
        self.last.is_some()
    }

    /// The next frame is the first of a new loop.
    fn rewind(&mut self) {
        if let Some(last) = self.last {
            self.offset_ticks = last.ticks + self.step_ticks.max(1);
        }
    }

    /// When a frame is due, the first one being due at once.
    fn due(&mut self, pts: MediaTime, now: Instant) -> Instant {
        let at = pts.as_duration();
        let (began, first) = *self.began.get_or_insert((now, at));
        began + at.saturating_sub(first)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::capture::SourceInfo;
    use crate::flow::{Policy, edge};
    use mobilens_image::{Image, PixelFormat, SizePx, YuvColour};

    /// A clock that jumps where others would sleep.
    struct Jumping(Mutex<Instant>);

    impl Clock for Jumping {
        fn now(&self) -> Instant {
            *self.0.lock().expect("not poisoned")
        }
        fn sleep_until(&self, deadline: Instant, stop: &StopSignal) -> bool {
            let mut now = self.0.lock().expect("not poisoned");
            *now = deadline.max(*now);
            stop.is_stopped()
        }
    }

    /// Frames at 25 a second; every `bad`th cannot be decoded.
    struct Counting {
        info: SourceInfo,
        frames: i64,
        at: i64,
        bad: Option<i64>,
        source_drops: u64,
        /// What comes before which frame.
        events: VecDeque<(i64, Captured)>,
    }

    fn counting(frames: i64, bad: Option<i64>) -> Counting {
        Counting {
            info: SourceInfo {
                kind: "video",
                uri: "counting".to_owned(),
                size: None,
                fps: Some(25.0),
                frames: None,
                live: false,
            },
            frames,
            at: 0,
            bad,
            source_drops: 0,
            events: VecDeque::new(),
        }
    }

    impl Source for Counting {
        fn info(&self) -> &SourceInfo {
            &self.info
        }
        fn next(&mut self, _: &StopSignal) -> Result<Captured, CaptureError> {
            if let Some((_, event)) = self.events.pop_front_if(|(at, _)| *at == self.at) {
                return Ok(event);
            }
            if self.at == self.frames {
                return Ok(Captured::End);
            }
            let pts = MediaTime {
                ticks: self.at,
                rate_hz: 25,
            };
            self.at += 1;
            if self.bad.is_some_and(|n| self.at % n == 0) {
                return Ok(Captured::Undecodable {
                    pts,
                    why: "bad".to_owned(),
                });
            }
            let size = SizePx {
                width: 1,
                height: 1,
            };
            let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, vec![0; 3]);
            Ok(Captured::Frame {
                image: image.expect("three bytes"),
                pts,
                name: None,
            })
        }
        fn rewind(&mut self) -> Result<(), CaptureError> {
            self.at = 0;
            Ok(())
        }
        fn dropped(&mut self) -> u64 {
            std::mem::take(&mut self.source_drops)
        }
    }

    fn stage(
        source: Counting,
        pace: Pace,
        looping: bool,
        frame_limit: Option<u64>,
    ) -> CaptureStage {
        CaptureStage {
            source: Box::new(source),
            stream: "test".into(),
            telemetry: None,
            gating: None,
            feedback: Arc::default(),
            pace,
            looping,
            frame_limit,
            reload: Box::new(|| None),
            counts: Arc::default(),
            latency: Latency::new("decode"),
        }
    }

    fn run(stage: CaptureStage) -> (Vec<(u64, f64)>, Duration, StopSignal) {
        let (tx, rx) = edge("t", 1000, Policy::Block);
        let start = Instant::now();
        let clock = Jumping(Mutex::new(start));
        let stop = StopSignal::new();
        stage.run(&tx, &clock, &stop).expect("source lives");
        drop(tx);
        let got = std::iter::from_fn(|| rx.recv())
            .filter_map(|message| message.frame)
            .map(|p| (p.meta.frame, p.meta.pts.as_ms()))
            .collect();
        (got, clock.now() - start, stop)
    }

    #[test]
    fn real_time_takes_as_long_as_the_clip() {
        let (got, took, _) = run(stage(counting(26, None), Pace::Realtime, false, None));
        assert_eq!(got.len(), 26);
        assert_eq!(took, Duration::from_secs(1));
        let (_, took, _) = run(stage(counting(26, None), Pace::Fast, false, None));
        assert_eq!(took, Duration::ZERO);
    }

    #[test]
    fn a_loop_goes_on_in_number_and_time() {
        let (got, took, stop) = run(stage(counting(10, None), Pace::Realtime, true, Some(26)));
        let expected: Vec<_> = (0..26).map(|i| (i, i as f64 * 40.0)).collect();
        assert_eq!(got, expected);
        assert_eq!(took, Duration::from_secs(1));
        assert_eq!(stop.reason(), Some(StopReason::FrameLimit));
    }

    #[test]
    fn damaged_frames_keep_their_number_and_are_counted() {
        let stage = stage(counting(10, Some(4)), Pace::Fast, false, None);
        let counts = Arc::clone(&stage.counts);
        let (got, _, _) = run(stage);
        let numbers: Vec<_> = got.iter().map(|(n, _)| *n).collect();
        assert_eq!(numbers, [0, 1, 2, 4, 5, 6, 8, 9]);
        assert_eq!(counts.captured.load(Ordering::SeqCst), 10);
        assert_eq!(counts.decode_error.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn what_the_source_dropped_is_counted_and_numbered() {
        let mut source = counting(3, None);
        source.source_drops = 5;
        let stage = stage(source, Pace::Fast, false, None);
        let counts = Arc::clone(&stage.counts);
        let (got, _, _) = run(stage);
        assert_eq!(got.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [5, 6, 7]);
        assert_eq!(counts.captured.load(Ordering::SeqCst), 8);
        assert_eq!(counts.source_dropped.load(Ordering::SeqCst), 5);
    }

    #[test]
    fn a_loss_is_sent_at_once_and_a_return_with_the_first_frame() {
        let lost = || Captured::Lost {
            why: "unplugged".to_owned(),
        };
        let lasted = Duration::from_secs(2);
        let back = || Captured::Back { lasted };
        let mut source = counting(2, None);
        source.events = [(0, lost()), (0, back()), (1, lost()), (2, back())].into();
        let (tx, rx) = edge("t", 1000, Policy::Block);
        let stage = stage(source, Pace::Fast, false, None);
        let counts = Arc::clone(&stage.counts);
        let clock = Jumping(Mutex::new(Instant::now()));
        stage
            .run(&tx, &clock, &StopSignal::new())
            .expect("source lives");
        drop(tx);
        let got: Vec<_> = std::iter::from_fn(|| rx.recv())
            .map(|message| (message.frame.map(|f| f.meta.frame), message.events))
            .collect();
        let (lost, back) = (SourceEvent::Lost, SourceEvent::Back(lasted));
        let expected = [
            (None, vec![lost]),
            (Some(0), vec![back]),
            (None, vec![lost]),
            (Some(1), vec![]),
            (None, vec![back]),
        ];
        assert_eq!(got, expected);
        assert_eq!(counts.outages.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn an_empty_loop_ends() {
        let (got, _, _) = run(stage(counting(0, None), Pace::Fast, true, None));
        assert_eq!(got, []);
    }
}
