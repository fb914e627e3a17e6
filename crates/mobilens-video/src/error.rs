//! Errors of reading video files.

use std::io;

/// Why a video file cannot be opened, or not read any further. Names no file: the caller knows the
/// path and adds it.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// An I/O error.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The first bytes are of no known container.
    #[error("not an MP4 or MOV file")]
    UnknownContainer,
    /// The first bytes are of another container.
    #[error("{name}, not MP4 or MOV; convert it with `ffmpeg -i IN -c:v libx264 OUT.mp4`")]
    UnsupportedContainer {
        /// The container with its article.
        name: &'static str,
    },
    /// No `moov` box.
    #[error("moov box not found: the file is truncated, the recording was never finalized")]
    MissingMoov,
    /// No video track.
    #[error("no video track")]
    NoVideoTrack,
    /// The video track has another codec than H.264.
    #[error(
        "the video codec is {name}, only H.264 is supported; convert it with `ffmpeg -i IN -c:v libx264 OUT.mp4`"
    )]
    UnsupportedCodec {
        /// The codec.
        name: String,
    },
    /// The stream uses a coding tool of H.264 that the decoder does not support.
    #[error("{what}; convert it with `ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4`")]
    UnsupportedFeature {
        /// What the stream uses.
        what: String,
    },
    /// None of many frames could be decoded.
    #[error(
        "no frame can be decoded ({why}); if other players show it, convert it with `ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4`"
    )]
    NothingDecoded {
        /// The error of the first frame.
        why: String,
    },
    /// A box contradicts itself, or is truncated.
    #[error("invalid MP4: box `{kind}` {why}")]
    InvalidBox {
        /// Its type (FourCC).
        kind: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A header field is above its limit.
    #[error("{what} is {got}, above the limit of {limit}")]
    TooLarge {
        /// The quantity.
        what: &'static str,
        /// Its value.
        got: u64,
        /// Largest accepted value.
        limit: u64,
    },
    /// A sample lies beyond the end of the file.
    #[error("the file is truncated: it ends within frame {frame}{}", of_total(*.frames))]
    Truncated {
        /// Frame in decoding order, from 1.
        frame: u64,
        /// Number of frames in the sample tables; none for a fragmented file.
        frames: Option<u64>,
    },
    /// The sample tables disagree on the number of samples.
    #[error("invalid MP4: the sample tables declare {frames} frames and describe {described}")]
    IncompleteSampleTables {
        /// Sample count (`stsz`).
        frames: u64,
        /// Samples that all tables describe.
        described: u64,
    },
}

/// The end of the message of [`VideoError::Truncated`].
fn of_total(frames: Option<u64>) -> String {
    frames.map_or_else(String::new, |n| format!(" of {n}"))
}

/// Why a parameter set (SPS or PPS) is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParameterSetError {
    /// Truncated, or a value that the standard forbids.
    #[error("damaged parameter set")]
    Damaged,
    /// Uses a coding tool that the decoder does not support.
    #[error("the video is H.264 with {0}, which is not supported")]
    Unsupported(&'static str),
    /// Needs more memory than the limit.
    #[error("the video is {width}x{height} with {references} reference frames, above the limit")]
    TooLarge {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
        /// Reference frames (`max_num_ref_frames`).
        references: u32,
    },
}
