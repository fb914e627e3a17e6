//! The source `video` for Y4M (YUV4MPEG2), from a file or standard input.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use mobilens_video::y4m::{Y4mHeader, Y4mReader};

use super::source::{CaptureError, Captured, Source, SourceInfo, file_name, malformed, unreadable};
use crate::flow::StopSignal;
use crate::frame::MediaTime;

/// A Y4M file, or `-` for standard input.
pub struct Y4mSource {
    path: PathBuf,
    info: SourceInfo,
    reader: Y4mReader<Box<dyn Read + Send>>,
    /// Index of the next frame.
    next_index: i64,
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
        let Y4mHeader { size, rate, .. } = *reader.header();
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
            reader,
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
            .reader
            .next_frame()
            .map_err(|why| malformed(&self.path, why))?;
        let (numerator, denominator) = self.reader.header().rate;
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
