//! A camera as a [`Source`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::device::{self, Device, NegotiatedMode, RawFrame};
use super::latest_slot::{LatestSlot, Taken};
use super::picture::image_from_raw;
use super::request::CameraRequest;
use crate::capture::{CaptureError, Captured, Source, SourceInfo};
use crate::flow::{StopSignal, panic_message};
use crate::frame::MediaTime;
use mobilens_image::SizePx;

/// Interval at which a wait for a frame checks the stop signal.
const POLL: Duration = Duration::from_millis(100);
/// Timeout for opening a device.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A camera. Returns the latest frame; older ones that were not read in time count as dropped.
pub struct CameraSource {
    info: SourceInfo,
    device: String,
    stall: Duration,
    slot: Arc<LatestSlot<RawFrame>>,
    last_frame: Instant,
    /// Capture time of the first frame.
    began: Option<Instant>,
    last_pts: Duration,
    /// Frames dropped before the one returned last.
    dropped: u64,
}

impl CameraSource {
    /// Opens a camera and starts its stream.
    ///
    /// # Errors
    /// [`CaptureError::Device`] when it is missing, busy, has no usable mode or does not respond.
    pub fn open(request: &CameraRequest) -> Result<Self, CaptureError> {
        let wanted = request.clone();
        Self::open_with(request, OPEN_TIMEOUT, move || device::open(&wanted))
    }

    /// Calls `open` on the thread that will read the device: a camera cannot be sent between threads.
    fn open_with(
        request: &CameraRequest,
        timeout: Duration,
        open: impl FnOnce() -> Result<(NegotiatedMode, Box<dyn Device>), String> + Send + 'static,
    ) -> Result<Self, CaptureError> {
        let fault = |why: String| CaptureError::Device {
            device: request.device.clone(),
            why,
        };
        let slot = Arc::new(LatestSlot::default());
        let (opened_tx, opened_rx) = sync_channel(1);
        let writer_slot = Arc::clone(&slot);
        let reader = move || {
            let (mode, mut device) = match open() {
                Ok(opened) => opened,
                Err(why) => {
                    let _ = opened_tx.send(Err(why));
                    return;
                }
            };
            if opened_tx.send(Ok(mode)).is_err() {
                return;
            }
            loop {
                match device.frame() {
                    Ok(frame) => {
                        if !writer_slot.put(frame) {
                            return;
                        }
                    }
                    Err(why) => {
                        // Closes the device before anybody tries to open it again. v4l panics if a
                        // broken device does not stop its stream; the error is already known.
                        let _ = catch_unwind(AssertUnwindSafe(|| drop(device)));
                        writer_slot.fail(why);
                        return;
                    }
                }
            }
        };
        let writer_slot = Arc::clone(&slot);
        // Never joined: the driver may block for ever.
        thread::Builder::new()
            .name("0-camera".to_owned())
            .spawn(move || {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(reader)) {
                    writer_slot.fail(format!("its driver panicked: {}", panic_message(&*panic)));
                }
            })
            .map_err(|e| fault(format!("cannot start its reader thread: {e}")))?;
        let mode = match opened_rx.recv_timeout(timeout) {
            Ok(opened) => opened.map_err(fault)?,
            Err(RecvTimeoutError::Timeout) => {
                let seconds = timeout.as_secs_f32();
                return Err(fault(format!(
                    "it did not respond for {seconds} s (timeout); plug it in again"
                )));
            }
            Err(RecvTimeoutError::Disconnected) => match slot.take(POLL) {
                Taken::WriterFailed(why) => return Err(fault(why)),
                _ => return Err(fault("it could not be opened".to_owned())),
            },
        };
        let wanted = (request.width_px, request.height_px, f64::from(request.fps));
        if (mode.width, mode.height, mode.fps) != wanted {
            tracing::warn!(
                "camera {}: capturing {}x{} at {} frames/s instead of the requested {}x{} at {}",
                request.device,
                mode.width,
                mode.height,
                mode.fps,
                wanted.0,
                wanted.1,
                wanted.2
            );
        }
        Ok(Self {
            info: SourceInfo {
                kind: "camera",
                uri: request.device.clone(),
                size: Some(SizePx {
                    width: mode.width,
                    height: mode.height,
                }),
                fps: Some(mode.fps),
                frames: None,
                live: true,
            },
            device: request.device.clone(),
            stall: request.stall,
            slot,
            last_frame: Instant::now(),
            began: None,
            last_pts: Duration::ZERO,
            dropped: 0,
        })
    }

    /// Presentation time since the first frame; never decreases.
    fn pts(&mut self, captured_at: Instant) -> MediaTime {
        let began = *self.began.get_or_insert(captured_at);
        self.last_pts = self
            .last_pts
            .max(captured_at.saturating_duration_since(began));
        MediaTime::from_duration(self.last_pts)
    }
}

impl Source for CameraSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError> {
        let fault = |device: &str, why: String| CaptureError::Device {
            device: device.to_owned(),
            why,
        };
        while !stop.is_stopped() {
            match self.slot.take(POLL.min(self.stall)) {
                Taken::Value(frame, overwritten) => {
                    self.last_frame = Instant::now();
                    self.dropped += overwritten;
                    let pts = self.pts(frame.captured_at);
                    // A panic of the JPEG decoder means a damaged frame.
                    let picture = catch_unwind(AssertUnwindSafe(|| image_from_raw(frame)))
                        .unwrap_or_else(|panic| Err(panic_message(&*panic)));
                    return Ok(match picture {
                        Ok(image) => Captured::Frame {
                            image,
                            pts,
                            name: None,
                        },
                        Err(why) => Captured::Undecodable { pts, why },
                    });
                }
                Taken::WriterFailed(why) => return Err(fault(&self.device, why)),
                Taken::Timeout if self.last_frame.elapsed() >= self.stall => {
                    let seconds = self.stall.as_secs_f32();
                    let why = format!("it gave no frame for {seconds} s; plug it in again");
                    return Err(fault(&self.device, why));
                }
                Taken::Timeout => {}
            }
        }
        Ok(Captured::End)
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        Err(CaptureError::Device {
            device: self.device.clone(),
            why: "a camera cannot be rewound".to_owned(),
        })
    }

    fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

impl Drop for CameraSource {
    fn drop(&mut self) {
        self.slot.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::super::modes::RawFormat;
    use super::*;
    use mobilens_image::YuvColour;

    /// What the mock driver does next.
    enum Act {
        /// Returns a frame of 2x1 pixels of this value.
        Frame(u8),
        /// Returns a frame of 2x1 pixels, captured so long after the first.
        At(Duration),
        /// Returns too few bytes.
        Short,
        Lose(&'static str),
        Panic,
    }

    /// Does what the test sends; blocks, like a driver, while it sends nothing.
    struct Scripted {
        acts: Receiver<Act>,
        began: Instant,
        /// Panics when it is dropped, as v4l does.
        drops_badly: bool,
    }

    impl Device for Scripted {
        fn frame(&mut self) -> Result<RawFrame, String> {
            let act = self.acts.recv().map_err(|_| "script ended".to_owned())?;
            let (bytes, captured_at) = match act {
                Act::Frame(value) => (vec![value; 64], self.began),
                Act::At(since_first) => (vec![0; 64], self.began + since_first),
                Act::Short => (vec![0; 3], self.began),
                Act::Lose(why) => return Err(why.to_owned()),
                Act::Panic => panic!("not of this world"),
            };
            Ok(RawFrame {
                format: RawFormat::Yuyv,
                width: 2,
                height: 1,
                stride_bytes: 0,
                colour: YuvColour::DEFAULT,
                bytes,
                captured_at,
            })
        }
    }

    impl Drop for Scripted {
        fn drop(&mut self) {
            assert!(!self.drops_badly, "cannot stop");
        }
    }

    fn scripted(stall_ms: u64, drops_badly: bool) -> (Sender<Act>, CameraSource) {
        let (tx, acts) = channel();
        let request = CameraRequest {
            stall: Duration::from_millis(stall_ms),
            ..CameraRequest::any()
        };
        let mode = NegotiatedMode {
            width: 2,
            height: 1,
            fps: 30.0,
        };
        let source = CameraSource::open_with(&request, OPEN_TIMEOUT, move || {
            let device = Scripted {
                acts,
                began: Instant::now(),
                drops_badly,
            };
            Ok((mode, Box::new(device) as Box<dyn Device>))
        });
        (tx, source.expect("opens"))
    }

    fn camera() -> (Sender<Act>, CameraSource) {
        scripted(60_000, false)
    }

    /// Sends `acts` and waits until the reader thread has processed all of them.
    fn play(tx: Sender<Act>, source: &CameraSource, acts: impl IntoIterator<Item = Act>) {
        for act in acts {
            tx.send(act).expect("the thread reads");
        }
        drop(tx);
        while !source.slot.has_failed() {
            thread::yield_now();
        }
    }

    fn error_of(source: &mut CameraSource) -> String {
        source
            .next(&StopSignal::new())
            .expect_err("is lost")
            .to_string()
    }

    #[test]
    fn the_latest_frame_wins_and_the_others_count_as_dropped() {
        let (tx, mut source) = camera();
        play(tx, &source, (0..250).map(Act::Frame));
        let stop = StopSignal::new();
        match source.next(&stop) {
            Ok(Captured::Frame { image, .. }) => assert_eq!(image.data(), [249; 4]),
            other => panic!("{other:?}"),
        }
        assert_eq!(source.dropped(), 249);
        assert_eq!(source.dropped(), 0);
        assert!(error_of(&mut source).ends_with("script ended"));
        assert_eq!(source.dropped(), 0);
    }

    #[test]
    fn a_reader_that_keeps_up_loses_nothing() {
        let (tx, mut source) = camera();
        let stop = StopSignal::new();
        for value in 0..20 {
            tx.send(Act::Frame(value)).expect("the thread reads");
            match source.next(&stop) {
                Ok(Captured::Frame { image, .. }) => assert_eq!(image.data()[0], value),
                other => panic!("{other:?}"),
            }
            assert_eq!(source.dropped(), 0);
        }
    }

    #[test]
    fn media_time_counts_from_the_first_frame_and_never_goes_back() {
        let (tx, mut source) = camera();
        let stop = StopSignal::new();
        let mut seen = Vec::new();
        for ms in [0, 40, 30, 1000] {
            tx.send(Act::At(Duration::from_millis(ms)))
                .expect("the thread reads");
            match source.next(&stop) {
                Ok(Captured::Frame { pts, .. }) => seen.push(pts.as_ms()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, [0.0, 40.0, 40.0, 1000.0]);
    }

    #[test]
    fn a_damaged_frame_is_skipped_and_the_next_one_read() {
        let (tx, mut source) = camera();
        let stop = StopSignal::new();
        tx.send(Act::Short).expect("the thread reads");
        assert!(matches!(
            source.next(&stop),
            Ok(Captured::Undecodable { .. })
        ));
        tx.send(Act::Frame(7)).expect("the thread reads");
        assert!(matches!(source.next(&stop), Ok(Captured::Frame { .. })));
    }

    #[test]
    fn losing_the_device_is_an_error_that_names_it() {
        for drops_badly in [false, true] {
            let (tx, mut source) = scripted(60_000, drops_badly);
            tx.send(Act::Lose("it was unplugged"))
                .expect("the thread reads");
            let error = error_of(&mut source);
            assert_eq!(error, "camera /dev/video0: it was unplugged");
        }
    }

    #[test]
    fn a_driver_that_panics_is_an_error_that_names_the_device() {
        let (tx, mut source) = camera();
        tx.send(Act::Panic).expect("the thread reads");
        assert_eq!(
            error_of(&mut source),
            "camera /dev/video0: its driver panicked: not of this world"
        );
        let request = CameraRequest::any();
        let result = CameraSource::open_with(&request, OPEN_TIMEOUT, || panic!("at once"));
        let error = result.err().expect("not opened").to_string();
        assert_eq!(error, "camera /dev/video0: its driver panicked: at once");
    }

    #[test]
    fn a_stall_is_an_error() {
        let (_tx, mut source) = scripted(20, false);
        assert!(error_of(&mut source).contains("gave no frame for 0.02 s"));
    }

    #[test]
    fn opening_times_out() {
        let request = CameraRequest::any();
        let (_tx, rx) = channel::<()>();
        let result = CameraSource::open_with(&request, Duration::from_millis(10), move || {
            let _ = rx.recv();
            Err("too late".to_owned())
        });
        let error = result.err().expect("not opened").to_string();
        assert!(error.contains("did not respond"), "{error}");
    }

    #[test]
    fn the_stop_signal_is_checked_while_no_frame_comes() {
        let (_tx, mut source) = camera();
        let stop = StopSignal::new();
        let other = stop.clone();
        let stopper = thread::spawn(move || other.stop(crate::flow::StopReason::Interrupted));
        assert!(matches!(source.next(&stop), Ok(Captured::End)));
        stopper.join().expect("no panic");
    }

    #[test]
    fn the_thread_ends_when_the_source_is_dropped() {
        let (tx, source) = camera();
        drop(source);
        // The thread drops its device, and with it the receiver, at the next frame.
        while tx.send(Act::Frame(0)).is_ok() {
            thread::yield_now();
        }
    }
}
