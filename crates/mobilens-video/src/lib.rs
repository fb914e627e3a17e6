//! Video files and streams in pure Rust: demuxing, decoding, encoding and muxing.
//!
//! | module | what it reads or writes | reference |
//! |---|---|---|
//! | [`mp4`] | demuxes MP4 and MOV with H.264; writes fragmented MP4 | ISO/IEC 14496-12 and -15 |
//! | [`h264`] | decoder (parameter sets, reorder buffer) and encoder | ITU-T H.264 |
//! | [`avi`] | Motion JPEG in AVI | Microsoft AVI RIFF, OpenDML |
//! | [`y4m`] | uncompressed 4:2:0 video from files and pipes | YUV4MPEG2 of mjpegtools |
//! | [`jpeg`] | JPEG frames of cameras and AVI files | ITU-T T.81 |
//!
//! All readers and writers work on [`std::io`] traits or byte slices: no threads, no clocks, no file
//! names. Timestamps are integer ticks of the container's timescale. Input is untrusted: sizes are
//! limited before memory is allocated, and damaged input is a one-line error, never a panic.
//!
//! # Decode an MP4 file
//!
//! Frame by frame, in presentation order:
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
//!
//! # Encode and write an MP4 file
//!
//! Encode three pictures, write them as fragmented MP4, and read them back:
//!
//! ```
//! use std::io::Cursor;
//!
//! use mobilens_image::{Image, PixelFormat, Planar, SizePx, YuvColour};
//! use mobilens_video::h264::VideoEncoder;
//! use mobilens_video::mp4::{Mp4Reader, Mp4Writer, ReadFrame};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let size = SizePx { width: 64, height: 48 };
//! let frame_us = 40_000; // 25 frames/s
//! let mut encoder = VideoEncoder::new(20);
//! let mut writer = None;
//! for (index, luma) in (0_i64..).zip([40_u8, 120, 200]) {
//!     let mut samples = vec![luma; 64 * 48]; // Y
//!     samples.resize(PixelFormat::I420.bytes(size), 128); // U and V: grey
//!     let image = Image::new(size, PixelFormat::I420, YuvColour::DEFAULT, samples)?;
//!     let mut picture = Planar::default();
//!     picture.take_image(&image);
//!
//!     let (parameters, frame) = encoder.encode(&picture, index * frame_us)?;
//!     assert_eq!(frame.is_key, index == 0);
//!     let writer = match &mut writer {
//!         Some(writer) => writer,
//!         none => none.insert(Mp4Writer::new(Vec::new(), &parameters)?),
//!     };
//!     writer.push(frame)?;
//! }
//! let file: Vec<u8> = writer.expect("three frames were written").finish()?;
//!
//! let mut reader = Mp4Reader::open(Cursor::new(file))?;
//! assert_eq!(reader.size(), Some(size));
//! let (mut times_ms, mut lumas) = (Vec::new(), Vec::new());
//! loop {
//!     match reader.read()? {
//!         ReadFrame::Frame { pts, image } => {
//!             times_ms.push(pts * 1000 / i64::from(reader.timescale()));
//!             lumas.push(image?.data()[0]);
//!         }
//!         ReadFrame::Pending => {}
//!         ReadFrame::End => break,
//!     }
//! }
//! assert_eq!(times_ms, [0, 40, 80]);
//! // H.264 is lossy.
//! assert!(lumas.iter().zip([40, 120, 200]).all(|(got, want)| got.abs_diff(want) <= 4));
//! # Ok(())
//! # }
//! ```

pub mod avi;
mod error;
pub mod h264;
pub mod jpeg;
pub mod mp4;
pub mod y4m;

pub use error::VideoError;
