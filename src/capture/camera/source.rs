//! A camera as a [`Source`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::device::{self, Device, OpenMode, RawFrame};
use super::mailbox::{Mail, Mailbox};
use super::picture::picture_of;
use super::request::CameraRequest;
use crate::capture::{CaptureError, Captured, Source, SourceInfo};
use crate::flow::{StopSignal, panic_message};
use crate::frame::{MediaTime, SizePx};

/// How long the reader waits before it looks at the stop again.
const SLICE: Duration = Duration::from_millis(100);
/// How long a driver may take to open a device.
const OPENING: Duration = Duration::from_secs(10);

/// A camera. Gives the newest frame; older ones that nobody took are counted as dropped.
pub struct CameraSource {
    info: SourceInfo,
    device: String,
    stall: Duration,
    mailbox: Arc<Mailbox<RawFrame>>,
    last_frame: Instant,
    /// When the first frame was taken.
    began: Option<Instant>,
    last_pts: Duration,
    /// Frames that nobody took, before the one given last.
    dropped: u64,
}

impl CameraSource {
    /// Opens a camera and starts its stream.
    ///
    /// # Errors
    /// [`CaptureError::Device`] when it is missing, busy, has no usable mode or does not answer.
    pub fn open(request: &CameraRequest) -> Result<Self, CaptureError> {
        let wanted = request.clone();
        Self::open_with(request, OPENING, move || device::open(&wanted))
    }

    /// Opens what `open` opens, on the thread that will read it: a camera cannot change threads.
    fn open_with(
        request: &CameraRequest,
        patience: Duration,
        open: impl FnOnce() -> Result<(OpenMode, Box<dyn Device>), String> + Send + 'static,
    ) -> Result<Self, CaptureError> {
        let fault = |why: String| CaptureError::Device {
            device: request.device.clone(),
            why,
        };
        let mailbox = Arc::new(Mailbox::default());
        let (opened_tx, opened_rx) = sync_channel(1);
        let letters = Arc::clone(&mailbox);
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
                        if !letters.put(frame) {
                            return;
                        }
                    }
                    Err(why) => {
                        // The device must be gone before anybody tries to open it again.
                        // v4l unwinds where a broken one does not stop; the fault is known.
                        let _ = catch_unwind(AssertUnwindSafe(|| drop(device)));
                        letters.give_up(why);
                        return;
                    }
                }
            }
        };
        let letters = Arc::clone(&mailbox);
        // Never joined: it may hang in the driver for ever.
        thread::Builder::new()
            .name("0-camera".to_owned())
            .spawn(move || {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(reader)) {
                    letters.give_up(format!("its driver panicked: {}", panic_message(&*panic)));
                }
            })
            .map_err(|e| fault(format!("no thread to read it with: {e}")))?;
        let mode = match opened_rx.recv_timeout(patience) {
            Ok(opened) => opened.map_err(fault)?,
            Err(RecvTimeoutError::Timeout) => {
                let seconds = patience.as_secs_f32();
                return Err(fault(format!(
                    "it did not answer for {seconds} s; plug it in again"
                )));
            }
            Err(RecvTimeoutError::Disconnected) => match mailbox.take(SLICE) {
                Mail::Fault(why) => return Err(fault(why)),
                _ => return Err(fault("it could not be opened".to_owned())),
            },
        };
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
            mailbox,
            last_frame: Instant::now(),
            began: None,
            last_pts: Duration::ZERO,
            dropped: 0,
        })
    }

    /// Time since the first frame; never goes back.
    fn pts(&mut self, taken_at: Instant) -> MediaTime {
        let began = *self.began.get_or_insert(taken_at);
        self.last_pts = self.last_pts.max(taken_at.saturating_duration_since(began));
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
            match self.mailbox.take(SLICE.min(self.stall)) {
                Mail::Letter(frame, overwritten) => {
                    self.last_frame = Instant::now();
                    self.dropped += overwritten;
                    let pts = self.pts(frame.taken_at);
                    // A decoder that unwinds has met a damaged frame.
                    let picture = catch_unwind(AssertUnwindSafe(|| picture_of(frame)))
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
                Mail::Fault(why) => return Err(fault(&self.device, why)),
                Mail::Nothing if self.last_frame.elapsed() >= self.stall => {
                    let seconds = self.stall.as_secs_f32();
                    let why = format!("it gave no frame for {seconds} s; plug it in again");
                    return Err(fault(&self.device, why));
                }
                Mail::Nothing => {}
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
        self.mailbox.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::super::device::RawFormat;
    use super::*;

    /// Gives what the test sends; waits for ever, like a driver, while it sends nothing.
    struct Scripted(Receiver<Result<u8, String>>);

    impl Device for Scripted {
        fn frame(&mut self) -> Result<RawFrame, String> {
            let value = self.0.recv().map_err(|_| "script ended".to_owned())??;
            Ok(RawFrame {
                format: RawFormat::Yuyv,
                width: 2,
                height: 1,
                bytes: vec![value; 64],
                taken_at: Instant::now(),
            })
        }
    }

    fn camera(stall_ms: u64) -> (Sender<Result<u8, String>>, CameraSource) {
        let (tx, rx) = channel();
        let request = CameraRequest {
            stall: Duration::from_millis(stall_ms),
            ..CameraRequest::default()
        };
        let mode = OpenMode {
            width: 2,
            height: 1,
            fps: 30.0,
        };
        let source = CameraSource::open_with(&request, OPENING, move || {
            Ok((mode, Box::new(Scripted(rx)) as Box<dyn Device>))
        });
        (tx, source.expect("opens"))
    }

    #[test]
    fn the_newest_frame_is_given_and_older_ones_are_counted() {
        let (tx, mut source) = camera(60_000);
        for value in 0..10 {
            tx.send(Ok(value)).expect("the thread reads");
        }
        // The end of the script tells when all ten have been read.
        drop(tx);
        let stop = StopSignal::new();
        let mut seen = Vec::new();
        let mut dropped = 0;
        while let Ok(Captured::Frame { image, .. }) = source.next(&stop) {
            seen.push(image.data()[0]);
            dropped += source.dropped();
        }
        assert_eq!(seen.last(), Some(&9));
        assert_eq!(seen.len() as u64 + dropped, 10);
    }

    #[test]
    fn losing_the_device_is_an_error_that_names_it() {
        let (tx, mut source) = camera(60_000);
        tx.send(Err("it was unplugged".to_owned()))
            .expect("the thread reads");
        let error = source.next(&StopSignal::new()).expect_err("is lost");
        assert_eq!(error.to_string(), "camera /dev/video0: it was unplugged");
    }

    #[test]
    fn a_stall_is_an_error_and_not_a_hang() {
        let (_tx, mut source) = camera(20);
        let error = source.next(&StopSignal::new()).expect_err("stalls");
        assert!(error.to_string().contains("gave no frame for 0.02 s"));
    }

    #[test]
    fn a_driver_that_does_not_answer_is_given_up() {
        let request = CameraRequest::default();
        let (_tx, rx) = channel::<()>();
        let result = CameraSource::open_with(&request, Duration::from_millis(10), move || {
            let _ = rx.recv();
            Err("too late".to_owned())
        });
        let error = result.err().expect("not opened").to_string();
        assert!(error.contains("did not answer"), "{error}");
    }

    #[test]
    fn the_stop_is_seen_while_nothing_comes() {
        let (_tx, mut source) = camera(60_000);
        let stop = StopSignal::new();
        stop.stop(crate::flow::StopReason::Interrupted);
        assert!(matches!(source.next(&stop), Ok(Captured::End)));
    }
}
