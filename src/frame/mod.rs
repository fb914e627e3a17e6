//! What travels through the pipeline: a picture, who it is, and when it was.
//!
//! Identity (stream and frame number) and time (media time and the instant of capture) are set
//! once, at capture, and stay with the frame in its [`FrameMeta`]. A [`Packet`] carries them, the
//! [`Image`] as it was captured, and what the last stage made of it.

mod geometry;
mod image;
mod meta;

pub use geometry::{ImageFromModel, RectPx, SizePx};
pub use image::{Image, ImageError, PixelFormat, PlaneRef, YuvColour, YuvMatrix, YuvRange};
pub use meta::{FrameMeta, MediaTime, Packet};
