//! What every source promises.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use crate::flow::StopSignal;
use crate::frame::MediaTime;
use crate::telemetry::TelemetryError;
use mobilens_image::{Image, SizePx};

/// What is known of a source once it is open.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceInfo {
    /// `camera`, `rtsp`, `video` or `images`.
    pub kind: &'static str,
    /// The file's or device's name, without secrets and without folders.
    pub uri: String,
    /// Size of the frames, where all have one.
    pub size: Option<SizePx>,
    /// Nominal frames a second.
    pub fps: Option<f64>,
    /// Number of frames, where it is known beforehand.
    pub frames: Option<u64>,
    /// Whether frames come by themselves (a camera) instead of when asked for.
    pub live: bool,
}

/// The next thing that a source has to say.
#[derive(Debug)]
pub enum Captured {
    /// A frame.
    Frame {
        /// Its picture.
        image: Image,
        /// Its presentation time.
        pts: MediaTime,
        /// Its own name (file name), where it has one.
        name: Option<Arc<str>>,
    },
    /// A frame that was there but could not be decoded; the source goes on after it.
    Undecodable {
        /// Presentation time, as far as known.
        pts: MediaTime,
        /// What was wrong, in one line.
        why: String,
    },
    /// The source is lost, and waited for.
    Lost {
        /// Why, in one line.
        why: String,
    },
    /// The source that was lost is back; frames follow.
    Back {
        /// How long it was away.
        lasted: Duration,
    },
    /// No more frames, or the stop was asked for.
    End,
}

/// Where frames come from.
///
/// Sources are opened on the thread that reads them, and closed by dropping.
pub trait Source: Send {
    /// What is known of it.
    fn info(&self) -> &SourceInfo;

    /// Waits for the next frame. Sources that wait for a device look at `stop` at least every
    /// 100 ms and answer it with [`Captured::End`].
    ///
    /// # Errors
    /// When the source is lost for good; a single bad frame is [`Captured::Undecodable`].
    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError>;

    /// Goes back to the first frame.
    ///
    /// # Errors
    /// When the source cannot be read again.
    fn rewind(&mut self) -> Result<(), CaptureError>;

    /// When the frame that [`next`](Self::next) gave last reached this process, if that was before it
    /// was given: it was decoded, or waited, since.
    fn arrived(&self) -> Option<Instant> {
        None
    }

    /// Frames that the source itself had to drop since the last call, because it was not read in
    /// time; they came before the frame that [`next`](Self::next) gave last.
    fn dropped(&mut self) -> u64 {
        0
    }
}

/// A file's name without its folders.
pub(super) fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// A URL as it may be shown: without user, password and query.
pub(super) fn public_name(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    let (scheme, port, path) = (url.scheme(), port.unwrap_or_default(), url.path());
    format!("{scheme}://{host}{port}{path}")
}

/// User and password of a URL; empty where it has none.
pub fn credentials_of(url: &Url) -> (String, String) {
    let password = url.password().unwrap_or_default();
    (unescaped(url.username()), unescaped(password))
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

/// Why a source cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file or folder cannot be read.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        why: String,
    },
    /// The file is not what it should be, or is damaged.
    #[error("{path}: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The device is missing, busy, stalled or was unplugged.
    #[error("camera {device}: {why}")]
    Device {
        /// The device's name.
        device: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The camera sends what is not decoded here.
    #[error("camera {device}: it sends {codec}; set it to H.264, or install ffmpeg")]
    Unsupported {
        /// The device's name.
        device: String,
        /// What it sends.
        codec: String,
    },
    /// What should be the drone's telemetry is not.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

/// The file cannot be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> CaptureError {
    CaptureError::Unreadable {
        path: path.to_owned(),
        why: error.to_string(),
    }
}

/// The file is not what it should be.
pub(super) fn malformed(path: &Path, why: String) -> CaptureError {
    CaptureError::Malformed {
        path: path.to_owned(),
        why,
    }
}
