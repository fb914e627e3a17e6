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
    /// The first frame's times: RTP's and ours.
    first: Option<(Duration, Instant)>,
    /// RTP's times are no use.
    by_arrival: bool,
}

impl FrameClock {
    /// When a frame is, since the first.
    fn at(&mut self, rtp: Duration, arrived: Instant) -> Duration {
        let (first, began) = *self.first.get_or_insert((rtp, arrived));
        let (own, ours) = (rtp.saturating_sub(first), arrived - began);
        if !self.by_arrival && own.abs_diff(ours) > ASTRAY {
            tracing::warn!("the camera's clock goes astray: its frames are timed by their arrival");
            self.by_arrival = true;
        }
        if self.by_arrival { ours } else { own }
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
        let CodecItem::VideoFrame(frame) = item else {
            continue;
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
        let rtp = Duration::from_secs_f64(frame.timestamp().elapsed_secs().max(0.0));
        let message = Message::Frame {
            is_key,
            at: clock.at(rtp, silent_since),
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
        let mut at = |rtp, arrived| clock.at(ms(rtp), began + ms(arrived));
        assert_eq!(at(500, 0), ms(0));
        assert_eq!(at(540, 55), ms(40), "by the camera's own time");
        assert_eq!(at(60_000, 80), ms(80), "by arrival, once that is no use");
        assert_eq!(at(580, 120), ms(120), "and from then on");
    }
}
