//! Images in the pixel formats of cameras and decoders, and preprocessing to network input tensors.
//!
//! | module | what it holds |
//! |---|---|
//! | [`Image`] | planes in the decoder's own pixel format (I420, NV12, YUYV, RGB), never copied |
//! | colour | YUV to RGB by BT.601 and BT.709, limited and full range |
//! | [`Planar`] | I420 with even sides, as video encoders take it |
//! | geometry | sizes, rectangles, similarity transforms, [`ImageFromModel`] |
//! | [`Polygon`] | zones: containment and rasterisation |
//! | [`preprocess`] | resize, colour conversion and normalisation in one pass over the planes |
//!
//! ```
//! use mobilens_image::{
//!     Image, PixelFormat, PreprocessParams, Preprocessor, ResizeFilter, ResizeMode, SizePx, TensorLayout,
//!     YuvColour,
//! };
//!
//! // A grey NV12 frame, as a decoder would give it.
//! let size = SizePx { width: 640, height: 360 };
//! let data = vec![128; PixelFormat::Nv12.bytes(size)];
//! let frame = Image::new(size, PixelFormat::Nv12, YuvColour::DEFAULT, data)?;
//!
//! // The input of an SSD MobileNet: 300 x 300, RGB, -1 to 1.
//! let mut preprocessor = Preprocessor::new(&PreprocessParams {
//!     width_px: 300,
//!     height_px: 300,
//!     bgr: false,
//!     mean: [127.5; 3],
//!     std: [127.5; 3],
//!     resize: ResizeMode::Stretch,
//!     half_pixel: false,
//!     filter: ResizeFilter::Bilinear,
//! });
//! let mut tensor = vec![0.0; 300 * 300 * 3];
//! let image_from_model = preprocessor.run(&frame, TensorLayout::Nhwc, &mut tensor);
//!
//! // A box of the model, from 0 to 1, in pixels of the frame.
//! let rect = image_from_model.rect(0.25, 0.5, 0.75, 1.0);
//! assert!((rect.x - 160.0).abs() < 1e-3 && (rect.width - 320.0).abs() < 1e-3);
//! assert!((rect.y - 180.0).abs() < 1e-3 && (rect.height - 180.0).abs() < 1e-3);
//! # Ok::<(), mobilens_image::ImageError>(())
//! ```

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
pub use preprocess::{LetterboxAnchor, PreprocessParams, Preprocessor, ResizeFilter, ResizeMode};
