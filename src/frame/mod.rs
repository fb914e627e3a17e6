//! What travels through the pipeline: a picture, who it is, and when it was.
//!
//! Identity (stream and frame number) and time (media time and the instant of capture) are set
//! once, at capture, and stay with the frame in its [`FrameMeta`]. A [`Packet`] carries them, the
//! [`Image`] as it was captured, and what the last stage made of it.

mod colour;
mod geometry;
mod image;
mod meta;

pub use colour::{RgbFromYuv, YuvRow, i420_row, nv12_row, rgb_from_image, yuyv_row};
pub use geometry::{ImageFromModel, RectPx, SizePx, TensorLayout};
pub use image::{Image, ImageError, PixelFormat, PlaneRef, YuvColour, YuvMatrix, YuvRange};
pub use meta::{FrameMeta, MediaTime, Packet};
