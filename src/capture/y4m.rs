//! The source `video` for Y4M (YUV4MPEG2), from a file or standard input.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::source::{CaptureError, Captured, Source, SourceInfo, file_name, malformed, unreadable};
use crate::flow::StopSignal;
use crate::frame::MediaTime;
use mobilens_image::Image;
use mobilens_video::y4m::{Y4mHeader, Y4mReader};

/// Interval at which a wait for a pipe checks the stop signal.
const POLL: Duration = Duration::from_millis(100);
/// Frames that are read ahead from a pipe (queue capacity).
const FRAME_QUEUE_CAPACITY: usize = 2;

/// A Y4M file, or `-` for standard input.
pub struct Y4mSource {
    path: PathBuf,
    info: SourceInfo,
    header: Y4mHeader,
    frames: Frames,
    /// Index of the next frame.
    next_index: i64,
}

type Reader = Y4mReader<Box<dyn Read + Send>>;

/// Where frames come from.
enum Frames {
    /// A file, which is read when a frame is wanted.
    File(Reader),
    /// A pipe, whose writer may pause for ever: read on a thread of its own.
    Pipe(Receiver<Result<Option<Image>, String>>),
}

impl Frames {
    fn new(reader: Reader, is_file: bool) -> std::io::Result<Self> {
        if is_file {
            return Ok(Self::File(reader));
        }
        let (sender, frames) = sync_channel(FRAME_QUEUE_CAPACITY);
        let mut reader = reader;
        let read = move || {
            loop {
                let frame = reader.next_frame();
                let is_last = !matches!(frame, Ok(Some(_)));
                if sender.send(frame).is_err() || is_last {
                    return;
                }
            }
        };
        // Never joined: the writer may keep it waiting for ever.
        std::thread::Builder::new()
            .name("0-y4m".to_owned())
            .spawn(read)?;
        Ok(Self::Pipe(frames))
    }

    /// The next frame; `None` at the end, or when the stop signal is given.
    fn next(&mut self, stop: &StopSignal) -> Result<Option<Image>, String> {
        let frames = match self {
            Self::File(reader) => return reader.next_frame(),
            Self::Pipe(frames) => frames,
        };
        while !stop.is_stopped() {
            match frames.recv_timeout(POLL) {
                Ok(frame) => return frame,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(None)
    }
}

impl Y4mSource {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    /// When it cannot be read or is not Y4M with 4:2:0 chroma subsampling and 8 bits per sample.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let is_stdin = path == Path::new("-");
        let reader: Box<dyn Read + Send> = if is_stdin {
            Box::new(std::io::stdin())
        } else {
            let file = File::open(path).map_err(|e| unreadable(path, &e))?;
            Box::new(file)
        };
        let reader = Y4mReader::new(reader).map_err(|why| malformed(path, why))?;
        let header = *reader.header();
        let Y4mHeader { size, rate, .. } = header;
        let is_file = !is_stdin && path.is_file();
        let frames = Frames::new(reader, is_file).map_err(|e| unreadable(path, &e))?;
        let uri = if is_stdin {
            "standard input".to_owned()
        } else {
            file_name(path)
        };
        let info = SourceInfo {
            kind: "video",
            uri,
            size: Some(size),
            fps: Some(f64::from(rate.0) / f64::from(rate.1)),
            frames: None,
            live: false,
        };
        Ok(Self {
            path: path.to_owned(),
            info,
            header,
            frames,
            next_index: 0,
        })
    }
}

impl Source for Y4mSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError> {
        if stop.is_stopped() {
            return Ok(Captured::End);
        }
        let frame = self
            .frames
            .next(stop)
            .map_err(|why| malformed(&self.path, why))?;
        let (numerator, denominator) = self.header.rate;
        let pts = MediaTime {
            ticks: self.next_index.saturating_mul(i64::from(denominator)),
            rate_hz: numerator,
        };
        self.next_index += 1;
        Ok(frame.map_or(Captured::End, |image| Captured::Frame {
            image,
            pts,
            name: None,
        }))
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        if self.path == Path::new("-") {
            return Err(malformed(
                &self.path,
                "standard input cannot be rewound (not seekable)".to_owned(),
            ));
        }
        *self = Self::open(&self.path)?;
        Ok(())
    }
}
