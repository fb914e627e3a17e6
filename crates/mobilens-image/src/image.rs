//! Images in the pixel format of their decoder or camera.

use std::fmt;

use crate::SizePx;

/// Pixel format: layout of the samples of an [`Image`]. No row padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// Three planes Y, U, V; chroma is ceil(width / 2) x ceil(height / 2).
    I420,
    /// Two planes: Y, then U and V interleaved at ceil(width / 2) x ceil(height / 2) pairs.
    Nv12,
    /// One plane of Y0 U Y1 V; the width is even.
    Yuyv,
    /// One plane of R G B.
    Rgb8,
}

impl PixelFormat {
    /// Bytes of a tight picture of `size`.
    pub fn bytes(self, size: SizePx) -> usize {
        let (w, h) = (size.width as usize, size.height as usize);
        match self {
            Self::I420 | Self::Nv12 => w * h + 2 * w.div_ceil(2) * h.div_ceil(2),
            Self::Yuyv => 2 * w * h,
            Self::Rgb8 => 3 * w * h,
        }
    }
}

/// Coefficients between YUV and RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YuvMatrix {
    /// ITU-R BT.601: standard definition, JPEG, most webcams.
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
}

/// Which codes stand for black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YuvRange {
    /// 16 to 235 (video).
    Limited,
    /// 0 to 255 (JPEG).
    Full,
}

/// How YUV samples are to be read as colours; without meaning for RGB pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YuvColour {
    /// Coefficients.
    pub matrix: YuvMatrix,
    /// Black and white.
    pub range: YuvRange,
}

impl YuvColour {
    /// The default for streams that do not signal it (as in ffmpeg's scaler and OpenCV).
    pub const DEFAULT: Self = Self {
        matrix: YuvMatrix::Bt601,
        range: YuvRange::Limited,
    };
}

/// Why a buffer does not fit an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImageError {
    /// A side is 0.
    #[error("a picture of {width}x{height} has no pixels")]
    Empty {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// YUYV with an odd width.
    #[error("YUYV needs an even width, not {width}")]
    OddWidth {
        /// Columns.
        width: u32,
    },
    /// Too few or too many bytes.
    #[error("{format:?} {width}x{height} takes {expected} bytes, the buffer has {got}")]
    WrongLength {
        /// Layout.
        format: PixelFormat,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes of a tight picture.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
}

/// One plane of an [`Image`]: `rows` rows of `stride` bytes.
#[derive(Clone, Copy)]
pub struct PlaneRef<'a> {
    /// The samples, row after row.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Rows.
    pub rows: usize,
}

/// An image in the pixel format of its decoder or camera; the buffer always fits the size.
#[derive(Clone)]
pub struct Image {
    size: SizePx,
    format: PixelFormat,
    colour: YuvColour,
    data: Vec<u8>,
}

impl Image {
    /// Takes a tight buffer as a picture.
    ///
    /// # Errors
    /// When a side is 0, or the length is not [`PixelFormat::bytes`].
    pub fn new(
        size: SizePx,
        format: PixelFormat,
        colour: YuvColour,
        data: Vec<u8>,
    ) -> Result<Self, ImageError> {
        let SizePx { width, height } = size;
        if width == 0 || height == 0 {
            return Err(ImageError::Empty { width, height });
        }
        if format == PixelFormat::Yuyv && width % 2 != 0 {
            return Err(ImageError::OddWidth { width });
        }
        let expected = format.bytes(size);
        if data.len() != expected {
            return Err(ImageError::WrongLength {
                format,
                width,
                height,
                expected,
                got: data.len(),
            });
        }
        Ok(Self {
            size,
            format,
            colour,
            data,
        })
    }

    /// Columns and rows.
    pub fn size(&self) -> SizePx {
        self.size
    }

    /// Layout of the buffer.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// How YUV samples are to be read.
    pub fn colour(&self) -> YuvColour {
        self.colour
    }

    /// The whole buffer.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The buffer, for reuse.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// A part of the picture, as a picture of its own: the even pixels at or before `x` and `y`, and
    /// so much of `size` as there is.
    ///
    /// # Panics
    /// When nothing of the part is in the picture.
    #[must_use]
    pub fn crop(&self, x: u32, y: u32, size: SizePx) -> Self {
        let (x, y) = (x & !1, y & !1);
        assert!(
            x < self.size.width && y < self.size.height,
            "a part of the picture"
        );
        let mut width = size.width.min(self.size.width - x).max(1);
        if self.format == PixelFormat::Yuyv {
            width = (width & !1).max(2);
        }
        let size = SizePx {
            width,
            height: size.height.min(self.size.height - y).max(1),
        };
        let [x, y, w, h] = [x, y, size.width, size.height].map(|v| v as usize);
        let (cx, cy, cw, ch) = (x / 2, y / 2, w.div_ceil(2), h.div_ceil(2));
        // First byte and bytes of each row, first row and rows.
        let parts: &[[usize; 4]] = match self.format {
            PixelFormat::I420 => &[[x, w, y, h], [cx, cw, cy, ch], [cx, cw, cy, ch]],
            PixelFormat::Nv12 => &[[x, w, y, h], [2 * cx, 2 * cw, cy, ch]],
            PixelFormat::Yuyv => &[[2 * x, 2 * w, y, h]],
            PixelFormat::Rgb8 => &[[3 * x, 3 * w, y, h]],
        };
        let mut data = Vec::with_capacity(self.format.bytes(size));
        for (plane, [first, bytes, row, rows]) in self.planes().iter().zip(parts) {
            for row in *row..row + rows {
                data.extend_from_slice(&plane.data[row * plane.stride + first..][..*bytes]);
            }
        }
        Self {
            size,
            data,
            ..*self
        }
    }

    /// The planes of the picture: `[Y, U, V]` (I420), `[Y, UV]` (NV12), one plane otherwise.
    pub fn planes(&self) -> Vec<PlaneRef<'_>> {
        let (w, h) = (self.size.width as usize, self.size.height as usize);
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        let strides_rows: &[(usize, usize)] = match self.format {
            PixelFormat::I420 => &[(w, h), (cw, ch), (cw, ch)],
            PixelFormat::Nv12 => &[(w, h), (2 * cw, ch)],
            PixelFormat::Yuyv => &[(2 * w, h)],
            PixelFormat::Rgb8 => &[(3 * w, h)],
        };
        let mut rest = self.data.as_slice();
        strides_rows
            .iter()
            .map(|&(stride, rows)| {
                let (data, after) = rest.split_at(stride * rows);
                rest = after;
                PlaneRef { data, stride, rows }
            })
            .collect()
    }
}

impl fmt::Debug for Image {
    /// Size and layout; never pixels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Image({:?} {}x{})",
            self.format, self.size.width, self.size.height
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: SizePx = SizePx {
        width: 5,
        height: 3,
    };

    #[test]
    fn odd_sizes_round_chroma_up() {
        assert_eq!(PixelFormat::I420.bytes(SIZE), 15 + 2 * 6);
        let image = Image::new(
            SIZE,
            PixelFormat::I420,
            YuvColour::DEFAULT,
            (0..27).collect(),
        )
        .expect("tight buffer");
        let planes = image.planes();
        assert_eq!(planes.len(), 3);
        assert_eq!(planes[1].data, &[15, 16, 17, 18, 19, 20]);
        assert_eq!(planes[2].stride, 3);
    }

    #[test]
    fn a_part_has_the_same_pixels() {
        use image::RgbImage;
        for format in [
            PixelFormat::I420,
            PixelFormat::Nv12,
            PixelFormat::Yuyv,
            PixelFormat::Rgb8,
        ] {
            let size = SizePx {
                width: 12,
                height: 7,
            };
            let data = (0..format.bytes(size))
                .map(|i| (i * 37 % 256) as u8)
                .collect();
            let image = Image::new(size, format, YuvColour::DEFAULT, data).expect("tight buffer");
            let part = image.crop(
                5,
                3,
                SizePx {
                    width: 6,
                    height: 9,
                },
            );
            assert_eq!(
                part.size(),
                SizePx {
                    width: 6,
                    height: 5
                }
            );
            let picture = |image: &Image| {
                let mut rgb = RgbImage::new(image.size().width, image.size().height);
                crate::rgb_from_image(image, &mut rgb);
                rgb
            };
            let (all, part) = (picture(&image), picture(&part));
            for (x, y, pixel) in part.enumerate_pixels() {
                assert_eq!(pixel, all.get_pixel(x + 4, y + 2), "{format:?} at {x}, {y}");
            }
        }
    }

    #[test]
    fn buffers_that_do_not_fit_are_refused() {
        let got = Image::new(SIZE, PixelFormat::Rgb8, YuvColour::DEFAULT, vec![0; 44]);
        assert!(matches!(
            got,
            Err(ImageError::WrongLength {
                expected: 45,
                got: 44,
                ..
            })
        ));
        let got = Image::new(SIZE, PixelFormat::Yuyv, YuvColour::DEFAULT, vec![0; 30]);
        assert_eq!(got.err(), Some(ImageError::OddWidth { width: 5 }));
    }
}
