//! What can be wrong with a recording.

use std::io;

/// Why a recording cannot be opened or read on. Whoever knows the path adds it.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// The system refused to read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Zero bytes.
    #[error("the file is empty")]
    Empty,
    /// The first bytes are of no container that is known.
    #[error("not an MP4 or MOV file")]
    NotAMovie,
    /// The first bytes are of another container.
    #[error("{name}, not MP4 or MOV; convert it with `ffmpeg -i IN -c:v libx264 OUT.mp4`")]
    OtherContainer {
        /// The container with its article.
        name: &'static str,
    },
    /// No `moov` box.
    #[error("the index (moov box) is missing: the recording was cut off before it was finished")]
    NoIndex,
    /// No track of pictures.
    #[error("no video track")]
    NoVideo,
    /// A track of pictures in another coding.
    #[error(
        "the video is {name}, only H.264 is decoded; convert it with `ffmpeg -i IN -c:v libx264 OUT.mp4`"
    )]
    Codec {
        /// The coding.
        name: String,
    },
    /// A coding tool of H.264 that the decoder lacks.
    #[error("{what}; convert it with `ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4`")]
    Tool {
        /// What the stream uses.
        what: String,
    },
    /// Many frames, and not one picture.
    #[error(
        "no frame can be decoded ({why}); if other players show it, convert it with `ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4`"
    )]
    NoPicture {
        /// What was wrong with the first.
        why: String,
    },
    /// A box that contradicts itself or ends too early.
    #[error("damaged index: box `{kind}` {why}")]
    Box {
        /// Its four letters.
        kind: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A header field asks for more than is sane.
    #[error("{what} is {got}, above the limit of {limit}")]
    TooLarge {
        /// Which quantity.
        what: &'static str,
        /// Its value.
        got: u64,
        /// The largest value taken.
        limit: u64,
    },
    /// The index names bytes beyond the end of the file.
    #[error("the file was cut off: it ends within frame {frame}{}", of_total(*.frames))]
    CutOff {
        /// Frame in coding order, from 1.
        frame: u64,
        /// Frames that the index names, if it names all.
        frames: Option<u64>,
    },
    /// The tables of the index disagree on the number of frames.
    #[error("damaged index: it names {frames} frames and describes {described}")]
    IndexShort {
        /// Frames named.
        frames: u64,
        /// Frames described.
        described: u64,
    },
}

/// The end of the sentence of [`VideoError::CutOff`].
fn of_total(frames: Option<u64>) -> String {
    frames.map_or_else(String::new, |n| format!(" of {n}"))
}

/// Why a parameter set is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// Ends too early or has a value that the standard forbids.
    #[error("damaged parameter set")]
    Damaged,
    /// Uses what the decoder lacks.
    #[error("the video is H.264 with {0}, which is not decoded")]
    Unsupported(&'static str),
    /// Too large to be decoded in sane memory.
    #[error("the video is {width}x{height} with {references} reference pictures, above the limit")]
    TooLarge {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
        /// Reference pictures.
        references: u32,
    },
}
