//! Decodes the frames of an MP4 or MOV file in presentation order.

use std::io::{Read, Seek};

use mobilens_image::{Image, SizePx};

use super::demux::{CodedFrame, Demuxer};
use crate::error::{ParamError, VideoError};
use crate::h264::{AvcDecoder, Decoded, PresentationQueue, Rotation};

/// Coded frames that are tried before a file without a single picture is given up.
const TRIES: u32 = 25;

/// One step of [`Mp4Reader::read`].
#[derive(Debug)]
pub enum ReadFrame {
    /// The next frame in presentation order.
    Frame {
        /// Presentation time in ticks of [`Mp4Reader::timescale`], after edits.
        pts: i64,
        /// The picture, or why it cannot be decoded.
        image: Result<Image, String>,
    },
    /// A coded frame was decoded, but no picture is due yet: read on.
    Pending,
    /// No more frames.
    End,
}

/// Reads the video track of an MP4 or MOV file, frame by frame, in presentation order.
///
/// A frame that is damaged, or that refers to one that was, has an error in place of its picture:
/// after a loss nothing is shown before the next keyframe. A file that was cut off gives what is
/// there, then an error that says so.
pub struct Mp4Reader<F> {
    demuxer: Demuxer<F>,
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

impl<F: Read + Seek> Mp4Reader<F> {
    /// Reads the index of `file`.
    ///
    /// # Errors
    /// When it is not MP4 or MOV, lacks its index, has no video track, or one that is not H.264 of
    /// the kinds that are decoded (progressive, 4:2:0, 8 bits).
    pub fn open(file: F) -> Result<Self, VideoError> {
        let demuxer = Demuxer::open(file)?;
        let track = demuxer.track();
        let mut decoder = AvcDecoder::new(track.rotation);
        if let Some(config) = track.descriptions.first() {
            decoder.configure(config).map_err(unsupported)?;
        }
        Ok(Self {
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

    /// Size of the upright frames, as far as known.
    pub fn size(&self) -> Option<SizePx> {
        let size = self.decoder.size()?;
        Some(match self.demuxer.track().rotation {
            Rotation::None | Rotation::Half => size,
            Rotation::Cw90 | Rotation::Cw270 => SizePx {
                width: size.height,
                height: size.width,
            },
        })
    }

    /// Mean number of frames a second, where the index tells.
    pub fn fps(&self) -> Option<f64> {
        self.demuxer.extent().and_then(|extent| extent.fps)
    }

    /// Number of frames, where the index tells; a fragmented file must be read to its end.
    pub fn frames(&self) -> Option<u64> {
        self.demuxer.extent().map(|extent| extent.frames)
    }

    /// Ticks a second of presentation times; never 0.
    pub fn timescale(&self) -> u32 {
        self.demuxer.track().timescale
    }

    /// Gives the next frame, or decodes one coded frame on the way to it.
    ///
    /// # Errors
    /// When the file cannot be read on; a single damaged frame is a [`ReadFrame::Frame`].
    pub fn read(&mut self) -> Result<ReadFrame, VideoError> {
        if let Some((pts, image)) = self.queue.pop() {
            return Ok(ReadFrame::Frame { pts, image });
        }
        match self.ended.replace(Ok(())) {
            Some(Ok(())) => return Ok(ReadFrame::End),
            Some(Err(error)) => return Err(error),
            None => self.ended = None,
        }
        self.advance();
        Ok(ReadFrame::Pending)
    }

    /// Goes back to the first frame.
    pub fn rewind(&mut self) {
        self.demuxer.rewind();
        self.queue.reset(self.decoder.max_dpb_frames());
        self.ended = None;
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

/// The error of a stream that is sound but not decoded.
fn unsupported(error: ParamError) -> VideoError {
    VideoError::Tool {
        what: error.to_string(),
    }
}
