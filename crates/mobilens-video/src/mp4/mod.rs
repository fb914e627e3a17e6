//! MP4 and MOV files with H.264: a reader that decodes, and a writer of fragmented MP4.
//!
//! Reading: `boxes` finds the index in the file, `movie` parses the video track's coding and edit
//! list, `samples` and `fragment` locate each coded frame, `demux` reads one at a time, and
//! [`Mp4Reader`] decodes them and restores presentation order.
//!
//! What is read equals what ffmpeg shows, frame for frame: edit lists are applied, pictures are
//! cropped, and turned upright by the track's rotation matrix (phones write it). Memory does not
//! grow with the file: the index (at most 64 MB) stays as run lengths, frames are read when needed.

mod boxes;
mod demux;
mod fragment;
mod movie;
mod reader;
mod samples;
mod writer;

pub use reader::{Mp4Reader, ReadFrame};
pub use writer::Mp4Writer;
