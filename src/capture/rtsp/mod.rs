//! The source `rtsp`: network cameras with H.264 over RTSP.
//!
//! A thread of its own runs the RTSP session and queues coded frames; they are decoded by the reader.
//! Presentation times are RTP timestamps, corrected by the clock rate of RTCP sender reports, or times
//! of arrival where the RTP timestamps drift. When frames arrive faster than they are decoded, the
//! queue overflows: frames are dropped up to the next keyframe, and counted. A camera whose packets give
//! no picture for the stall timeout has failed, whatever they are: without parameter sets, without a
//! keyframe, or damaged.

mod session;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use url::Url;

use super::source::{CaptureError, Captured, Source, SourceInfo, credentials_of, redacted_url};
use crate::flow::{StopReason, StopSignal};
use crate::frame::MediaTime;
use mobilens_image::Image;
use mobilens_video::h264::LiveDecoder;
use session::{Message, run_session};

/// Interval at which a wait for a frame checks the stop signal.
const POLL: Duration = Duration::from_millis(100);
/// Capacity of the queue of coded frames.
const QUEUE_CAPACITY: usize = 120;
/// Largest reorder depth of a stream with B-frames that does not signal it.
const MAX_REORDER_DEPTH: usize = 4;
/// Timeout for connecting to a camera; its first frame has the stall timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// URL and connection parameters of an RTSP camera.
#[derive(Clone)]
pub struct RtspRequest {
    /// URL without credentials.
    pub url: Url,
    /// User and password.
    pub credentials: Option<(String, String)>,
    /// RTP over UDP instead of interleaved in the TCP connection.
    pub udp: bool,
    /// Stall timeout: without a picture for so long, the camera has failed.
    pub stall: Duration,
}

impl RtspRequest {
    /// From a URL that may contain user and password; they are removed from it.
    ///
    /// # Errors
    /// When it is not an RTSP URL; the message does not repeat it.
    pub fn new(url: &str, udp: bool, stall: Duration) -> Result<Self, String> {
        let mut url = Url::parse(url).map_err(|e| format!("invalid URL: {e}"))?;
        if url.scheme() != "rtsp" || url.host_str().is_none() {
            return Err("expected rtsp://HOST/PATH".to_owned());
        }
        let (user, password) = credentials_of(&url);
        let credentials = (!user.is_empty()).then_some((user, password));
        // Neither fails for a URL with a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self {
            url,
            credentials,
            udp,
            stall,
        })
    }

    /// The URL with user and password, for ffmpeg.
    pub(super) fn url_with_credentials(&self) -> String {
        let mut url = self.url.clone();
        if let Some((user, password)) = &self.credentials {
            // Neither fails for a URL with a host.
            let _ = url.set_username(user);
            let _ = url.set_password(Some(password));
        }
        url.into()
    }

    /// Name of the camera: the URL without credentials and query.
    pub fn name(&self) -> String {
        redacted_url(&self.url)
    }
}

/// A network camera (RTSP).
pub struct RtspSource {
    name: String,
    info: SourceInfo,
    coded: Receiver<Message>,
    decoder: LiveDecoder,
    /// Presentation time of the last frame returned, in microseconds.
    last_pts_us: i64,
    /// Decoded pictures that wait for earlier ones (B-frames), by presentation time.
    reorder_buffer: BTreeMap<i64, (Image, Instant)>,
    /// Stall timeout.
    stall: Duration,
    /// Time that was spent waiting in [`Source::next`] since the last picture.
    waited: Duration,
    /// Time of arrival of the frame returned last.
    arrived: Option<Instant>,
    /// Pictures that precede earlier ones in decoding order; 0 without B-frames.
    reorder_depth: usize,
    dropped: u64,
    session_thread: Option<JoinHandle<()>>,
    stop: StopSignal,
}

impl RtspSource {
    /// Connects to a camera, and waits for its codec parameters.
    ///
    /// # Errors
    /// When it is not reachable, rejects the request, sends an unsupported codec or no frame within a
    /// deadline, or `signal` is given before.
    pub fn open(request: &RtspRequest, signal: &StopSignal) -> Result<Self, CaptureError> {
        let name = request.name();
        let device_error = |why: String| CaptureError::Device {
            device: name.clone(),
            why,
        };
        let (sender, coded) = sync_channel(QUEUE_CAPACITY);
        let stop = StopSignal::new();
        let session_thread = {
            let (request, stop) = (request.clone(), stop.clone());
            std::thread::Builder::new()
                .name("0-rtsp".to_owned())
                .spawn(move || run_session(&request, &sender, &stop))
                .map_err(|e| device_error(e.to_string()))?
        };
        let mut source = Self {
            info: SourceInfo {
                kind: "rtsp",
                uri: name.clone(),
                size: None,
                fps: None,
                frames: None,
                live: true,
            },
            name: name.clone(),
            coded,
            decoder: LiveDecoder::new(),
            last_pts_us: -1,
            reorder_buffer: BTreeMap::new(),
            stall: request.stall,
            waited: Duration::ZERO,
            arrived: None,
            reorder_depth: 0,
            dropped: 0,
            session_thread: Some(session_thread),
            stop,
        };
        match source.first_message(signal, CONNECT_TIMEOUT + request.stall)? {
            Some(Message::Parameters(avcc)) => {
                source.decoder.configure(&avcc).map_err(device_error)?
            }
            Some(Message::Disconnected(why)) => return Err(device_error(why)),
            Some(Message::Rejected(why)) => {
                return Err(CaptureError::Rejected { device: name, why });
            }
            Some(Message::Unsupported(codec)) => {
                return Err(CaptureError::Unsupported {
                    device: name,
                    codec,
                });
            }
            Some(Message::Frame { .. } | Message::Dropped(_)) | None => {
                return Err(device_error("no response (timeout)".to_owned()));
            }
        }
        source.reorder_depth = source.decoder.max_num_reorder_frames().unwrap_or(0);
        source.info.size = source.decoder.size();
        Ok(source)
    }

    /// The session's first message, with a margin for its own deadlines; `None` if there is none.
    fn first_message(
        &self,
        signal: &StopSignal,
        timeout: Duration,
    ) -> Result<Option<Message>, CaptureError> {
        let deadline = Instant::now() + timeout + Duration::from_secs(1);
        while Instant::now() < deadline {
            if signal.is_stopped() {
                return Err(CaptureError::Interrupted);
            }
            match self.coded.recv_timeout(POLL) {
                Ok(message) => return Ok(Some(message)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
        Ok(None)
    }

    fn device_error(&self, why: String) -> CaptureError {
        CaptureError::Device {
            device: self.name.clone(),
            why,
        }
    }

    /// Decodes a frame; `None` while its picture waits in the reorder buffer.
    fn decode_frame(
        &mut self,
        data: Vec<u8>,
        is_key: bool,
        since_start: Duration,
        arrived: Instant,
        loss: bool,
    ) -> Option<Captured> {
        if loss {
            self.decoder.wait_for_keyframe();
        }
        let ticks = i64::try_from(since_start.as_micros()).unwrap_or(i64::MAX);
        let media_time = |ticks| MediaTime {
            ticks,
            rate_hz: 1_000_000,
        };
        let pts = media_time(ticks);
        let image = match self.decoder.decode(data, is_key) {
            Ok(Some(image)) => image,
            Ok(None) => {
                let why = "no picture in the frame".to_owned();
                return Some(Captured::Undecodable { pts, why });
            }
            Err(why) => return Some(Captured::Undecodable { pts, why }),
        };
        if ticks <= self.last_pts_us {
            // Too late in presentation order (B-frame): increase the reorder depth.
            self.reorder_depth = self
                .reorder_depth
                .max((self.reorder_depth + 1).min(MAX_REORDER_DEPTH));
            let why = "out of order: a later frame was already returned".to_owned();
            return Some(Captured::Undecodable { pts, why });
        }
        self.reorder_buffer.insert(ticks, (image, arrived));
        if self.reorder_buffer.len() <= self.reorder_depth {
            return None;
        }
        let (ticks, (image, arrived)) = self.reorder_buffer.pop_first()?;
        self.last_pts_us = ticks;
        self.arrived = Some(arrived);
        let pts = media_time(ticks);
        Some(Captured::Frame {
            image,
            pts,
            name: None,
        })
    }
}

impl Source for RtspSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError> {
        let entered = Instant::now();
        let captured = self.next_before(stop, entered + self.stall.saturating_sub(self.waited));
        // What passes between two calls is not the camera's doing.
        self.waited = match &captured {
            Ok(Captured::Frame { .. }) => Duration::ZERO,
            _ => self.waited + entered.elapsed(),
        };
        captured
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        Ok(())
    }

    fn arrived(&self) -> Option<Instant> {
        self.arrived
    }

    fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

impl RtspSource {
    /// The next frame; an error if there is none until `deadline`.
    fn next_before(
        &mut self,
        stop: &StopSignal,
        deadline: Instant,
    ) -> Result<Captured, CaptureError> {
        loop {
            if stop.is_stopped() {
                return Ok(Captured::End);
            }
            if Instant::now() > deadline {
                let seconds = self.stall.as_secs_f64();
                return Err(self.device_error(format!("no picture received for {seconds:.1} s")));
            }
            match self.coded.recv_timeout(POLL) {
                Ok(Message::Frame {
                    data,
                    is_key,
                    since_start,
                    arrived,
                    loss,
                }) => {
                    let taken = self.decode_frame(data, is_key, since_start, arrived, loss);
                    if let Some(captured) = taken {
                        return Ok(captured);
                    }
                }
                Ok(Message::Parameters(avcc)) => {
                    self.decoder
                        .configure(&avcc)
                        .map_err(|why| self.device_error(why))?;
                    self.reorder_depth = self
                        .decoder
                        .max_num_reorder_frames()
                        .unwrap_or(self.reorder_depth);
                }
                Ok(Message::Dropped(frames)) => self.dropped += frames,
                Ok(
                    Message::Disconnected(why) | Message::Rejected(why) | Message::Unsupported(why),
                ) => return Err(self.device_error(why)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.device_error("the RTSP session thread ended".to_owned()));
                }
            }
        }
    }
}

impl Drop for RtspSource {
    fn drop(&mut self) {
        self.stop.stop(StopReason::Failed);
        // Unblocks a thread that waits for room in the queue.
        let (_, disconnected) = sync_channel(0);
        self.coded = disconnected;
        if let Some(session_thread) = self.session_thread.take() {
            let _ = session_thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_removed_from_the_url() {
        let stall = Duration::from_secs(5);
        let request = RtspRequest::new(
            "rtsp://ad%40min:p%3ass@10.0.0.7:8554/cam/1?token=x",
            false,
            stall,
        );
        let request = request.expect("a URL");
        assert_eq!(
            request.credentials,
            Some(("ad@min".to_owned(), "p:ss".to_owned()))
        );
        assert_eq!(request.name(), "rtsp://10.0.0.7:8554/cam/1");
        assert!(!request.url.as_str().contains("p%3ass"));
        for bad in ["http://a/b", "rtsp:/x", "camera"] {
            assert!(RtspRequest::new(bad, false, stall).is_err(), "{bad}");
        }
    }
}
