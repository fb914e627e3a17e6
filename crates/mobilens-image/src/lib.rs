//! Images as cameras and decoders give them, and the way from there to a network's input tensor.
//!
//! | module | what it holds |
//! |---|---|
//! | [`Image`] | planes in the decoder's own pixel format (I420, NV12, YUYV, RGB), never copied |
//! | colour | YUV to RGB by BT.601 and BT.709, limited and full range |
//! | [`Planar`] | I420 with even sides, as video encoders take it |
//! | geometry | sizes, rectangles, similarity transforms, [`ImageFromModel`] |
//! | [`Polygon`] | zones: containment and rasterisation |
//! | [`preprocess`] | resize, colour conversion and normalisation in one pass over the planes |

mod colour;
mod geometry;
mod image;
mod planar;
mod polygon;
pub mod preprocess;

pub(crate) use colour::RgbFromYuv;
pub use colour::rgb_from_image;
pub use geometry::{ImageFromModel, RectPx, Similarity, SizePx, TensorLayout};
pub use image::{Image, ImageError, PixelFormat, PlaneRef, YuvColour, YuvMatrix, YuvRange};
pub use planar::Planar;
pub use polygon::{Polygon, PolygonError, fill_polygon};
pub use preprocess::{LetterboxAnchor, PreprocessParams, Preprocessor, Resize};
