//! The source `video`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::flow::StopSignal;
use crate::frame::MediaTime;
use mobilens_image::{Image, SizePx};

use super::super::source::name_of;
use super::super::{CaptureError, Captured, Source, SourceInfo};
use super::decode::{AvcDecoder, Decoded};
use super::demux::{CodedFrame, Demuxer};
use super::error::ParamError;
use super::error::VideoError;
use super::movie::Rotation;
use super::order::PresentationQueue;

/// Frames that are tried before a file without a single picture is given up.
const TRIES: u32 = 25;

/// A recording, frame by frame, in presentation order.
///
/// A frame that is damaged, or that refers to one that was, is [`Captured::Undecodable`]: after a
/// loss nothing is shown before the next keyframe. A file that was cut off gives what is there,
/// then an error that says so.
pub struct VideoSource {
    path: PathBuf,
    info: SourceInfo,
    timescale: u32,
    demuxer: Demuxer<File>,
    decoder: AvcDecoder,
    queue: PresentationQueue<Result<Image, String>>,
    /// The coded frame at hand; kept for its buffer.
    sample: Vec<u8>,
    description: Option<u32>,
    /// Frames shown before this time refer to what was before the place where decoding began.
    not_before: i64,
    /// Frames lost before the first picture, and why the first of them was; none after it.
    fruitless: Option<(u32, String)>,
    /// How reading ended; the queue may still hold frames.
    ended: Option<Result<(), VideoError>>,
}

impl VideoSource {
    /// Opens an MP4 or MOV file.
    ///
    /// # Errors
    /// When the file cannot be read, is not MP4 or MOV, lacks its index, has no video track, or
    /// one that is not H.264 of the kinds that are decoded (progressive, 4:2:0, 8 bits).
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        Self::try_open(path).map_err(|error| capture_error(path, error))
    }

    fn try_open(path: &Path) -> Result<Self, VideoError> {
        // Looked at before it is opened: opening a named pipe waits for a writer.
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() {
                "it is a folder"
            } else {
                "it is not a regular file"
            };
            return Err(VideoError::Io(std::io::Error::other(what)));
        }
        let demuxer = Demuxer::open(File::open(path)?)?;
        let track = demuxer.track();
        let mut decoder = AvcDecoder::new(track.rotation);
        if let Some(description) = track.descriptions.first() {
            decoder.configure(description).map_err(tool)?;
        }
        let extent = demuxer.extent();
        let info = SourceInfo {
            kind: "video",
            uri: name_of(path),
            size: decoder.first_sps().map(|sps| match track.rotation {
                Rotation::None | Rotation::Half => sps.size,
                Rotation::Cw90 | Rotation::Cw270 => SizePx {
                    width: sps.size.height,
                    height: sps.size.width,
                },
            }),
            fps: extent.and_then(|extent| extent.fps),
            frames: extent.map(|extent| extent.frames),
            live: false,
        };
        Ok(Self {
            path: path.to_owned(),
            info,
            timescale: track.timescale,
            queue: PresentationQueue::new(decoder.max_dpb_frames()),
            demuxer,
            decoder,
            sample: Vec::new(),
            description: Some(0),
            not_before: i64::MIN,
            fruitless: Some((0, String::new())),
            ended: None,
        })
    }

    /// Reads and decodes one coded frame.
    fn advance(&mut self) {
        match self.demuxer.next(&mut self.sample) {
            Ok(Some(frame)) => {
                self.decode(&frame);
                self.queue.raise_floor(frame.floor);
            }
            Ok(None) => self.end(Ok(())),
            Err(error) => self.end(Err(error)),
        }
    }

    fn end(&mut self, how: Result<(), VideoError>) {
        self.ended = Some(match (&mut self.fruitless, how) {
            (Some((1.., why)), Ok(())) => Err(VideoError::NoPicture {
                why: std::mem::take(why),
            }),
            (_, how) => how,
        });
        self.queue.raise_floor(i64::MAX);
    }

    fn decode(&mut self, frame: &CodedFrame) {
        if frame.restart {
            self.decoder.begin();
        }
        if self.description != Some(frame.description) {
            self.description = Some(frame.description);
            if let Err(why) = self.configure(frame.description) {
                self.push(frame, Err(why));
                return;
            }
        }
        let waited = self.decoder.waits();
        let decoded = self.decoder.decode(&mut self.sample, frame.sync);
        if waited && !self.decoder.waits() {
            self.not_before = frame.pts;
        }
        self.count_fruitless(&decoded);
        match decoded {
            Decoded::Picture(_) if frame.pts < self.not_before => {
                self.push(frame, Err("a frame that it refers to is lost".to_owned()));
            }
            Decoded::Picture(image) => self.push(frame, Ok(image)),
            Decoded::Lost(why) => self.push(frame, Err(why)),
            Decoded::Skipped(why) => self.push(frame, Err(why.to_owned())),
            Decoded::Nothing => {}
        }
    }

    /// Gives a file up that has many frames and no picture.
    fn count_fruitless(&mut self, decoded: &Decoded) {
        match (decoded, &mut self.fruitless) {
            (Decoded::Picture(_), fruitless) => *fruitless = None,
            (Decoded::Lost(why), Some((tries, first))) => {
                if *tries == 0 {
                    why.clone_into(first);
                }
                *tries += 1;
                if *tries == TRIES {
                    self.end(Ok(()));
                }
            }
            _ => {}
        }
    }

    fn configure(&mut self, description: u32) -> Result<(), String> {
        let descriptions = &self.demuxer.track().descriptions;
        let description = descriptions
            .get(description as usize)
            .ok_or("the index does not say how it is coded")?;
        self.decoder
            .configure(description)
            .map_err(|error| error.to_string())
    }

    fn push(&mut self, frame: &CodedFrame, entry: Result<Image, String>) {
        if frame.shown {
            self.queue.push(frame.pts, entry);
        }
    }
}

impl Source for VideoSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, stop: &StopSignal) -> Result<Captured, CaptureError> {
        loop {
            if stop.is_stopped() {
                return Ok(Captured::End);
            }
            if let Some((ticks, entry)) = self.queue.pop() {
                let pts = MediaTime {
                    ticks,
                    rate_hz: self.timescale,
                };
                return Ok(match entry {
                    Ok(image) => Captured::Frame {
                        image,
                        pts,
                        name: None,
                    },
                    Err(why) => Captured::Undecodable { pts, why },
                });
            }
            match self.ended.replace(Ok(())) {
                Some(Ok(())) => return Ok(Captured::End),
                Some(Err(error)) => return Err(capture_error(&self.path, error)),
                None => self.ended = None,
            }
            self.advance();
        }
    }

    fn rewind(&mut self) -> Result<(), CaptureError> {
        self.demuxer.rewind();
        self.queue.reset(self.decoder.max_dpb_frames());
        self.ended = None;
        Ok(())
    }
}

/// The error of a stream that is sound but not decoded.
fn tool(error: ParamError) -> VideoError {
    VideoError::Tool {
        what: error.to_string(),
    }
}

fn capture_error(path: &Path, error: VideoError) -> CaptureError {
    let path = path.to_owned();
    match error {
        VideoError::Io(error) => CaptureError::Unreadable {
            path,
            why: error.to_string(),
        },
        error => CaptureError::Malformed {
            path,
            why: error.to_string(),
        },
    }
}
