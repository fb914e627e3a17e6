//! The [`Source`] trait, its frames and its errors.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use crate::flow::StopSignal;
use crate::frame::MediaTime;
use crate::telemetry::TelemetryError;
use mobilens_image::{Image, SizePx};

/// Properties of an open source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceInfo {
    /// `camera`, `rtsp`, `video` or `images`.
    pub kind: &'static str,
    /// Name of the file, device or URL, without folders, credentials and query.
    pub uri: String,
    /// Size of the frames, if all have the same.
    pub size: Option<SizePx>,
    /// Nominal frames per second.
    pub fps: Option<f64>,
    /// Number of frames, where it is known in advance.
    pub frames: Option<u64>,
    /// Whether it is live: frames arrive at their own pace (a camera) instead of on demand.
    pub live: bool,
}

/// Result of [`Source::next`].
#[derive(Debug)]
pub enum Captured {
    /// A frame.
    Frame {
        /// Its picture.
        image: Image,
        /// Its presentation time.
        pts: MediaTime,
        /// File name, for pictures of a folder.
        name: Option<Arc<str>>,
    },
    /// A frame that could not be decoded; the source continues after it.
    Undecodable {
        /// Presentation time, as far as known.
        pts: MediaTime,
        /// The decoder's error, in one line.
        why: String,
    },
    /// The live source failed; it reconnects.
    Lost {
        /// Why, in one line.
        why: String,
    },
    /// The live source has reconnected; frames follow.
    Back {
        /// Duration of the outage.
        lasted: Duration,
    },
    /// End of the stream, or the stop signal was given.
    End,
}

/// A source of frames.
///
/// A source is opened on the thread that reads it, and closed by dropping it.
pub trait Source: Send {
    /// Its properties.
    fn info(&self) -> &SourceInfo;

    /// Waits for the next frame. Sources that wait for a device check `stop` at least every 100 ms and
    /// then return [`Captured::End`].
    ///
    /// # Errors
    /// When the source cannot be read any further; a damaged frame is [`Captured::Undecodable`].
    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError>;

    /// Seeks to the first frame.
    ///
    /// # Errors
    /// When the source is not seekable.
    fn rewind(&mut self) -> Result<(), CaptureError>;

    /// Whether reading it starts processes. What does not can be read on a thread that may not.
    fn starts_processes(&self) -> bool {
        false
    }

    /// Time of arrival of the frame that [`next`](Self::next) returned last, if it was decoded or
    /// queued in between.
    fn arrived(&self) -> Option<Instant> {
        None
    }

    /// Frames that the source dropped since the last call, because it was not read in time; they came
    /// before the frame that [`next`](Self::next) returned last.
    fn dropped(&mut self) -> u64 {
        0
    }
}

/// A file's name without its folders.
pub(super) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// A URL without user, password and query, for messages and records.
pub(super) fn redacted_url(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    let (scheme, port, path) = (url.scheme(), port.unwrap_or_default(), url.path());
    format!("{scheme}://{host}{port}{path}")
}

/// User and password of a URL, percent-decoded; empty where it has none.
pub fn credentials_of(url: &Url) -> (String, String) {
    let password = url.password().unwrap_or_default();
    (percent_decoded(url.username()), percent_decoded(password))
}

/// Decodes percent-encoding (`%40`).
fn percent_decoded(text: &str) -> String {
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
        /// The operating system's error.
        why: String,
    },
    /// The file has an unsupported or invalid format, or is damaged.
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
    /// The camera refuses this user and password, or what reads it is not installed: what waiting does
    /// not mend.
    #[error("camera {device}: {why}")]
    Rejected {
        /// The device's name.
        device: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The camera sends an unsupported codec.
    #[error("camera {device}: it sends {codec}; set it to H.264, or install ffmpeg")]
    Unsupported {
        /// The device's name.
        device: String,
        /// The codec.
        codec: String,
    },
    /// The stop signal was given before the source was open.
    #[error("interrupted before the source was open")]
    Interrupted,
    /// A defect of this program.
    #[error("internal error while the source was opened: {why}")]
    Panicked {
        /// The message of the panic.
        why: String,
    },
    /// The drone's telemetry file cannot be read.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

/// The error of a file that cannot be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> CaptureError {
    CaptureError::Unreadable {
        path: path.to_owned(),
        why: error.to_string(),
    }
}

/// The error of a file of an unsupported or invalid format.
pub(super) fn malformed(path: &Path, why: String) -> CaptureError {
    CaptureError::Malformed {
        path: path.to_owned(),
        why,
    }
}
