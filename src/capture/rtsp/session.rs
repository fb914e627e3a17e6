//! One connection to a camera, on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use retina::client::{
    Credentials, PlayOptions, Session, SessionGroup, SessionOptions, SetupOptions, Transport,
};
use retina::codec::{CodecItem, ParametersRef};

use super::{ANSWER, POLL, RtspRequest};
use crate::flow::StopSignal;

/// How far RTP's time may be from that of arrival before it is no use.
const ASTRAY: Duration = Duration::from_secs(10);

/// What the camera's thread says.
pub enum Message {
    /// Parameters of the pictures that follow.
    Parameters(Vec<u8>),
    /// A coded frame.
    Frame {
        data: Vec<u8>,
        is_key: bool,
        /// Since the connection's beginning.
        at: Duration,
        /// When its last packet came.
        arrived: Instant,
        /// Packets, or whole frames, are missing before it.
        loss: bool,
    },
    /// So many frames found no room.
    Skipped(u64),
    /// The camera sends nothing but this.
    Unsupported(String),
    /// The connection is gone.
    Lost(String),
}

/// Talks to the camera until it is lost, the stop is given or nobody reads.
pub fn talk(request: &RtspRequest, coded: &SyncSender<Message>, stop: &StopSignal) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(session(request, coded, stop)),
        Err(error) => Err(error.to_string().into()),
    };
    if let Err(Ended(message)) = ended {
        let _ = coded.send(message);
    }
}

/// Why a connection ended.
struct Ended(Message);

impl From<String> for Ended {
    fn from(why: String) -> Self {
        Self(Message::Lost(why))
    }
}

/// Frames by the camera's clock, as long as that goes as ours does.
#[derive(Default)]
struct FrameClock {
    /// The first frame's times: RTP's in seconds, and ours.
    first: Option<(f64, Instant)>,
    /// The first sender report's times: RTP's and the camera's own clock's, in seconds.
    report: Option<(f64, f64)>,
    /// A place from which RTP's time is counted, and how fast it goes there.
    place: Place,
    /// RTP's times are no use.
    by_arrival: bool,
}

struct Place {
    rtp_s: f64,
    at_s: f64,
    rate: f64,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            rtp_s: 0.0,
            at_s: 0.0,
            rate: 1.0,
        }
    }
}

impl Place {
    fn at(&self, rtp_s: f64) -> f64 {
        self.at_s + (rtp_s - self.rtp_s) * self.rate
    }
}

impl FrameClock {
    /// When a frame is, since the first.
    fn at(&mut self, rtp_s: f64, arrived: Instant) -> Duration {
        let (_, began) = *self.first.get_or_insert_with(|| {
            self.place.rtp_s = rtp_s;
            (rtp_s, arrived)
        });
        let own = Duration::try_from_secs_f64(self.place.at(rtp_s)).unwrap_or_default();
        let ours = arrived - began;
        if !self.by_arrival && own.abs_diff(ours) > ASTRAY {
            tracing::warn!("the camera's clock goes astray: its frames are timed by their arrival");
            self.by_arrival = true;
        }
        if self.by_arrival { ours } else { own }
    }

    /// A sender report (RFC 3550, section 6.4.1): what RTP's time was at a time of the camera's own
    /// clock. Two of them tell how fast RTP's time really goes, which is not always as it should be.
    fn report(&mut self, rtp_s: f64, own_s: f64) {
        let (first_rtp_s, first_own_s) = *self.report.get_or_insert((rtp_s, own_s));
        let span = rtp_s - first_rtp_s;
        let rate = (own_s - first_own_s) / span;
        // Over a short span the reports' own jitter counts for too much.
        if span >= 10.0 && self.first.is_some() && (0.5..2.0).contains(&rate) {
            let at_s = self.place.at(rtp_s);
            self.place = Place { rtp_s, at_s, rate };
        }
    }
}

/// One connection. Ends well when nobody wants more, else says why it ended.
async fn session(
    request: &RtspRequest,
    coded: &SyncSender<Message>,
    stop: &StopSignal,
) -> Result<(), Ended> {
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
                Some(codec) => Ended(Message::Unsupported(codec.to_uppercase())),
                None => "it sends no video".to_owned().into(),
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
    let mut skipped = 0;
    let mut clock = FrameClock::default();
    let mut silent_since = Instant::now();
    loop {
        let item = match tokio::time::timeout(POLL, session.next()).await {
            Err(_) if stop.is_stopped() => return Ok(()),
            Err(_) if silent_since.elapsed() > request.stall => {
                let seconds = request.stall.as_secs_f64();
                return Err(format!("nothing came for {seconds:.1} s").into());
            }
            Err(_) => continue,
            Ok(None) => return Err("the camera ended the stream".to_owned().into()),
            Ok(Some(item)) => item.map_err(|e| one_line(&e))?,
        };
        let frame = match item {
            CodecItem::VideoFrame(frame) => frame,
            CodecItem::Rtcp(packets) => {
                let reports = packets
                    .pkts()
                    .filter_map(|p| p.as_sender_report().ok().flatten());
                if let (Some(rtp), Some(report)) = (packets.rtp_timestamp(), reports.last()) {
                    // Seconds in the upper half, their fraction in the lower.
                    let own_s = report.ntp_timestamp().0 as f64 / 2_f64.powi(32);
                    clock.report(rtp.elapsed_secs(), own_s);
                }
                continue;
            }
            _ => continue,
        };
        silent_since = Instant::now();
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
        if skipped > 0 && !is_key {
            skipped += 1;
            continue;
        }
        let rtp_s = frame.timestamp().elapsed_secs();
        let message = Message::Frame {
            is_key,
            at: clock.at(rtp_s, silent_since),
            arrived: silent_since,
            loss: frame.loss() > 0 || skipped > 0,
            data: frame.into_data(),
        };
        if skipped > 0 {
            match coded.try_send(Message::Skipped(skipped)) {
                Ok(()) => skipped = 0,
                Err(TrySendError::Full(_)) => {
                    skipped += 1;
                    continue;
                }
                Err(TrySendError::Disconnected(_)) => return Ok(()),
            }
        }
        match coded.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => skipped += 1,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_astray_is_left() {
        let (mut clock, began) = (FrameClock::default(), Instant::now());
        let ms = Duration::from_millis;
        let mut at = |rtp_s, arrived| clock.at(rtp_s, began + ms(arrived)).as_secs_f64();
        assert_eq!(at(0.5, 0), 0.0);
        assert!(
            (at(0.54, 55) - 0.04).abs() < 1e-6,
            "by the camera's own time"
        );
        assert_eq!(at(60.0, 80), 0.08, "by arrival, once that is no use");
        assert_eq!(at(0.58, 120), 0.12, "and from then on");
    }

    #[test]
    fn reports_tell_how_fast_rtp_goes() {
        // Its clock is a tenth too fast: 66 s of RTP in a minute.
        let (mut clock, began) = (FrameClock::default(), Instant::now());
        let (mut last, mut steps) = (0.0, Vec::new());
        for i in 0..=60 {
            let own_s = f64::from(i);
            let arrived = began + Duration::from_secs_f64(own_s);
            let at = clock.at(100.0 + own_s * 1.1, arrived).as_secs_f64();
            steps.push(at - last);
            last = at;
            if i % 5 == 0 {
                clock.report(100.0 + own_s * 1.1, 3_900_000_000.0 + own_s);
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
