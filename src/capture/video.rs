//! The source `video`: MP4 or MOV files with H.264.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mobilens_video::VideoError;
use mobilens_video::mp4::{Mp4Reader, ReadFrame};

use super::source::{CaptureError, Captured, Source, SourceInfo, file_name, malformed, unreadable};
use crate::flow::StopSignal;
use crate::frame::MediaTime;

/// The frames of an MP4 or MOV file in presentation order.
pub struct VideoSource {
    path: PathBuf,
    info: SourceInfo,
    reader: Mp4Reader<File>,
}

impl VideoSource {
    /// Opens an MP4 or MOV file.
    ///
    /// # Errors
    /// When the file cannot be read, is not MP4 or MOV, has no `moov` box or no video track, or when
    /// the codec is not H.264 of a supported profile (progressive, 4:2:0, 8 bits per sample).
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        // Checked before it is opened: opening a named pipe blocks until there is a writer.
        let metadata = fs::metadata(path).map_err(|e| unreadable(path, &e))?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() {
                "it is a folder"
            } else {
                "not a regular file"
            };
            return Err(unreadable(path, &std::io::Error::other(what)));
        }
        let file = File::open(path).map_err(|e| unreadable(path, &e))?;
        let reader = Mp4Reader::open(file).map_err(|error| capture_error(path, error))?;
        let info = SourceInfo {
            kind: "video",
            uri: file_name(path),
            size: reader.size(),
            fps: reader.fps(),
            frames: reader.frames(),
            live: false,
        };
        Ok(Self {
            path: path.to_owned(),
            info,
            reader,
        })
    }
}

impl Source for VideoSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError> {
        while !stop.is_stopped() {
            let read = self.reader.read();
            match read.map_err(|error| capture_error(&self.path, error))? {
                ReadFrame::Frame { pts, image } => {
                    let pts = MediaTime {
                        ticks: pts,
                        rate_hz: self.reader.timescale(),
                    };
                    return Ok(match image {
                        Ok(image) => Captured::Frame {
                            image,
                            pts,
                            name: None,
                        },
                        Err(why) => Captured::Undecodable { pts, why },
                    });
                }
                ReadFrame::Pending => {}
                ReadFrame::End => break,
            }
        }
        Ok(Captured::End)
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        self.reader.rewind();
        Ok(())
    }
}

fn capture_error(path: &Path, error: VideoError) -> CaptureError {
    match error {
        VideoError::Io(error) => unreadable(path, &error),
        error => malformed(path, error.to_string()),
    }
}
