//! Network cameras (RTSP, H.264), taken up again when they are lost.
//!
//! A thread of its own talks to the camera and hands on coded frames; they are decoded where they are
//! read. Frames are timed by RTP; the time of an outage passes in between. When frames come faster
//! than they are decoded, what does not fit is dropped up to the next keyframe, and counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use retina::client::{
    Credentials, PlayOptions, Session, SessionGroup, SessionOptions, SetupOptions, Transport,
};
use retina::codec::{CodecItem, ParametersRef};
use url::Url;

use super::source::{CaptureError, Captured, Source, SourceInfo};
use super::video::LiveDecoder;
use crate::flow::StopSignal;
use crate::frame::{Image, MediaTime, Outage};

/// How often a wait for a frame looks at the stop signal.
const POLL: Duration = Duration::from_millis(100);
/// Coded frames that may wait to be decoded.
const WAITING: usize = 120;
/// Most pictures that a camera with B-frames holds back.
const MOST_AHEAD: usize = 4;
/// How long a camera may take to answer at the beginning.
const ANSWER: Duration = Duration::from_secs(10);
/// The first pause before a lost camera is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));

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
        let user = unescaped(url.username());
        let password = unescaped(url.password().unwrap_or_default());
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

    /// The camera's name, without secrets: neither user nor query.
    pub fn name(&self) -> String {
        let port = self
            .url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let host = self.url.host_str().unwrap_or_default();
        format!("rtsp://{host}{port}{}", self.url.path())
    }
}

/// A network camera.
pub struct RtspSource {
    name: String,
    info: SourceInfo,
    coded: Receiver<Message>,
    decoder: LiveDecoder,
    began: Instant,
    /// Media time at which the connection in use began.
    offset: Duration,
    last: i64,
    /// Pictures that came before others which are shown earlier.
    ahead: BTreeMap<i64, Image>,
    /// How many of them the camera holds back: none, unless it sends B-frames.
    depth: usize,
    /// When the camera was lost, and why.
    lost: Option<(Instant, String)>,
    outage: Option<Outage>,
    dropped: u64,
    worker: Option<JoinHandle<()>>,
    stop: StopSignal,
}

/// What the camera's thread says.
enum Message {
    /// A connection stands: parameters of the pictures.
    Parameters(Vec<u8>),
    /// A coded frame.
    Frame {
        data: Vec<u8>,
        is_key: bool,
        /// Since the connection's beginning.
        at: Duration,
        /// Packets, or whole frames, are missing before it.
        loss: bool,
    },
    /// The connection is gone; it is tried again.
    Lost(String),
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
            began: Instant::now(),
            offset: Duration::ZERO,
            last: -1,
            ahead: BTreeMap::new(),
            depth: 0,
            lost: None,
            outage: None,
            dropped: 0,
            worker: Some(worker),
            stop,
        };
        match source.coded.recv_timeout(ANSWER) {
            Ok(Message::Parameters(avcc)) => source.decoder.configure(&avcc).map_err(fault)?,
            Ok(Message::Lost(why)) => return Err(fault(why)),
            Ok(Message::Frame { .. }) | Err(_) => {
                return Err(fault("it does not answer".to_owned()));
            }
        }
        source.began = Instant::now();
        source.info.size = source.decoder.size();
        Ok(source)
    }

    /// `None` where the picture waits for one that is shown before it.
    fn take_frame(
        &mut self,
        data: Vec<u8>,
        is_key: bool,
        at: Duration,
        loss: bool,
    ) -> Option<Captured> {
        if loss {
            self.decoder.lose();
        }
        let ticks = i64::try_from((self.offset + at).as_micros()).unwrap_or(i64::MAX);
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
            self.depth = (self.depth + 1).min(MOST_AHEAD);
            let why = "it comes after one that is shown later".to_owned();
            return Some(Captured::Undecodable { pts, why });
        }
        self.ahead.insert(ticks, image);
        if self.ahead.len() <= self.depth {
            return None;
        }
        let (ticks, image) = self.ahead.pop_first()?;
        self.last = ticks;
        let pts = time(ticks);
        if let Some((since, why)) = self.lost.take() {
            let lasted = since.elapsed();
            tracing::info!("{} is back after {:.1} s", self.name, lasted.as_secs_f64());
            self.outage = Some(Outage { why, lasted });
        }
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
                    loss,
                }) => {
                    if let Some(captured) = self.take_frame(data, is_key, at, loss) {
                        return Ok(captured);
                    }
                }
                Ok(Message::Parameters(avcc)) => {
                    if self.last >= 0 && self.lost.is_some() {
                        // A server may have sent ahead of time.
                        let after = Duration::from_micros(self.last.max(0).unsigned_abs() + 1);
                        self.offset = self.began.elapsed().max(after);
                        self.ahead.clear();
                        self.decoder.lose();
                    }
                    self.decoder
                        .configure(&avcc)
                        .map_err(|why| CaptureError::Device {
                            device: self.name.clone(),
                            why,
                        })?;
                }
                Ok(Message::Lost(why)) => {
                    if self.lost.is_none() {
                        tracing::warn!("{} is lost: {why}; trying again", self.name);
                        self.lost = Some((Instant::now(), why));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(CaptureError::Device {
                        device: self.name.clone(),
                        why: "its thread ended".to_owned(),
                    });
                }
            }
        }
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        Ok(())
    }

    fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn outage(&mut self) -> Option<Outage> {
        self.outage.take()
    }
}

impl Drop for RtspSource {
    fn drop(&mut self) {
        self.stop.stop(crate::flow::StopReason::Failed);
        // Whoever waits for room finds nobody.
        let (_, nobody) = sync_channel(0);
        self.coded = nobody;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// Talks to the camera until the stop is given or nobody reads.
fn talk(request: &RtspRequest, coded: &SyncSender<Message>, stop: &StopSignal) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    let mut pause = PAUSES.0;
    while !stop.is_stopped() {
        let (began, mut came) = (Instant::now(), false);
        let why = match runtime.block_on(session(request, coded, stop, &mut came)) {
            Ok(()) => return,
            Err(why) => why,
        };
        if coded.send(Message::Lost(why)).is_err() {
            return;
        }
        // What worked is tried again at once; pauses grow, and differ between cameras.
        if came {
            pause = PAUSES.0;
        }
        let jitter = 0.5 + f64::from(began.elapsed().subsec_nanos() % 1000) / 2000.0;
        let until = Instant::now() + pause.mul_f64(jitter);
        pause = (pause * 2).min(PAUSES.1);
        if stop.sleep_until(until) {
            return;
        }
    }
}

/// One connection. Ends well when nobody wants more, else says why it ended.
async fn session(
    request: &RtspRequest,
    coded: &SyncSender<Message>,
    stop: &StopSignal,
    came: &mut bool,
) -> Result<(), String> {
    let credentials = request.credentials.clone();
    let options = SessionOptions::default()
        .creds(credentials.map(|(username, password)| Credentials { username, password }))
        .session_group(Arc::new(SessionGroup::default()))
        .user_agent("mobilens".to_owned());
    let late = |_| "it does not answer".to_owned();
    let connect = async {
        let mut session = Session::describe(request.url.clone(), options).await?;
        let streams = session.streams();
        let video = streams
            .iter()
            .position(|s| s.media() == "video" && s.encoding_name() == "h264");
        let other = streams
            .iter()
            .find(|s| s.media() == "video")
            .map(|s| s.encoding_name().to_owned());
        let Some(video) = video else {
            return Ok(Err(match other {
                Some(codec) => format!("it sends {codec}; set it to H.264"),
                None => "it sends no video".to_owned(),
            }));
        };
        let transport = if request.udp {
            Transport::Udp(Default::default())
        } else {
            Transport::Tcp(Default::default())
        };
        session
            .setup(video, SetupOptions::default().transport(transport))
            .await?;
        let session = session.play(PlayOptions::default()).await?.demuxed()?;
        Ok::<_, retina::Error>(Ok((session, video)))
    };
    let connected = tokio::time::timeout(ANSWER, connect).await.map_err(late)?;
    let (mut session, video) = connected.map_err(|e| one_line(&e))??;
    let mut parameters = Vec::new();
    let mut skipping = false;
    let mut began = None;
    let mut silent_since = Instant::now();
    loop {
        let item = match tokio::time::timeout(POLL, session.next()).await {
            Err(_) if stop.is_stopped() => return Ok(()),
            Err(_) if silent_since.elapsed() > request.stall => {
                return Err(format!(
                    "nothing came for {:.1} s",
                    request.stall.as_secs_f64()
                ));
            }
            Err(_) => continue,
            Ok(None) => return Err("the camera ended the stream".to_owned()),
            Ok(Some(item)) => item.map_err(|e| one_line(&e))?,
        };
        let CodecItem::VideoFrame(frame) = item else {
            continue;
        };
        silent_since = Instant::now();
        *came = true;
        if frame.has_new_parameters() || parameters.is_empty() {
            let known = session.streams()[video].parameters();
            let Some(ParametersRef::Video(known)) = known else {
                continue;
            };
            parameters = known.extra_data().to_vec();
            if coded.send(Message::Parameters(parameters.clone())).is_err() {
                return Ok(());
            }
        }
        let is_key = frame.is_random_access_point();
        if skipping && !is_key {
            continue;
        }
        let elapsed = Duration::from_secs_f64(frame.timestamp().elapsed_secs().max(0.0));
        let first = *began.get_or_insert(elapsed);
        let loss = frame.loss() > 0 || skipping;
        let message = Message::Frame {
            is_key,
            at: elapsed.saturating_sub(first),
            loss,
            data: frame.into_data(),
        };
        match coded.try_send(message) {
            Ok(()) => skipping = false,
            Err(TrySendError::Full(_)) => skipping = true,
            Err(TrySendError::Disconnected(_)) => return Ok(()),
        }
        if stop.is_stopped() {
            return Ok(());
        }
    }
}

/// What went wrong, without the connection's details that follow.
fn one_line(error: &retina::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.chars().take(200).collect()
}

/// `%40` and its like, as they are meant.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
