//! The source `video` for Motion JPEG in AVI.

use std::fs::File;
use std::path::{Path, PathBuf};

use mobilens_video::avi::{AviError, AviRead, AviReader};

use super::source::{CaptureError, Captured, Source, SourceInfo, file_name, malformed, unreadable};
use crate::flow::StopSignal;
use crate::frame::MediaTime;

/// The frames of an AVI file with Motion JPEG.
pub struct AviSource {
    path: PathBuf,
    info: SourceInfo,
    reader: AviReader<File>,
}

impl AviSource {
    /// Opens an AVI file.
    ///
    /// # Errors
    /// When it cannot be read or has no Motion JPEG stream.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let file = File::open(path).map_err(|e| unreadable(path, &e))?;
        let reader = AviReader::new(file)
            .map_err(|error| malformed(path, error.to_string()))?
            .ok_or_else(|| malformed(path, "no Motion JPEG stream".to_owned()))?;
        let (rate, scale) = reader.rate();
        Ok(Self {
            path: path.to_owned(),
            info: SourceInfo {
                kind: "video",
                uri: file_name(path),
                size: Some(reader.size()),
                fps: Some(f64::from(rate) / f64::from(scale)),
                frames: reader.frames(),
                live: false,
            },
            reader,
        })
    }
}

impl Source for AviSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError> {
        while !stop.is_stopped() {
            let read = self.reader.read();
            let frame = match read.map_err(|why| malformed(&self.path, why))? {
                AviRead::Frame(frame) => frame,
                AviRead::Pending => continue,
                AviRead::End => break,
            };
            let (rate, scale) = self.reader.rate();
            let pts = MediaTime {
                ticks: frame.index.saturating_mul(i64::from(scale)),
                rate_hz: rate,
            };
            return Ok(match frame.picture {
                None => continue,
                Some(Ok(image)) => Captured::Frame {
                    image,
                    pts,
                    name: None,
                },
                Some(Err(why)) => Captured::Undecodable { pts, why },
            });
        }
        Ok(Captured::End)
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

/// Whether a file is an AVI with a Motion JPEG stream; also one that is too large to be decoded.
pub fn is_mjpeg_avi(path: &Path) -> bool {
    // A pipe cannot be read twice.
    let is_file = std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
    let opened = File::open(path).ok().filter(|_| is_file);
    opened.is_some_and(|file| {
        let reader = AviReader::new(file);
        matches!(reader, Ok(Some(_)) | Err(AviError::TooLarge { .. }))
    })
}
