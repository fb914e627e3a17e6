//! Recordings: MP4 and MOV files with H.264, in pure Rust.
//!
//! A frame's way: `boxes` finds the index in the file, `movie` reads of it which track is shown
//! when, `samples` and `fragment` say where each coded frame lies, `demux` reads one at a time,
//! `decode` makes a picture of it (`params` and `vui` read what the stream says of itself, `picture` crops
//! and turns), `order` puts the pictures in presentation order, and `source` gives them out.
//!
//! What is given out equals what ffmpeg shows, frame for frame: edit lists are applied, pictures
//! are cropped, and turned upright when the file says so (phones write it). Memory does not grow
//! with the file: the index (at most 64 MB) stays as run lengths, frames are read when needed.

mod bits;
mod boxes;
mod decode;
mod demux;
mod error;
mod fragment;
mod live;
mod movie;
mod order;
mod params;
mod picture;
mod samples;
mod source;
mod vui;

pub use live::LiveDecoder;
pub use source::VideoSource;
