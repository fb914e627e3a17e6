//! One RTSP session, on a thread of its own: connects, receives coded frames, timestamps them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use retina::client::{
    Credentials, PlayOptions, Session, SessionGroup, SessionOptions, SetupOptions, Transport,
};
use retina::codec::{CodecItem, ParametersRef};

use super::{CONNECT_TIMEOUT, POLL, RtspRequest};
use crate::flow::StopSignal;

/// Largest difference between RTP timestamps and times of arrival, until the latter are used.
const MAX_CLOCK_DRIFT: Duration = Duration::from_secs(10);

/// Message of the session thread.
pub enum Message {
    /// Codec parameters of the frames that follow: an `AVCDecoderConfigurationRecord`.
    Parameters(Vec<u8>),
    /// A coded frame.
    Frame {
        /// NAL units with length prefixes of four bytes.
        data: Vec<u8>,
        /// Whether it is a random access point (keyframe).
        is_key: bool,
        /// Presentation time since the first frame of the connection.
        since_start: Duration,
        /// Time of arrival of its last packet.
        arrived: Instant,
        /// Whether packets or frames before it were lost.
        loss: bool,
    },
    /// Number of frames dropped because the queue was full.
    Dropped(u64),
    /// The camera has no H.264 stream; the codec of its video stream.
    Unsupported(String),
    /// The camera refuses this user and password; its answer.
    Rejected(String),
    /// The connection failed or was closed; why.
    Disconnected(String),
}

/// Runs a session until it fails, the stop signal is given or the receiver is dropped.
pub fn run_session(request: &RtspRequest, coded: &SyncSender<Message>, stop: &StopSignal) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(session(request, coded, stop));
            // Waits for no name that is still being resolved.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(error.to_string().into()),
    };
    if let Err(SessionError(message)) = ended {
        let _ = coded.send(message);
    }
}

/// Why a connection ended.
struct SessionError(Message);

impl From<String> for SessionError {
    fn from(why: String) -> Self {
        Self(Message::Disconnected(why))
    }
}

impl From<retina::Error> for SessionError {
    /// Keeps the first line of the error, without the connection details that follow.
    fn from(error: retina::Error) -> Self {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let why = first.chars().take(200).collect();
        Self(match error.status_code() {
            Some(401 | 403) => Message::Rejected(why),
            _ => Message::Disconnected(why),
        })
    }
}

/// Presentation times from RTP timestamps, as long as they do not drift from the times of arrival.
#[derive(Default)]
struct RtpClock {
    /// Time of arrival of the first frame.
    first_arrived: Option<Instant>,
    /// RTP and NTP timestamp of the first sender report, in seconds.
    first_report: Option<(f64, f64)>,
    /// From RTP timestamps to presentation times.
    mapping: ClockMapping,
    /// Whether the RTP timestamps drifted: times of arrival are used from then on.
    use_arrival_times: bool,
}

/// Linear mapping from RTP timestamps to presentation times, in seconds.
struct ClockMapping {
    rtp_s: f64,
    pts_s: f64,
    rate: f64,
}

impl Default for ClockMapping {
    fn default() -> Self {
        Self {
            rtp_s: 0.0,
            pts_s: 0.0,
            rate: 1.0,
        }
    }
}

impl ClockMapping {
    fn pts_s(&self, rtp_s: f64) -> f64 {
        self.pts_s + (rtp_s - self.rtp_s) * self.rate
    }
}

impl RtpClock {
    /// Presentation time of a frame since the first one.
    fn pts(&mut self, rtp_s: f64, arrived: Instant) -> Duration {
        let first_arrived = *self.first_arrived.get_or_insert_with(|| {
            self.mapping.rtp_s = rtp_s;
            arrived
        });
        let by_rtp = Duration::try_from_secs_f64(self.mapping.pts_s(rtp_s)).unwrap_or_default();
        let by_arrival = arrived - first_arrived;
        if !self.use_arrival_times && by_rtp.abs_diff(by_arrival) > MAX_CLOCK_DRIFT {
            tracing::warn!(
                "RTP timestamps drift from the times of arrival, which are used instead"
            );
            self.use_arrival_times = true;
        }
        if self.use_arrival_times {
            by_arrival
        } else {
            by_rtp
        }
    }

    /// Takes a sender report (RFC 3550, section 6.4.1): an RTP timestamp and the NTP timestamp of the same
    /// instant. Two of them give the true rate of the RTP clock, which may differ from its nominal rate.
    fn sender_report(&mut self, rtp_s: f64, ntp_s: f64) {
        let (first_rtp_s, first_ntp_s) = *self.first_report.get_or_insert((rtp_s, ntp_s));
        let span = rtp_s - first_rtp_s;
        let rate = (ntp_s - first_ntp_s) / span;
        // Over a short span the jitter of the reports is too large.
        if span >= 10.0 && self.first_arrived.is_some() && (0.5..2.0).contains(&rate) {
            let pts_s = self.mapping.pts_s(rtp_s);
            self.mapping = ClockMapping { rtp_s, pts_s, rate };
        }
    }
}

/// Connects and receives frames; `Ok` when the stop signal is given or the receiver is dropped.
async fn session(
    request: &RtspRequest,
    coded: &SyncSender<Message>,
    stop: &StopSignal,
) -> Result<(), SessionError> {
    let credentials = request.credentials.clone();
    let options = SessionOptions::default()
        .creds(credentials.map(|(username, password)| Credentials { username, password }))
        .session_group(Arc::new(SessionGroup::default()))
        .user_agent("mobilens".to_owned());
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
            return Err(match other {
                Some(codec) => SessionError(Message::Unsupported(codec.to_uppercase())),
                None => "no video stream".to_owned().into(),
            });
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
        Ok::<_, SessionError>((session, video))
    };
    let Some(connected) = until_stopped(stop, tokio::time::timeout(CONNECT_TIMEOUT, connect)).await
    else {
        return Ok(());
    };
    let (mut session, video) = connected.map_err(|_| "no response (timeout)".to_owned())??;
    let mut parameters = Vec::new();
    let mut dropped = 0;
    let mut clock = RtpClock::default();
    let playing_since = Instant::now();
    // Whatever packets arrive, each turn looks at the stop signal.
    while !stop.is_stopped() {
        // Later, the reader knows best since when it has had no picture.
        if parameters.is_empty() && playing_since.elapsed() > request.stall {
            let seconds = request.stall.as_secs_f64();
            let why = "no frame with H.264 parameter sets (SPS, PPS) received";
            return Err(format!("{why} for {seconds:.1} s").into());
        }
        let item = match tokio::time::timeout(POLL, session.next()).await {
            Err(_) => continue,
            Ok(None) => return Err("the camera closed the stream".to_owned().into()),
            Ok(Some(item)) => item?,
        };
        let frame = match item {
            CodecItem::VideoFrame(frame) => frame,
            CodecItem::Rtcp(packets) => {
                let reports = packets
                    .pkts()
                    .filter_map(|p| p.as_sender_report().ok().flatten());
                if let (Some(rtp), Some(sender_report)) = (packets.rtp_timestamp(), reports.last())
                {
                    // NTP timestamp: 32 bits of seconds, 32 bits of fraction.
                    let ntp_s = sender_report.ntp_timestamp().0 as f64 / 2_f64.powi(32);
                    clock.sender_report(rtp.elapsed_secs(), ntp_s);
                }
                continue;
            }
            _ => continue,
        };
        let arrived = Instant::now();
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
        if dropped > 0 && !is_key {
            dropped += 1;
            continue;
        }
        let rtp_s = frame.timestamp().elapsed_secs();
        let message = Message::Frame {
            is_key,
            since_start: clock.pts(rtp_s, arrived),
            arrived,
            loss: frame.loss() > 0 || dropped > 0,
            data: frame.into_data(),
        };
        if dropped > 0 {
            match coded.try_send(Message::Dropped(dropped)) {
                Ok(()) => dropped = 0,
                Err(TrySendError::Full(_)) => {
                    dropped += 1;
                    continue;
                }
                Err(TrySendError::Disconnected(_)) => return Ok(()),
            }
        }
        match coded.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => dropped += 1,
            Err(TrySendError::Disconnected(_)) => return Ok(()),
        }
    }
    Ok(())
}

/// Waits for `future`; `None` once the stop signal is given.
async fn until_stopped<F: Future>(stop: &StopSignal, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    while !stop.is_stopped() {
        if let Ok(output) = tokio::time::timeout(POLL, future.as_mut()).await {
            return Some(output);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drifting_rtp_timestamps_are_replaced_by_arrival_times() {
        let (mut clock, began) = (RtpClock::default(), Instant::now());
        let ms = Duration::from_millis;
        let mut at = |rtp_s, arrived| clock.pts(rtp_s, began + ms(arrived)).as_secs_f64();
        assert_eq!(at(0.5, 0), 0.0);
        assert!((at(0.54, 55) - 0.04).abs() < 1e-6, "by RTP timestamp");
        assert_eq!(at(60.0, 80), 0.08, "by arrival after drift");
        assert_eq!(at(0.58, 120), 0.12, "and from then on");
    }

    #[test]
    fn sender_reports_correct_the_rtp_clock_rate() {
        // The RTP clock is 10 % too fast: 66 s in a minute.
        let (mut clock, began) = (RtpClock::default(), Instant::now());
        let (mut last, mut steps) = (0.0, Vec::new());
        for i in 0..=60 {
            let ntp_s = f64::from(i);
            let arrived = began + Duration::from_secs_f64(ntp_s);
            let at = clock.pts(100.0 + ntp_s * 1.1, arrived).as_secs_f64();
            steps.push(at - last);
            last = at;
            if i % 5 == 0 {
                clock.sender_report(100.0 + ntp_s * 1.1, 3_900_000_000.0 + ntp_s);
            }
        }
        assert!(
            steps[1..].iter().all(|step| (0.99..1.11).contains(step)),
            "{steps:?}"
        );
        assert!(
            steps[20..].iter().all(|step| (step - 1.0).abs() < 1e-3),
            "{steps:?}"
        );
    }
}
