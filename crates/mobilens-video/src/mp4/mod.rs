//! MP4 and MOV files with H.264: a demuxer and decoder, and a writer of fragmented MP4.
//!
//! Reading: `boxes` parses boxes, `movie` the `moov` box with the codec configuration and the edit
//! list, `samples` (sample tables) and `fragment` (`moof`) locate each coded frame, `demux` reads one
//! at a time, and [`Mp4Reader`] decodes them and restores presentation order. Writing: [`Mp4Writer`],
//! with `box_writer`.
//!
//! The output equals ffmpeg's frame by frame: edit lists are applied, pictures are cropped, and
//! rotated by the track's matrix (phones write it). Memory does not grow with the file: the sample
//! tables (`moov` at most 64 MB) stay run-length encoded, frames are read when needed.

mod box_writer;
mod boxes;
mod demux;
mod fragment;
mod movie;
mod reader;
mod samples;
mod writer;

pub use reader::{Mp4Reader, ReadFrame};
pub use writer::Mp4Writer;
