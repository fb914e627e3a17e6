//! Video files and streams in pure Rust: demuxing, decoding, encoding and writing.
//!
//! | module | what it reads or writes | reference |
//! |---|---|---|
//! | [`mp4`] | demuxes MP4 and MOV with H.264; writes fragmented MP4 | ISO/IEC 14496-12 and -15 |
//! | [`h264`] | parameter sets, decoding of coded frames, presentation order, encoding | ITU-T H.264 |
//! | [`avi`] | Motion JPEG in AVI | Microsoft AVI RIFF, OpenDML |
//! | [`y4m`] | uncompressed 4:2:0 video from files and pipes | YUV4MPEG2 of mjpegtools |
//! | [`jpeg`] | JPEG frames of cameras and AVI files | ITU-T T.81 |
//!
//! Everything here is a reader or writer over [`std::io`] traits or byte slices: no threads, no
//! clocks, no file names. Times are integer ticks of the container's own clock. Input is not
//! trusted: sizes are limited before memory is allocated, and damaged input is an error in one line,
//! never a panic.
//!
//! # Example
//!
//! Decode a clip, frame by frame in presentation order:
//!
//! ```
//! use std::fs::File;
//!
//! use mobilens_video::mp4::{Mp4Reader, ReadFrame};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/street.mp4");
//! let mut reader = Mp4Reader::open(File::open(clip)?)?;
//! let size = reader.size().expect("the clip has one size");
//! let mut frames = 0;
//! # while frames < 3 {
//! match reader.read()? {
//!     ReadFrame::Frame { pts, image } => {
//!         let image = image.expect("no frame of this clip is damaged");
//!         assert_eq!(image.size(), size);
//!         assert_eq!(pts * 25 / i64::from(reader.timescale()), frames);
//!         frames += 1;
//!     }
//!     ReadFrame::Pending => {}
//!     ReadFrame::End => break,
//! }
//! # }
//! # assert_eq!(frames, 3);
//! # Ok(())
//! # }
//! ```

pub mod avi;
mod error;
pub mod h264;
pub mod jpeg;
pub mod mp4;
pub mod y4m;

pub use error::{ParamError, VideoError};
