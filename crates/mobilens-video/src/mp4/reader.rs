//! Reads and decodes the frames of an MP4 or MOV file in presentation order.

use std::io::{Read, Seek};

use mobilens_image::{Image, SizePx};

use super::demux::{CodedFrame, Demuxer};
use super::samples::Step;
use crate::error::{ParameterSetError, VideoError};
use crate::h264::{AvcDecoder, Decoded, PresentationQueue, Rotation};

/// Frames that may fail before the first picture, until reading ends with an error.
const MAX_FAILED_FRAMES: u32 = 25;

/// One step of [`Mp4Reader::read`].
#[derive(Debug)]
pub enum ReadFrame {
    /// The next frame in presentation order.
    Frame {
        /// Presentation time in ticks of [`Mp4Reader::timescale`], after the edit list is applied.
        pts: i64,
        /// The picture, or why it cannot be decoded.
        image: Result<Image, String>,
    },
    /// A coded frame was decoded or a part of the file skipped, but no picture can be output yet:
    /// call again.
    Pending,
    /// No more frames.
    End,
}

/// Reads the video track of an MP4 or MOV file, frame by frame, in presentation order.
///
/// A damaged frame, and all frames after it up to the next keyframe, have an error in place of their
/// picture. A truncated file gives the frames that are there, then an error.
pub struct Mp4Reader<F> {
    demuxer: Demuxer<F>,
    decoder: AvcDecoder,
    queue: PresentationQueue<Result<Image, String>>,
    /// The current coded frame; kept to reuse its buffer.
    sample: Vec<u8>,
    /// Index of the sample description that the decoder is configured with.
    description: Option<u32>,
    /// Presentation time of the keyframe at which decoding started: earlier frames after it (leading
    /// pictures of an open GOP) refer to frames that were not decoded.
    random_access_pts: i64,
    /// Number of failed frames before the first picture, and the error of the first one; none once
    /// there was a picture.
    early_failures: Option<(u32, String)>,
    /// How reading ended; the queue may still contain frames.
    ended: Option<Result<(), VideoError>>,
}

impl<F: Read + Seek> Mp4Reader<F> {
    /// Reads the movie box (`moov`) of `file`.
    ///
    /// # Errors
    /// When it is not MP4 or MOV, has no `moov` box or no video track, or when the codec is not H.264
    /// of a supported profile (progressive, 4:2:0, 8 bits per sample).
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
            random_access_pts: i64::MIN,
            early_failures: Some((0, String::new())),
            ended: None,
        })
    }

    /// Size of the frames after cropping and rotation, once an SPS is known.
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

    /// Mean frame rate; none for a fragmented file.
    pub fn fps(&self) -> Option<f64> {
        self.demuxer.stats().and_then(|stats| stats.fps)
    }

    /// Number of frames; none for a fragmented file, which must be read to its end.
    pub fn frames(&self) -> Option<u64> {
        self.demuxer.stats().map(|stats| stats.frames)
    }

    /// Ticks per second of presentation times; never 0.
    pub fn timescale(&self) -> u32 {
        self.demuxer.track().timescale
    }

    /// Returns the next frame, or decodes one more coded frame.
    ///
    /// # Errors
    /// When the file cannot be read any further; a damaged frame is a [`ReadFrame::Frame`].
    pub fn read(&mut self) -> Result<ReadFrame, VideoError> {
        if let Some((pts, image)) = self.queue.pop() {
            return Ok(ReadFrame::Frame { pts, image });
        }
        match self.ended.replace(Ok(())) {
            Some(Ok(())) => return Ok(ReadFrame::End),
            Some(Err(error)) => return Err(error),
            None => self.ended = None,
        }
        self.decode_next();
        Ok(ReadFrame::Pending)
    }

    /// Seeks to the first frame.
    pub fn rewind(&mut self) {
        self.demuxer.rewind();
        self.queue.reset(self.decoder.max_dpb_frames());
        self.ended = None;
    }

    /// Reads and decodes one coded frame.
    fn decode_next(&mut self) {
        match self.demuxer.next(&mut self.sample) {
            Ok(Step::Item(frame)) => {
                self.decode(&frame);
                self.queue.raise_min_pts(frame.min_next_pts);
            }
            Ok(Step::Pending) => {}
            Ok(Step::End) => self.end(Ok(())),
            Err(error) => self.end(Err(error)),
        }
    }

    fn end(&mut self, result: Result<(), VideoError>) {
        self.ended = Some(match (&mut self.early_failures, result) {
            (Some((1.., why)), Ok(())) => Err(VideoError::NothingDecoded {
                why: std::mem::take(why),
            }),
            (_, result) => result,
        });
        self.queue.raise_min_pts(i64::MAX);
    }

    fn decode(&mut self, frame: &CodedFrame) {
        if frame.discontinuity {
            self.decoder.wait_for_keyframe();
        }
        if self.description != Some(frame.description) {
            self.description = Some(frame.description);
            if let Err(why) = self.configure(frame.description) {
                self.push(frame, Err(why));
                return;
            }
        }
        let was_waiting = self.decoder.is_waiting_for_keyframe();
        let decoded = self.decoder.decode(&mut self.sample, frame.sync);
        if was_waiting && !self.decoder.is_waiting_for_keyframe() {
            self.random_access_pts = frame.pts;
        }
        self.count_failures(&decoded);
        match decoded {
            Decoded::Picture(_) if frame.pts < self.random_access_pts => {
                self.push(
                    frame,
                    Err("a reference frame is missing (leading picture of an open GOP)".to_owned()),
                );
            }
            Decoded::Picture(image) => self.push(frame, Ok(image)),
            Decoded::Failed(why) => self.push(frame, Err(why)),
            Decoded::AwaitingKeyframe(why) => self.push(frame, Err(why.to_owned())),
            Decoded::NoPicture => {}
        }
    }

    /// Ends reading of a file of which many frames fail and none is decoded.
    fn count_failures(&mut self, decoded: &Decoded) {
        match (decoded, &mut self.early_failures) {
            (Decoded::Picture(_), failed) => *failed = None,
            (Decoded::Failed(why), Some((count, first))) => {
                if *count == 0 {
                    why.clone_into(first);
                }
                *count += 1;
                if *count == MAX_FAILED_FRAMES {
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
            .ok_or("invalid MP4: its sample description is missing")?;
        self.decoder
            .configure(description)
            .map_err(|error| error.to_string())
    }

    fn push(&mut self, frame: &CodedFrame, entry: Result<Image, String>) {
        if frame.is_shown {
            self.queue.push(frame.pts, entry);
        }
    }
}

/// The error of a valid stream that the decoder does not support.
fn unsupported(error: ParameterSetError) -> VideoError {
    VideoError::UnsupportedFeature {
        what: error.to_string(),
    }
}
