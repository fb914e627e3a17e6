//! Whatever `ffmpeg` can read: another program decodes, raw planes come through its pipe.
//!
//! Frames come as Y4M on its standard output, which has no times; their true presentation times come
//! on its standard error, where the filter `showinfo` says a line of each frame before it lets the
//! frame through. When this process ends, however it ends, the pipe closes and ffmpeg ends with it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::source::{CaptureError, Captured, Source, SourceInfo, name_of};
use super::y4m::{Y4mHeader, Y4mReader};
use crate::flow::StopSignal;
use crate::frame::{Image, MediaTime, YuvColour, YuvMatrix, YuvRange};

/// How often a wait for a frame looks at the stop signal.
const POLL: Duration = Duration::from_millis(100);
/// How long a frame's time may come after the frame.
const LATE: Duration = Duration::from_secs(2);
/// Frames that are decoded ahead.
const AHEAD: usize = 2;

/// A clip that `ffmpeg` decodes.
pub struct FfmpegSource {
    path: PathBuf,
    arguments: Vec<String>,
    info: SourceInfo,
    decoder: Decoder,
}

impl FfmpegSource {
    /// Has ffmpeg decode `path`; `arguments` go before its input (for instance `-hwaccel`).
    ///
    /// # Errors
    /// When ffmpeg is not installed, or what it says when it cannot read the file.
    pub fn open(path: &Path, arguments: &[String]) -> Result<Self, CaptureError> {
        let (decoder, header) =
            Decoder::start(path, arguments).map_err(|why| malformed(path, why))?;
        let info = SourceInfo {
            kind: "video",
            uri: name_of(path),
            size: Some(header.size),
            fps: Some(f64::from(header.rate.0) / f64::from(header.rate.1)),
            frames: None,
            live: false,
        };
        Ok(Self {
            path: path.to_owned(),
            arguments: arguments.to_vec(),
            info,
            decoder,
        })
    }

    /// Whether ffmpeg can be started.
    pub fn is_installed() -> bool {
        let version = Command::new("ffmpeg")
            .arg("-version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    }
}

impl Source for FfmpegSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError> {
        loop {
            if stop.is_stopped() {
                return Ok(Captured::End);
            }
            match self.decoder.frames.recv_timeout(POLL) {
                Ok(Ok(image)) => {
                    let (image, pts) = self
                        .decoder
                        .with_time(image)
                        .map_err(|why| malformed(&self.path, why))?;
                    return Ok(Captured::Frame {
                        image,
                        pts,
                        name: None,
                    });
                }
                Ok(Err(why)) => {
                    let why = self.decoder.first_error().unwrap_or(why);
                    return Err(malformed(&self.path, why));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return match self.decoder.outcome() {
                        Ok(()) => Ok(Captured::End),
                        Err(why) => Err(malformed(&self.path, why)),
                    };
                }
            }
        }
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        let started = Decoder::start(&self.path, &self.arguments);
        self.decoder = started.map_err(|why| malformed(&self.path, why))?.0;
        Ok(())
    }
}

/// A running ffmpeg.
struct Decoder {
    child: Child,
    frames: Receiver<Result<Image, String>>,
    said: Receiver<Said>,
    errors: Arc<Mutex<Option<String>>>,
    readers: Vec<JoinHandle<()>>,
    rate_hz: u32,
    numerator: i64,
    colour: Option<YuvColour>,
}

/// What `showinfo` says.
enum Said {
    /// One tick lasts `numerator / rate_hz` seconds.
    TimeBase { numerator: i64, rate_hz: u32 },
    /// The next frame's time.
    Frame(i64),
    /// How its samples are to be read.
    Colour(YuvColour),
}

impl Decoder {
    fn start(path: &Path, arguments: &[String]) -> Result<(Self, Y4mHeader), String> {
        let mut child = Command::new("ffmpeg")
            .args([
                "-nostdin",
                "-hide_banner",
                "-loglevel",
                "level+info",
                "-nostats",
            ])
            .args(arguments)
            .arg("-i")
            .arg(path)
            .args([
                "-map",
                "0:v:0",
                "-vf",
                "format=yuv420p|yuvj420p,showinfo=checksum=0",
            ])
            .args([
                "-fps_mode",
                "passthrough",
                "-strict",
                "-1",
                "-f",
                "yuv4mpegpipe",
                "pipe:1",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => {
                    "it takes ffmpeg, which is not installed".to_owned()
                }
                _ => format!("cannot start ffmpeg: {e}"),
            })?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err("ffmpeg has no output".to_owned());
        };
        let errors = Arc::new(Mutex::new(None));
        let (said_tx, said) = channel();
        let listener = {
            let errors = Arc::clone(&errors);
            std::thread::spawn(move || listen(stderr, &said_tx, &errors))
        };
        let mut decoder = Self {
            child,
            frames: sync_channel(0).1,
            said,
            errors,
            readers: vec![listener],
            rate_hz: 1,
            numerator: 1,
            colour: None,
        };
        // Waits for the first bytes: what ffmpeg cannot read is known then.
        let reader = match Y4mReader::new(stdout) {
            Ok(reader) => reader,
            Err(why) => return Err(decoder.outcome().err().unwrap_or(why)),
        };
        let header = *reader.header();
        let (frames_tx, frames) = sync_channel(AHEAD);
        decoder.frames = frames;
        decoder
            .readers
            .push(std::thread::spawn(move || pump(reader, &frames_tx)));
        Ok((decoder, header))
    }

    /// A frame with its time and colours.
    fn with_time(&mut self, image: Image) -> Result<(Image, MediaTime), String> {
        let late = |_| "ffmpeg does not say when its frames are".to_owned();
        let ticks = loop {
            match self.said.recv_timeout(LATE).map_err(late)? {
                Said::Frame(ticks) => break ticks,
                said => self.take(said),
            }
        };
        if self.colour.is_none() {
            // It is said right after the first frame's time.
            while self.colour.is_none() {
                match self.said.recv_timeout(LATE) {
                    Ok(said) => self.take(said),
                    Err(_) => self.colour = Some(image.colour()),
                }
            }
        }
        let colour = self.colour.unwrap_or(image.colour());
        let (size, format) = (image.size(), image.format());
        let image = Image::new(size, format, colour, image.into_data());
        let pts = MediaTime {
            ticks: ticks.saturating_mul(self.numerator),
            rate_hz: self.rate_hz,
        };
        Ok((image.map_err(|e| e.to_string())?, pts))
    }

    fn take(&mut self, said: Said) {
        match said {
            Said::TimeBase { numerator, rate_hz } => {
                (self.numerator, self.rate_hz) = (numerator, rate_hz);
            }
            Said::Colour(colour) => self.colour = Some(colour),
            Said::Frame(_) => {}
        }
    }

    /// How ffmpeg ended, once its output has.
    fn outcome(&mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|e| e.to_string())?;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if status.success() {
            return Ok(());
        }
        Err(self
            .first_error()
            .unwrap_or_else(|| format!("ffmpeg ended with {status}")))
    }

    fn first_error(&self) -> Option<String> {
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The readers end with its pipes; the one of frames may wait for room that nobody makes.
        let (_, nobody) = sync_channel(0);
        self.frames = nobody;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// Reads frames until there are no more, or nobody wants them.
fn pump(mut reader: Y4mReader<ChildStdout>, frames: &SyncSender<Result<Image, String>>) {
    while let Some(frame) = reader.next_frame().transpose() {
        let is_last = frame.is_err();
        if frames.send(frame).is_err() || is_last {
            break;
        }
    }
}

/// Reads what ffmpeg says: times, colours, and the first thing that went wrong.
fn listen(stderr: ChildStderr, said: &Sender<Said>, errors: &Mutex<Option<String>>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if line.contains("showinfo") {
            if let Some(message) = parse_said(&line) {
                let _ = said.send(message);
            }
        } else if let Some(at) = ["[error] ", "[fatal] "]
            .iter()
            .find_map(|level| Some(line.find(level)? + level.len()))
        {
            let what = line[at..].trim();
            tracing::debug!("ffmpeg: {what}");
            let mut first = errors.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| format!("ffmpeg: {what}"));
        }
    }
}

fn parse_said(line: &str) -> Option<Said> {
    let after = |key: &str| {
        let rest = &line[line.find(key)? + key.len()..];
        rest.split_whitespace().next()
    };
    if line.contains("config in") {
        let (numerator, rate) = after("time_base:")?.trim_end_matches(',').split_once('/')?;
        let rate_hz: u32 = rate.parse().ok().filter(|rate| *rate > 0)?;
        return Some(Said::TimeBase {
            numerator: numerator.parse().ok()?,
            rate_hz,
        });
    }
    if let Some(ticks) = after(" pts:").filter(|_| line.contains(" n:")) {
        return ticks.parse().ok().map(Said::Frame);
    }
    let range = after("color_range:")?;
    Some(Said::Colour(YuvColour {
        range: if range == "pc" {
            YuvRange::Full
        } else {
            YuvRange::Limited
        },
        matrix: match after("color_space:") {
            Some("bt709") => YuvMatrix::Bt709,
            _ => YuvMatrix::Bt601,
        },
    }))
}

fn malformed(path: &Path, why: String) -> CaptureError {
    CaptureError::Malformed {
        path: path.to_owned(),
        why,
    }
}
