//! YUV to RGB (ITU-R BT.601-7 section 2.5, BT.709-6 section 3).
//!
//! With Kr and Kb the matrix's luma coefficients, and Y, Cb, Cr brought to 0..1 and -0.5..0.5 by
//! the range: R = Y + 2(1 - Kr) Cr, B = Y + 2(1 - Kb) Cb, and G from Y = Kr R + Kg G + Kb B.

use image::RgbImage;

use super::{Image, PixelFormat, YuvColour, YuvMatrix, YuvRange};

/// The affine map from 8-bit YUV codes to RGB from 0 to 255, before it is cut to that range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RgbFromYuv {
    /// Code of black.
    pub black: f32,
    /// Of luma to each channel.
    pub luma: f32,
    /// Of V - 128 to red.
    pub red_v: f32,
    /// Of U - 128 to green.
    pub green_u: f32,
    /// Of V - 128 to green.
    pub green_v: f32,
    /// Of U - 128 to blue.
    pub blue_u: f32,
}

impl RgbFromYuv {
    /// The map for pictures of this colour.
    pub fn new(colour: YuvColour) -> Self {
        let (kr, kb) = match colour.matrix {
            YuvMatrix::Bt601 => (0.299, 0.114),
            YuvMatrix::Bt709 => (0.2126, 0.0722),
        };
        let kg = 1.0 - kr - kb;
        let (black, luma, chroma) = match colour.range {
            YuvRange::Limited => (16.0, 255.0 / 219.0, 255.0 / 224.0),
            YuvRange::Full => (0.0, 1.0, 1.0),
        };
        Self {
            black,
            luma,
            red_v: 2.0 * (1.0 - kr) * chroma,
            green_u: -2.0 * (1.0 - kb) * kb / kg * chroma,
            green_v: -2.0 * (1.0 - kr) * kr / kg * chroma,
            blue_u: 2.0 * (1.0 - kb) * chroma,
        }
    }

    /// One pixel, cut to 0..255. This is the reference that the fixed-point code is held to.
    #[inline]
    pub fn rgb(&self, y: f32, u: f32, v: f32) -> [f32; 3] {
        let luma = (y - self.black) * self.luma;
        let (u, v) = (u - 128.0, v - 128.0);
        [
            luma + self.red_v * v,
            luma + self.green_u * u + self.green_v * v,
            luma + self.blue_u * u,
        ]
        .map(|channel| channel.clamp(0.0, 255.0))
    }
}

/// One row of a YUV picture, whatever its format: sample `i` of luma is `luma[i * LUMA_STEP]`, and
/// chroma of pixel `i` is `u[i / 2 * CHROMA_STEP]`.
#[derive(Clone, Copy)]
pub struct YuvRow<'a, const LUMA_STEP: usize, const CHROMA_STEP: usize> {
    luma: &'a [u8],
    u: &'a [u8],
    v: &'a [u8],
}

impl<const L: usize, const C: usize> YuvRow<'_, L, C> {
    /// The codes of pixel `x`.
    #[inline]
    pub fn yuv(&self, x: usize) -> [f32; 3] {
        let c = x / 2 * C;
        [self.luma[x * L], self.u[c], self.v[c]].map(f32::from)
    }
}

/// Row `y` of an I420 picture.
pub fn i420_row(image: &Image, y: usize) -> YuvRow<'_, 1, 1> {
    let (w, c) = (
        image.size().width as usize,
        image.size().width.div_ceil(2) as usize,
    );
    let h = image.size().height as usize;
    let u_plane = w * h;
    let v_plane = u_plane + c * h.div_ceil(2);
    let row = |start: usize, length: usize| &image.data()[start..start + length];
    YuvRow {
        luma: row(y * w, w),
        u: row(u_plane + y / 2 * c, c),
        v: row(v_plane + y / 2 * c, c),
    }
}

/// Row `y` of an NV12 picture.
pub fn nv12_row(image: &Image, y: usize) -> YuvRow<'_, 1, 2> {
    let (w, c) = (
        image.size().width as usize,
        image.size().width.div_ceil(2) as usize,
    );
    let start = w * image.size().height as usize + y / 2 * 2 * c;
    let chroma = &image.data()[start..start + 2 * c];
    YuvRow {
        luma: &image.data()[y * w..(y + 1) * w],
        u: chroma,
        v: &chroma[1..],
    }
}

/// Row `y` of a YUYV picture.
pub fn yuyv_row(image: &Image, y: usize) -> YuvRow<'_, 2, 4> {
    let stride = 2 * image.size().width as usize;
    let row = &image.data()[y * stride..(y + 1) * stride];
    YuvRow {
        luma: row,
        u: &row[1..],
        v: &row[3..],
    }
}

/// The whole picture as RGB, into `rgb`, which takes its size.
pub fn rgb_from_image(image: &Image, rgb: &mut RgbImage) {
    let size = image.size();
    if rgb.dimensions() != (size.width, size.height) {
        *rgb = RgbImage::new(size.width, size.height);
    }
    let fixed = FixedRgb::new(image.colour());
    let rows = rgb
        .as_flat_samples_mut()
        .samples
        .chunks_exact_mut(3 * size.width as usize);
    match image.format() {
        PixelFormat::Rgb8 => rows
            .zip(image.data().chunks_exact(3 * size.width as usize))
            .for_each(|(out, row)| out.copy_from_slice(row)),
        PixelFormat::I420 => rows
            .enumerate()
            .for_each(|(y, out)| fixed.convert_row(&i420_row(image, y), out)),
        PixelFormat::Nv12 => rows
            .enumerate()
            .for_each(|(y, out)| fixed.convert_row(&nv12_row(image, y), out)),
        PixelFormat::Yuyv => rows
            .enumerate()
            .for_each(|(y, out)| fixed.convert_row(&yuyv_row(image, y), out)),
    }
}

/// [`RgbFromYuv`] with 16 fractional bits.
struct FixedRgb {
    /// Luma's share of a channel, rounding included, by code.
    luma: [i32; 256],
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

const FRACTION_BITS: i32 = 16;

impl FixedRgb {
    fn new(colour: YuvColour) -> Self {
        let exact = RgbFromYuv::new(colour);
        let fixed = |x: f32| (x * (1 << FRACTION_BITS) as f32).round() as i32;
        let half = 1 << (FRACTION_BITS - 1);
        Self {
            luma: std::array::from_fn(|y| fixed((y as f32 - exact.black) * exact.luma) + half),
            red_v: fixed(exact.red_v),
            green_u: fixed(exact.green_u),
            green_v: fixed(exact.green_v),
            blue_u: fixed(exact.blue_u),
        }
    }

    /// Two pixels share their chroma.
    fn convert_row<const L: usize, const C: usize>(&self, row: &YuvRow<'_, L, C>, out: &mut [u8]) {
        let width = out.len() / 3;
        let mut pairs = out.chunks_exact_mut(6);
        for (i, pair) in pairs.by_ref().enumerate() {
            let shares = self.chroma(row.u[i * C], row.v[i * C]);
            let (first, second) = pair.split_at_mut(3);
            self.pixel(row.luma[2 * i * L], shares, first);
            self.pixel(row.luma[(2 * i + 1) * L], shares, second);
        }
        let last = pairs.into_remainder();
        if !last.is_empty() {
            let i = width / 2;
            let shares = self.chroma(row.u[i * C], row.v[i * C]);
            self.pixel(row.luma[2 * i * L], shares, last);
        }
    }

    #[inline]
    fn chroma(&self, u: u8, v: u8) -> [i32; 3] {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        [
            self.red_v * v,
            self.green_u * u + self.green_v * v,
            self.blue_u * u,
        ]
    }

    #[inline]
    fn pixel(&self, y: u8, chroma: [i32; 3], out: &mut [u8]) {
        let luma = self.luma[usize::from(y)];
        for (channel, share) in out.iter_mut().zip(chroma) {
            *channel = ((luma + share) >> FRACTION_BITS).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::SizePx;

    /// The definition, pixel by pixel, in floating point.
    fn reference(image: &Image) -> RgbImage {
        let exact = RgbFromYuv::new(image.colour());
        RgbImage::from_fn(image.size().width, image.size().height, |x, y| {
            let (x, y) = (x as usize, y as usize);
            let [luma, u, v] = match image.format() {
                PixelFormat::I420 => i420_row(image, y).yuv(x),
                PixelFormat::Nv12 => nv12_row(image, y).yuv(x),
                PixelFormat::Yuyv => yuyv_row(image, y).yuv(x),
                PixelFormat::Rgb8 => unreachable!("not YUV"),
            };
            image::Rgb(exact.rgb(luma, u, v).map(|c| c.round() as u8))
        })
    }

    prop_compose! {
        pub(crate) fn yuv_image()(
            format in prop::sample::select(vec![PixelFormat::I420, PixelFormat::Nv12, PixelFormat::Yuyv]),
            width in 1u32..40, height in 1u32..20,
            matrix in prop::sample::select(vec![YuvMatrix::Bt601, YuvMatrix::Bt709]),
            range in prop::sample::select(vec![YuvRange::Limited, YuvRange::Full]),
            seed: u64,
        ) -> Image {
            let width = if format == PixelFormat::Yuyv { 2 * width } else { width };
            let size = SizePx { width, height };
            let mut state = seed | 1;
            let data = (0..format.bytes(size)).map(|_| {
                state ^= state << 13; state ^= state >> 7; state ^= state << 17;
                (state >> 32) as u8
            }).collect();
            Image::new(size, format, YuvColour { matrix, range }, data).expect("tight buffer")
        }
    }

    proptest! {
        #[test]
        fn fixed_point_is_within_one_code_of_the_definition(image in yuv_image()) {
            let mut got = RgbImage::default();
            rgb_from_image(&image, &mut got);
            let expected = reference(&image);
            for (a, b) in got.as_raw().iter().zip(expected.as_raw()) {
                prop_assert!(a.abs_diff(*b) <= 1, "{} for {}", a, b);
            }
        }
    }

    #[test]
    fn black_white_and_primaries_of_video() {
        let exact = RgbFromYuv::new(YuvColour::DEFAULT);
        assert_eq!(exact.rgb(16.0, 128.0, 128.0), [0.0; 3]);
        assert_eq!(exact.rgb(235.0, 128.0, 128.0), [255.0; 3]);
        // BT.601 red is Y 81, U 90, V 240.
        let [r, g, b] = exact.rgb(81.0, 90.0, 240.0);
        assert!(r > 252.0 && g < 2.0 && b < 2.0, "{r} {g} {b}");
    }
}
