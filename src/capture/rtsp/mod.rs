//! Network cameras (RTSP, H.264), until they are lost.
//!
//! A thread of its own talks to the camera and hands on coded frames; they are decoded where they are
//! read. Frames are timed by RTP, at the rate that RTCP's reports tell, or by their arrival where a
//! camera's RTP times are no use. When frames come faster than they are decoded, what does not fit is dropped up to the next keyframe,
//! and counted.

mod session;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use url::Url;

use super::source::{CaptureError, Captured, Source, SourceInfo, credentials_of, public_name};
use crate::flow::{StopReason, StopSignal};
use crate::frame::MediaTime;
use mobilens_image::Image;
use mobilens_video::h264::LiveDecoder;
use session::{Message, talk};

/// How often a wait for a frame looks at the stop signal.
const POLL: Duration = Duration::from_millis(100);
/// Coded frames that may wait to be decoded.
const WAITING: usize = 120;
/// Most pictures that a camera with B-frames holds back, if it does not say how many.
const MOST_AHEAD: usize = 4;
/// How long a camera may take to answer at the beginning.
const ANSWER: Duration = Duration::from_secs(10);

/// Which camera, and how to talk to it.
#[derive(Clone)]
pub struct RtspRequest {
    /// Where it is; without a password.
    pub url: Url,
    /// Who asks.
    pub credentials: Option<(String, String)>,
    /// Over UDP instead of the connection itself.
    pub udp: bool,
    /// A camera that sends nothing for so long is lost.
    pub stall: Duration,
}

impl RtspRequest {
    /// From a URL that may hold a user and a password; they are taken out of it.
    ///
    /// # Errors
    /// What is wrong with the URL, which is not repeated.
    pub fn new(url: &str, udp: bool, stall: Duration) -> Result<Self, String> {
        let mut url = Url::parse(url).map_err(|e| format!("it is no URL: {e}"))?;
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

    /// For another program, which takes user and password from it.
    pub(super) fn url_with_credentials(&self) -> String {
        let mut url = self.url.clone();
        if let Some((user, password)) = &self.credentials {
            // Neither fails for a URL with a host.
            let _ = url.set_username(user);
            let _ = url.set_password(Some(password));
        }
        url.into()
    }

    /// The camera's name, without secrets: neither user nor query.
    pub fn name(&self) -> String {
        public_name(&self.url)
    }
}

/// A network camera.
pub struct RtspSource {
    name: String,
    info: SourceInfo,
    coded: Receiver<Message>,
    decoder: LiveDecoder,
    last: i64,
    /// Pictures that came before others which are shown earlier.
    ahead: BTreeMap<i64, (Image, Instant)>,
    /// When the picture that was given last arrived.
    arrived: Option<Instant>,
    /// How many of them the camera holds back: none, unless it sends B-frames.
    depth: usize,
    dropped: u64,
    worker: Option<JoinHandle<()>>,
    stop: StopSignal,
}

impl RtspSource {
    /// Connects to a camera, and waits until it says what it sends.
    ///
    /// # Errors
    /// When it is not reached, refuses, or sends what is not decoded.
    pub fn open(request: &RtspRequest) -> Result<Self, CaptureError> {
        let name = request.name();
        let fault = |why: String| CaptureError::Device {
            device: name.clone(),
            why,
        };
        let (sender, coded) = sync_channel(WAITING);
        let stop = StopSignal::new();
        let worker = {
            let (request, stop) = (request.clone(), stop.clone());
            std::thread::Builder::new()
                .name("0-rtsp".to_owned())
                .spawn(move || talk(&request, &sender, &stop))
                .map_err(|e| fault(e.to_string()))?
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
            last: -1,
            ahead: BTreeMap::new(),
            arrived: None,
            depth: 0,
            dropped: 0,
            worker: Some(worker),
            stop,
        };
        match source.coded.recv_timeout(ANSWER) {
            Ok(Message::Parameters(avcc)) => source.decoder.configure(&avcc).map_err(fault)?,
            Ok(Message::Lost(why)) => return Err(fault(why)),
            Ok(Message::Unsupported(codec)) => {
                return Err(CaptureError::Unsupported {
                    device: name,
                    codec,
                });
            }
            Ok(Message::Frame { .. } | Message::Skipped(_)) | Err(_) => {
                return Err(fault("it does not answer".to_owned()));
            }
        }
        source.depth = source.decoder.reordered().unwrap_or(0);
        source.info.size = source.decoder.size();
        Ok(source)
    }

    fn lost(&self, why: String) -> CaptureError {
        CaptureError::Device {
            device: self.name.clone(),
            why,
        }
    }

    /// `None` where the picture waits for one that is shown before it.
    fn take_frame(
        &mut self,
        data: Vec<u8>,
        is_key: bool,
        at: Duration,
        arrived: Instant,
        loss: bool,
    ) -> Option<Captured> {
        if loss {
            self.decoder.lose();
        }
        let ticks = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
        let time = |ticks| MediaTime {
            ticks,
            rate_hz: 1_000_000,
        };
        let pts = time(ticks);
        let image = match self.decoder.decode(data, is_key) {
            Ok(Some(image)) => image,
            Ok(None) => {
                let why = "it holds no picture".to_owned();
                return Some(Captured::Undecodable { pts, why });
            }
            Err(why) => return Some(Captured::Undecodable { pts, why }),
        };
        if ticks <= self.last {
            // It should have been shown before: from now on pictures wait for such ones.
            self.depth = self.depth.max((self.depth + 1).min(MOST_AHEAD));
            let why = "it comes after one that is shown later".to_owned();
            return Some(Captured::Undecodable { pts, why });
        }
        self.ahead.insert(ticks, (image, arrived));
        if self.ahead.len() <= self.depth {
            return None;
        }
        let (ticks, (image, arrived)) = self.ahead.pop_first()?;
        self.last = ticks;
        self.arrived = Some(arrived);
        let pts = time(ticks);
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
        loop {
            if stop.is_stopped() {
                return Ok(Captured::End);
            }
            match self.coded.recv_timeout(POLL) {
                Ok(Message::Frame {
                    data,
                    is_key,
                    at,
                    arrived,
                    loss,
                }) => {
                    let taken = self.take_frame(data, is_key, at, arrived, loss);
                    if let Some(captured) = taken {
                        return Ok(captured);
                    }
                }
                Ok(Message::Parameters(avcc)) => {
                    self.decoder
                        .configure(&avcc)
                        .map_err(|why| self.lost(why))?;
                    self.depth = self.decoder.reordered().unwrap_or(self.depth);
                }
                Ok(Message::Skipped(frames)) => self.dropped += frames,
                Ok(Message::Lost(why) | Message::Unsupported(why)) => {
                    return Err(self.lost(why));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.lost("its thread ended".to_owned()));
                }
            }
        }
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

impl Drop for RtspSource {
    fn drop(&mut self) {
        self.stop.stop(StopReason::Failed);
        // Whoever waits for room finds nobody.
        let (_, nobody) = sync_channel(0);
        self.coded = nobody;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_of_the_url() {
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
