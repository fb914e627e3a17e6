//! What travels through the pipeline: a picture, who it is, and when it was.
//!
//! Identity (stream and frame number) and time (media time and the instant of capture) are set
//! once, at capture, and stay with the frame in its [`FrameMeta`]. A [`Packet`] carries them, the
//! [`Image`] as it was captured, and what the last stage made of it.

mod colour;
mod geometry;
mod image;
mod look;
mod meta;
mod planar;
mod polygon;

pub(crate) use colour::RgbFromYuv;
pub use colour::rgb_from_image;
#[cfg(test)]
pub(crate) use colour::tests as colour_tests;
pub use geometry::{ImageFromModel, RectPx, Similarity, SizePx, TensorLayout};
pub use image::{Image, ImageError, PixelFormat, PlaneRef, YuvColour, YuvMatrix, YuvRange};
pub use look::{Look, LookAt};
pub use meta::{FrameMeta, MediaTime, Packet};
pub use planar::Planar;
pub use polygon::{Polygon, PolygonError, fill_polygon};
