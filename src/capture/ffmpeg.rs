//! Decodes any file or stream with an `ffmpeg` process that writes raw frames to a pipe.
//!
//! Frames come as Y4M on its standard output, which has no timestamps; their presentation times come
//! on its standard error, where the filter `showinfo` logs a line before each frame is output. When
//! this process ends, in any way, ffmpeg is killed (`spawn`). Secrets are kept off its command line
//! (`ffmpeg_command`).

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use url::Url;

use super::ffmpeg_command::{FfmpegCommand, Redaction};
#[cfg(feature = "rtsp")]
use super::rtsp::RtspRequest;
use super::source::{CaptureError, Captured, Source, SourceInfo, file_name, redacted_url};
use crate::flow::StopSignal;
use crate::frame::MediaTime;
use mobilens_image::{Image, YuvColour, YuvMatrix, YuvRange};
use mobilens_video::y4m::{Y4mHeader, Y4mReader};

/// Interval at which a wait for a frame checks the stop signal.
const POLL: Duration = Duration::from_millis(100);
/// How long to wait for the timestamp of a frame that has arrived.
const SHOWINFO_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for opening a URL: until ffmpeg has found a video stream in it and its first frame.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// I/O timeout for HTTP servers, in microseconds.
const HTTP_TIMEOUT_US: &str = "15000000";
/// Frames that are decoded ahead (queue capacity).
const FRAME_QUEUE_CAPACITY: usize = 2;

/// Input of ffmpeg.
#[derive(Clone)]
pub struct FfmpegInput {
    /// A file or a URL.
    pub input: OsString,
    /// Its name, without folders and without credentials.
    pub name: String,
    /// `video` or `rtsp`.
    pub kind: &'static str,
    /// Input options: arguments before `-i` (for instance `-hwaccel`).
    pub arguments: Vec<String>,
    /// Stall timeout of a live source: without a frame for so long, it has failed. None for a file.
    pub stall: Option<Duration>,
}

impl FfmpegInput {
    /// A file, or the URL of one.
    ///
    /// # Errors
    /// When it is an invalid URL.
    pub fn file(path: &Path, arguments: &[String]) -> Result<Self, String> {
        let text = path.to_string_lossy();
        let (mut input_options, mut name) = (arguments.to_vec(), file_name(path));
        if text.contains("://") {
            let url = Url::parse(&text).map_err(|e| format!("invalid URL: {e}"))?;
            name = redacted_url(&url);
            if url.scheme().starts_with("http") {
                // A server that does not respond must not block the run for ever.
                input_options.splice(0..0, ["-rw_timeout", HTTP_TIMEOUT_US].map(str::to_owned));
            }
        }
        Ok(Self {
            input: path.as_os_str().to_owned(),
            name,
            kind: "video",
            arguments: input_options,
            stall: None,
        })
    }

    #[cfg(feature = "rtsp")]
    /// A network camera.
    pub fn rtsp(request: &RtspRequest, arguments: &[String]) -> Self {
        let transport = if request.udp { "udp" } else { "tcp" };
        let timeout_us = request.stall.as_micros().to_string();
        let options = [
            "-rtsp_transport",
            transport,
            "-fflags",
            "nobuffer",
            "-timeout",
            &timeout_us,
        ];
        let mut input_options = options.map(str::to_owned).to_vec();
        input_options.extend_from_slice(arguments);
        Self {
            input: request.url_with_credentials().into(),
            name: request.name(),
            kind: "rtsp",
            arguments: input_options,
            stall: Some(request.stall),
        }
    }

    /// How long opening may take; no limit for a file.
    fn open_timeout(&self) -> Option<Duration> {
        self.name.contains("://").then_some(OPEN_TIMEOUT)
    }

    fn error(&self, why: String) -> CaptureError {
        match self.stall {
            Some(_) => CaptureError::Device {
                device: self.name.clone(),
                why,
            },
            None => CaptureError::Malformed {
                path: self.display_path(),
                why,
            },
        }
    }

    /// The path of a file, else the name.
    fn display_path(&self) -> PathBuf {
        if self.name.contains("://") {
            PathBuf::from(&self.name)
        } else {
            PathBuf::from(&self.input)
        }
    }
}

/// A file or stream that `ffmpeg` decodes.
pub struct FfmpegSource {
    input: FfmpegInput,
    info: SourceInfo,
    process: FfmpegProcess,
    last_frame: Instant,
    /// Timestamp of the first frame: start of a live stream.
    first_ticks: Option<i64>,
    /// Ends a wait for the stream header.
    stop: StopSignal,
}

impl FfmpegSource {
    /// Starts ffmpeg on `input`, and waits for the stream header.
    ///
    /// # Errors
    /// When ffmpeg is not installed, ffmpeg's first error when it cannot read the input, or when a URL
    /// gives nothing within a deadline or before `stop` is given.
    pub fn open(input: FfmpegInput, stop: &StopSignal) -> Result<Self, CaptureError> {
        let started = FfmpegProcess::start(&input, stop);
        let (process, header) = started.map_err(|why| input.error(why))?;
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
            process,
            last_frame: Instant::now(),
            first_ticks: None,
            stop: stop.clone(),
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
            match self.process.frames.recv_timeout(POLL) {
                Ok(Ok(image)) => {
                    self.last_frame = Instant::now();
                    let timed = self.process.with_time(image);
                    let (image, mut pts) = timed.map_err(|why| self.input.error(why))?;
                    if self.info.live {
                        pts.ticks -= *self.first_ticks.get_or_insert(pts.ticks);
                    }
                    return Ok(Captured::Frame {
                        image,
                        pts,
                        name: None,
                    });
                }
                Ok(Err(why)) => {
                    let why = self.process.first_error().unwrap_or(why);
                    return Err(self.input.error(why));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let silent = self.last_frame.elapsed();
                    if self.input.stall.is_some_and(|stall| silent > stall) {
                        let why = format!("no frame received for {:.1} s", silent.as_secs_f64());
                        return Err(self.input.error(why));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return match self.process.exit_result() {
                        Ok(()) => Ok(Captured::End),
                        Err(why) => Err(self.input.error(why)),
                    };
                }
            }
        }
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        let started = FfmpegProcess::start(&self.input, &self.stop);
        self.process = started.map_err(|why| self.input.error(why))?.0;
        Ok(())
    }

    fn starts_processes(&self) -> bool {
        true
    }
}

/// A running ffmpeg process.
struct FfmpegProcess {
    child: Child,
    frames: Receiver<Result<Image, String>>,
    showinfo: Receiver<ShowInfo>,
    first_error: Arc<Mutex<Option<String>>>,
    reader_threads: Vec<JoinHandle<()>>,
    rate_hz: u32,
    numerator: i64,
    colour: Option<YuvColour>,
}

/// A log line of the filter `showinfo`.
enum ShowInfo {
    /// One tick lasts `numerator / rate_hz` seconds.
    TimeBase { numerator: i64, rate_hz: u32 },
    /// Presentation time of the next frame, in ticks.
    Frame(i64),
    /// Colour matrix and range.
    Colour(YuvColour),
}

impl FfmpegProcess {
    fn start(input: &FfmpegInput, stop: &StopSignal) -> Result<(Self, Y4mHeader), String> {
        let mut child = FfmpegCommand::new(input)?.spawn()?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err("cannot open ffmpeg's output".to_owned());
        };
        let first_error = Arc::new(Mutex::new(None));
        let (showinfo_tx, showinfo) = channel();
        let stderr_reader = {
            let first_error = Arc::clone(&first_error);
            let redaction = Redaction::new(input);
            std::thread::spawn(move || {
                read_stderr(stderr, &showinfo_tx, &first_error, &redaction);
            })
        };
        let mut process = Self {
            child,
            frames: sync_channel(0).1,
            showinfo,
            first_error,
            reader_threads: vec![stderr_reader],
            rate_hz: 1,
            numerator: 1,
            colour: None,
        };
        let (header_tx, header_rx) = sync_channel(1);
        let (frames_tx, frames) = sync_channel(FRAME_QUEUE_CAPACITY);
        process.frames = frames;
        let read = move || match Y4mReader::new(stdout) {
            Ok(reader) => {
                let _ = header_tx.send(Ok(*reader.header()));
                read_frames(reader, &frames_tx);
            }
            Err(why) => {
                let _ = header_tx.send(Err(why));
            }
        };
        process.reader_threads.push(std::thread::spawn(read));
        let header = process.wait_for_header(&header_rx, input.open_timeout(), stop)?;
        Ok((process, header))
    }

    /// Errors of opening the input come before the header. A process that is waited for no longer is
    /// killed when it is dropped.
    fn wait_for_header(
        &mut self,
        header: &Receiver<Result<Y4mHeader, String>>,
        timeout: Option<Duration>,
        stop: &StopSignal,
    ) -> Result<Y4mHeader, String> {
        let started = Instant::now();
        loop {
            match header.recv_timeout(POLL) {
                Ok(Ok(header)) => return Ok(header),
                Ok(Err(why)) => return Err(self.exit_result().err().unwrap_or(why)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("the thread that reads ffmpeg's output ended".to_owned());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if stop.is_stopped() {
                return Err("interrupted".to_owned());
            }
            if let Some(timeout) = timeout.filter(|timeout| started.elapsed() > *timeout) {
                let why = format!("no video received for {:.0} s", timeout.as_secs_f64());
                return Err(self.first_error().unwrap_or(why));
            }
        }
    }

    /// A frame with its presentation time, and its colour matrix and range.
    fn with_time(&mut self, image: Image) -> Result<(Image, MediaTime), String> {
        let late = |_| "no timestamps from ffmpeg (filter showinfo)".to_owned();
        let ticks = loop {
            match self.showinfo.recv_timeout(SHOWINFO_TIMEOUT).map_err(late)? {
                ShowInfo::Frame(ticks) => break ticks,
                showinfo => self.apply(showinfo),
            }
        };
        if self.colour.is_none() {
            // It is logged right after the first frame's timestamp.
            while self.colour.is_none() {
                match self.showinfo.recv_timeout(SHOWINFO_TIMEOUT) {
                    Ok(showinfo) => self.apply(showinfo),
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

    fn apply(&mut self, showinfo: ShowInfo) {
        match showinfo {
            ShowInfo::TimeBase { numerator, rate_hz } => {
                (self.numerator, self.rate_hz) = (numerator, rate_hz);
            }
            ShowInfo::Colour(colour) => self.colour = Some(colour),
            ShowInfo::Frame(_) => {}
        }
    }

    /// Waits for ffmpeg to exit: its first error, if it failed.
    fn exit_result(&mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|e| e.to_string())?;
        for reader in self.reader_threads.drain(..) {
            let _ = reader.join();
        }
        if status.success() {
            return Ok(());
        }
        Err(self
            .first_error()
            .unwrap_or_else(|| format!("ffmpeg exited with {status}")))
    }

    fn first_error(&self) -> Option<String> {
        self.first_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for FfmpegProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The reader threads end with its pipes; the one of frames may be blocked on a full queue.
        let (_, disconnected) = sync_channel(0);
        self.frames = disconnected;
        for reader in self.reader_threads.drain(..) {
            let _ = reader.join();
        }
    }
}

/// Reads frames until the end of the stream, or until the receiver is dropped.
fn read_frames(mut reader: Y4mReader<ChildStdout>, frames: &SyncSender<Result<Image, String>>) {
    while let Some(frame) = reader.next_frame().transpose() {
        let is_last = frame.is_err();
        if frames.send(frame).is_err() || is_last {
            break;
        }
    }
}

/// Reads ffmpeg's log: timestamps, colours, and the first error.
fn read_stderr(
    stderr: ChildStderr,
    showinfo: &Sender<ShowInfo>,
    first_error: &Mutex<Option<String>>,
    redaction: &Redaction,
) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if line.contains("showinfo") {
            if let Some(message) = parse_showinfo(&line) {
                let _ = showinfo.send(message);
            }
        } else if let Some(at) = ["[error] ", "[fatal] "]
            .iter()
            .find_map(|level| Some(line.find(level)? + level.len()))
        {
            let what = redaction.apply(line[at..].trim());
            tracing::debug!("ffmpeg: {what}");
            let mut first = first_error.lock().unwrap_or_else(PoisonError::into_inner);
            // Of a script, the error that follows says why it cannot be opened.
            let is_better = |known: &String| {
                known.contains("Impossible to open") && !what.contains("Invalid data")
            };
            if first.as_ref().is_none_or(is_better) {
                *first = Some(format!("ffmpeg: {what}"));
            }
        }
    }
}

fn parse_showinfo(line: &str) -> Option<ShowInfo> {
    let after = |key: &str| {
        let rest = &line[line.find(key)? + key.len()..];
        rest.split_whitespace().next()
    };
    if line.contains("config in") {
        let (numerator, rate) = after("time_base:")?.trim_end_matches(',').split_once('/')?;
        let rate_hz: u32 = rate.parse().ok().filter(|rate| *rate > 0)?;
        return Some(ShowInfo::TimeBase {
            numerator: numerator.parse().ok()?,
            rate_hz,
        });
    }
    if let Some(ticks) = after(" pts:").filter(|_| line.contains(" n:")) {
        return ticks.parse().ok().map(ShowInfo::Frame);
    }
    let range = after("color_range:")?;
    Some(ShowInfo::Colour(YuvColour {
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
