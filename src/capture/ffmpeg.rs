//! Whatever `ffmpeg` can read: another program decodes, raw planes come through its pipe.
//!
//! Frames come as Y4M on its standard output, which has no times; their true presentation times come
//! on its standard error, where the filter `showinfo` says a line of each frame before it lets the
//! frame through. When this process ends, however it ends, the pipe closes and ffmpeg ends with it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use url::Url;

use super::rtsp::RtspRequest;
use super::source::{CaptureError, Captured, Source, SourceInfo, name_of, public_name};
use crate::flow::StopSignal;
use crate::frame::MediaTime;
use mobilens_image::{Image, YuvColour, YuvMatrix, YuvRange};
use mobilens_video::y4m::{Y4mHeader, Y4mReader};

/// How often a wait for a frame looks at the stop signal.
const POLL: Duration = Duration::from_millis(100);
/// How long a frame's time may come after the frame.
const LATE: Duration = Duration::from_secs(2);
/// How long a web server may be silent, in microseconds.
const URL_PATIENCE_US: &str = "15000000";
/// Frames that are decoded ahead.
const AHEAD: usize = 2;

/// What ffmpeg is to read.
#[derive(Clone)]
pub struct FfmpegInput {
    /// A file or a URL.
    pub input: OsString,
    /// How it is called: without folders and without secrets.
    pub name: String,
    /// `video` or `rtsp`.
    pub kind: &'static str,
    /// Arguments that go before it (for instance `-hwaccel`).
    pub arguments: Vec<String>,
    /// It comes by itself; one that gives no frame for so long is lost.
    pub stall: Option<Duration>,
}

impl FfmpegInput {
    /// A file, or the URL of one.
    ///
    /// # Errors
    /// When it looks like a URL and is none.
    pub fn file(path: &Path, arguments: &[String]) -> Result<Self, String> {
        let text = path.to_string_lossy();
        let (mut before, mut name) = (arguments.to_vec(), name_of(path));
        if text.contains("://") {
            let url = Url::parse(&text).map_err(|e| format!("it is no URL: {e}"))?;
            name = public_name(&url);
            if url.scheme().starts_with("http") {
                // A server that says nothing must not hold the run for ever.
                before.splice(0..0, ["-rw_timeout", URL_PATIENCE_US].map(str::to_owned));
            }
        }
        Ok(Self {
            input: path.as_os_str().to_owned(),
            name,
            kind: "video",
            arguments: before,
            stall: None,
        })
    }

    /// A network camera.
    pub fn rtsp(request: &RtspRequest, arguments: &[String]) -> Self {
        let transport = if request.udp { "udp" } else { "tcp" };
        let patience = request.stall.as_micros().to_string();
        let options = [
            "-rtsp_transport",
            transport,
            "-fflags",
            "nobuffer",
            "-timeout",
            &patience,
        ];
        let mut before = options.map(str::to_owned).to_vec();
        before.extend_from_slice(arguments);
        Self {
            input: request.url_with_credentials().into(),
            name: request.name(),
            kind: "rtsp",
            arguments: before,
            stall: Some(request.stall),
        }
    }

    fn fault(&self, why: String) -> CaptureError {
        // ffmpeg repeats what it was given.
        let why = why.replace(&*self.input.to_string_lossy(), &self.name);
        match self.stall {
            Some(_) => CaptureError::Device {
                device: self.name.clone(),
                why,
            },
            None => CaptureError::Malformed {
                path: self.shown(),
                why,
            },
        }
    }

    /// The path where there is one.
    fn shown(&self) -> PathBuf {
        if self.name.contains("://") {
            PathBuf::from(&self.name)
        } else {
            PathBuf::from(&self.input)
        }
    }
}

/// A clip or a stream that `ffmpeg` decodes.
pub struct FfmpegSource {
    input: FfmpegInput,
    info: SourceInfo,
    decoder: Decoder,
    last_frame: Instant,
    /// The first frame's time, which is a stream's beginning.
    first: Option<i64>,
}

impl FfmpegSource {
    /// Has ffmpeg decode `input`.
    ///
    /// # Errors
    /// When ffmpeg is not installed, or what it says when it cannot read the input.
    pub fn open(input: FfmpegInput) -> Result<Self, CaptureError> {
        let (decoder, header) = Decoder::start(&input).map_err(|why| input.fault(why))?;
        let info = SourceInfo {
            kind: input.kind,
            uri: input.name.clone(),
            size: Some(header.size),
            fps: Some(f64::from(header.rate.0) / f64::from(header.rate.1)),
            frames: None,
            live: input.stall.is_some(),
        };
        Ok(Self {
            input,
            info,
            decoder,
            last_frame: Instant::now(),
            first: None,
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
                    self.last_frame = Instant::now();
                    let timed = self.decoder.with_time(image);
                    let (image, mut pts) = timed.map_err(|why| self.input.fault(why))?;
                    if self.info.live {
                        pts.ticks -= *self.first.get_or_insert(pts.ticks);
                    }
                    return Ok(Captured::Frame {
                        image,
                        pts,
                        name: None,
                    });
                }
                Ok(Err(why)) => {
                    let why = self.decoder.first_error().unwrap_or(why);
                    return Err(self.input.fault(why));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let silent = self.last_frame.elapsed();
                    if self.input.stall.is_some_and(|stall| silent > stall) {
                        let why = format!("nothing came for {:.1} s", silent.as_secs_f64());
                        return Err(self.input.fault(why));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return match self.decoder.outcome() {
                        Ok(()) => Ok(Captured::End),
                        Err(why) => Err(self.input.fault(why)),
                    };
                }
            }
        }
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        let started = Decoder::start(&self.input);
        self.decoder = started.map_err(|why| self.input.fault(why))?.0;
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
    fn start(input: &FfmpegInput) -> Result<(Self, Y4mHeader), String> {
        let mut child = Command::new("ffmpeg")
            .args([
                "-nostdin",
                "-hide_banner",
                "-loglevel",
                "level+info",
                "-nostats",
            ])
            .args(&input.arguments)
            .arg("-i")
            .arg(&input.input)
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
