//! Colour conversion from YUV to RGB (BT.601, BT.709).
//!
//! The equations are those of ITU-R BT.601-7 section 2.5 and BT.709-6 section 3, solved for RGB.
//! With `Y` scaled to 0..1 and `Cb`, `Cr` to -0.5..0.5 by the range of the codes:
//!
//! ```text
//! R = Y                                  + 2 (1 - Kr) Cr
//! G = Y - 2 Kb (1 - Kb) / Kg Cb          - 2 Kr (1 - Kr) / Kg Cr
//! B = Y + 2 (1 - Kb) Cb
//! ```
//!
//! | | Kr | Kg | Kb |
//! |---|---|---|---|
//! | BT.601 | 0.299 | 0.587 | 0.114 |
//! | BT.709 | 0.2126 | 0.7152 | 0.0722 |
//!
//! | range | Y | Cb, Cr |
//! |---|---|---|
//! | limited | (code - 16) / 219 | (code - 128) / 224 |
//! | full | code / 255 | (code - 128) / 255 |
//!
//! Subsampled chroma is repeated for each pixel that shares it, as OpenCV and ffmpeg's scaler do
//! by default.
//!
//! The whole-picture conversion works in 16-bit fixed point, five fractional bits, in plain loops
//! over slices that the compiler turns into eight lanes of SSE2; it stays within one code of the
//! equations. No sum overflows; `wrapping_` operations only spare debug builds the checks, which
//! would keep loops scalar. Preprocessing does not come this way: it resamples the planes as they are.

use image::RgbImage;

use crate::{Image, PixelFormat, YuvColour, YuvMatrix, YuvRange};

/// The equations above with the scaling of codes multiplied in: RGB codes from YUV codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RgbFromYuv {
    /// The luma code of black.
    pub y_black: f64,
    /// RGB codes per luma code.
    pub y: f64,
    /// Red codes per code of V (Cr) above 128.
    pub r_v: f64,
    /// Green codes per code of U (Cb) above 128; negative.
    pub g_u: f64,
    /// Green codes per code of V above 128; negative.
    pub g_v: f64,
    /// Blue codes per code of U above 128.
    pub b_u: f64,
}

impl RgbFromYuv {
    /// The coefficients for `colour`.
    pub fn new(colour: YuvColour) -> Self {
        let (kr, kb) = match colour.matrix {
            YuvMatrix::Bt601 => (0.299, 0.114),
            YuvMatrix::Bt709 => (0.2126, 0.0722),
        };
        let kg = 1.0 - kr - kb;
        let (y_black, y, c) = match colour.range {
            YuvRange::Limited => (16.0, 255.0 / 219.0, 255.0 / 224.0),
            YuvRange::Full => (0.0, 1.0, 1.0),
        };
        Self {
            y_black,
            y,
            r_v: 2.0 * (1.0 - kr) * c,
            g_u: -2.0 * kb * (1.0 - kb) / kg * c,
            g_v: -2.0 * kr * (1.0 - kr) / kg * c,
            b_u: 2.0 * (1.0 - kb) * c,
        }
    }
}

/// Converts a whole picture. The buffer of `rgb` is reused where it has the picture's size.
pub fn rgb_from_image(image: &Image, rgb: &mut RgbImage) {
    let size = image.size();
    if rgb.dimensions() != (size.width, size.height) {
        *rgb = RgbImage::new(size.width, size.height);
    }
    let out: &mut [u8] = rgb;
    let width = size.width as usize;
    let planes = image.planes();
    match (image.format(), planes.as_slice()) {
        (PixelFormat::I420, [y, u, v]) => {
            let mut rows = RowConverter::new(image.colour(), width);
            for (j, (y, out)) in y
                .data
                .chunks_exact(y.stride)
                .zip(out.chunks_exact_mut(3 * width))
                .enumerate()
            {
                if j % 2 == 0 {
                    let at = j / 2 * u.stride;
                    rows.set_chroma(&u.data[at..at + u.stride], &v.data[at..at + v.stride]);
                }
                rows.convert(y, out);
            }
        }
        (PixelFormat::Nv12, [y, uv]) => {
            let mut rows = RowConverter::new(image.colour(), width);
            let (mut u_row, mut v_row) = (vec![0; width.div_ceil(2)], vec![0; width.div_ceil(2)]);
            for (j, (y, out)) in y
                .data
                .chunks_exact(y.stride)
                .zip(out.chunks_exact_mut(3 * width))
                .enumerate()
            {
                if j % 2 == 0 {
                    let at = j / 2 * uv.stride;
                    for ((pair, u), v) in uv.data[at..at + uv.stride]
                        .chunks_exact(2)
                        .zip(&mut u_row)
                        .zip(&mut v_row)
                    {
                        (*u, *v) = (pair[0], pair[1]);
                    }
                    rows.set_chroma(&u_row, &v_row);
                }
                rows.convert(y, out);
            }
        }
        (PixelFormat::Yuyv, [yuyv]) => {
            let mut rows = RowConverter::new(image.colour(), width);
            let (mut u_row, mut v_row) = (vec![0; width / 2], vec![0; width / 2]);
            let mut y_row = vec![0; width];
            for (row, out) in yuyv
                .data
                .chunks_exact(yuyv.stride)
                .zip(out.chunks_exact_mut(3 * width))
            {
                for (((four, y), u), v) in row
                    .chunks_exact(4)
                    .zip(y_row.chunks_exact_mut(2))
                    .zip(&mut u_row)
                    .zip(&mut v_row)
                {
                    (y[0], *u, y[1], *v) = (four[0], four[1], four[2], four[3]);
                }
                rows.set_chroma(&u_row, &v_row);
                rows.convert(&y_row, out);
            }
        }
        _ => out.copy_from_slice(image.data()),
    }
}

/// Fractional bits of the sums.
const FRACTION: u32 = 5;
/// Pixels converted at a time; even, so that no chroma sample straddles two blocks.
const BLOCK: usize = 32;

/// One number for each pixel of a block.
type Lanes<T> = [T; BLOCK];

/// Converts rows of luma, with the chroma's share kept from one row to the next.
///
/// Coefficients are stored once a lane: loaded as vectors beside the samples, they let the
/// compiler see a product of 16-bit lanes.
struct RowConverter {
    /// Luma code of black.
    y_black: i16,
    /// Luma coefficient, 14 fractional bits.
    y: Lanes<i16>,
    /// Chroma coefficients, 13 fractional bits.
    r_v: Lanes<i16>,
    g_u: Lanes<i16>,
    g_v: Lanes<i16>,
    b_u: Lanes<i16>,
    /// What chroma adds to red, green and blue of each pixel.
    chroma: Vec<[Lanes<i16>; 3]>,
}

impl RowConverter {
    fn new(colour: YuvColour, width: usize) -> Self {
        let m = RgbFromYuv::new(colour);
        let fixed = |value: f64, bits: i32| [(value * f64::from(1 << bits)).round() as i16; BLOCK];
        Self {
            y_black: m.y_black as i16,
            y: fixed(m.y, 14),
            r_v: fixed(m.r_v, 13),
            g_u: fixed(m.g_u, 13),
            g_v: fixed(m.g_v, 13),
            b_u: fixed(m.b_u, 13),
            chroma: vec![[[0; BLOCK]; 3]; width.div_ceil(BLOCK)],
        }
    }

    /// Takes the chroma of the rows that follow: `u`, `v` of ceil(width / 2) samples.
    fn set_chroma(&mut self, u: &[u8], v: &[u8]) {
        let mut chroma = std::mem::take(&mut self.chroma);
        let blocks = u.chunks(BLOCK / 2).zip(v.chunks(BLOCK / 2));
        for ((u, v), sums) in blocks.zip(&mut chroma) {
            if let (Ok(u), Ok(v)) = (u.try_into(), v.try_into()) {
                self.chroma_block(u, v, sums);
            } else {
                let mut padded = [[0; BLOCK / 2]; 2];
                padded[0][..u.len()].copy_from_slice(u);
                padded[1][..v.len()].copy_from_slice(v);
                self.chroma_block(&padded[0], &padded[1], sums);
            }
        }
        self.chroma = chroma;
    }

    #[inline]
    fn chroma_block(
        &self,
        u: &[u8; BLOCK / 2],
        v: &[u8; BLOCK / 2],
        [r, g, b]: &mut [Lanes<i16>; 3],
    ) {
        let mut sums = [[0_i16; BLOCK / 2]; 3];
        for i in 0..BLOCK / 2 {
            // Times 256, so that with 13 bits of the coefficient five are left.
            let u = i16::from(u[i]).wrapping_sub(128) << 8;
            let v = i16::from(v[i]).wrapping_sub(128) << 8;
            sums[0][i] = mul_high(v, self.r_v[i]);
            sums[1][i] = mul_high(u, self.g_u[i]).wrapping_add(mul_high(v, self.g_v[i]));
            sums[2][i] = mul_high(u, self.b_u[i]);
        }
        for i in 0..BLOCK / 2 {
            (r[2 * i], r[2 * i + 1]) = (sums[0][i], sums[0][i]);
            (g[2 * i], g[2 * i + 1]) = (sums[1][i], sums[1][i]);
            (b[2 * i], b[2 * i + 1]) = (sums[2][i], sums[2][i]);
        }
    }

    /// Converts one row of luma into `out`, three bytes a pixel.
    fn convert(&self, y: &[u8], out: &mut [u8]) {
        let blocks = y.chunks(BLOCK).zip(out.chunks_mut(3 * BLOCK));
        for ((y, out), chroma) in blocks.zip(&self.chroma) {
            if let (Ok(y), Ok(out)) = (y.try_into(), (&mut *out).try_into()) {
                self.convert_block(y, chroma, out);
            } else {
                let (mut padded, mut rgb) = ([0; BLOCK], [0; 3 * BLOCK]);
                padded[..y.len()].copy_from_slice(y);
                self.convert_block(&padded, chroma, &mut rgb);
                out.copy_from_slice(&rgb[..out.len()]);
            }
        }
    }

    #[inline]
    fn convert_block(&self, y: &Lanes<u8>, [r, g, b]: &[Lanes<i16>; 3], out: &mut [u8; 3 * BLOCK]) {
        let (mut red_green, mut blue) = ([0_u16; BLOCK], [0_u16; BLOCK]);
        for i in 0..BLOCK {
            // Times 128, so that with 14 bits of the coefficient five are left.
            let y = i16::from(y[i]).wrapping_sub(self.y_black) << 7;
            let y = mul_high(y, self.y[i]).wrapping_add(1 << (FRACTION - 1));
            let code = |chroma: i16| (y.wrapping_add(chroma) >> FRACTION).clamp(0, 255) as u16;
            red_green[i] = code(r[i]) | code(g[i]) << 8;
            blue[i] = code(b[i]);
        }
        let mut pixels = [0_u32; BLOCK];
        for i in 0..BLOCK {
            pixels[i] = u32::from(red_green[i]) | u32::from(blue[i]) << 16;
        }
        // Four pixels make twelve bytes: three whole words instead of twelve single stores.
        let (words, _) = out.as_chunks_mut::<4>();
        for (p, out) in pixels.chunks_exact(4).zip(words.chunks_exact_mut(3)) {
            out[0] = (p[0] | p[1] << 24).to_le_bytes();
            out[1] = (p[1] >> 8 | p[2] << 16).to_le_bytes();
            out[2] = (p[2] >> 16 | p[3] << 8).to_le_bytes();
        }
    }
}

/// The upper half of the product; one instruction for eight lanes.
#[inline(always)]
fn mul_high(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 16) as i16
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SizePx;

    /// How far the fixed-point conversion may be from the equations, in codes.
    const TOLERANCE_CODES: f64 = 1.0;

    pub(crate) const COLOURS: [YuvColour; 4] = [
        colour(YuvMatrix::Bt601, YuvRange::Limited),
        colour(YuvMatrix::Bt601, YuvRange::Full),
        colour(YuvMatrix::Bt709, YuvRange::Limited),
        colour(YuvMatrix::Bt709, YuvRange::Full),
    ];

    const fn colour(matrix: YuvMatrix, range: YuvRange) -> YuvColour {
        YuvColour { matrix, range }
    }

    /// The equations of the module's head, not clamped to the codes that exist.
    pub(crate) fn reference(colour: YuvColour, [y, u, v]: [u8; 3]) -> [f64; 3] {
        let (kr, kb) = match colour.matrix {
            YuvMatrix::Bt601 => (0.299, 0.114),
            YuvMatrix::Bt709 => (0.2126, 0.0722),
        };
        let kg = 1.0 - kr - kb;
        let (y, u, v) = (f64::from(y), f64::from(u), f64::from(v));
        let (y, cb, cr) = match colour.range {
            YuvRange::Limited => ((y - 16.0) / 219.0, (u - 128.0) / 224.0, (v - 128.0) / 224.0),
            YuvRange::Full => (y / 255.0, (u - 128.0) / 255.0, (v - 128.0) / 255.0),
        };
        let r = y + 2.0 * (1.0 - kr) * cr;
        let g = y - 2.0 * kb * (1.0 - kb) / kg * cb - 2.0 * kr * (1.0 - kr) / kg * cr;
        let b = y + 2.0 * (1.0 - kb) * cb;
        [r * 255.0, g * 255.0, b * 255.0]
    }

    /// The codes of the pixel at column `x`, row `y`: YUV, or RGB for an RGB picture.
    pub(crate) fn codes_at(image: &Image, x: usize, y: usize) -> [u8; 3] {
        let p = image.planes();
        let at = |plane: usize, x: usize, y: usize| p[plane].data[y * p[plane].stride + x];
        match image.format() {
            PixelFormat::I420 => [at(0, x, y), at(1, x / 2, y / 2), at(2, x / 2, y / 2)],
            PixelFormat::Nv12 => [
                at(0, x, y),
                at(1, x / 2 * 2, y / 2),
                at(1, x / 2 * 2 + 1, y / 2),
            ],
            PixelFormat::Yuyv => [
                at(0, 2 * x, y),
                at(0, x / 2 * 4 + 1, y),
                at(0, x / 2 * 4 + 3, y),
            ],
            PixelFormat::Rgb8 => [at(0, 3 * x, y), at(0, 3 * x + 1, y), at(0, 3 * x + 2, y)],
        }
    }

    /// A picture of any format, odd sizes included.
    pub(crate) fn arbitrary_image(max_side: u32) -> impl Strategy<Value = Image> {
        let format = prop_oneof![
            Just(PixelFormat::I420),
            Just(PixelFormat::Nv12),
            Just(PixelFormat::Yuyv),
            Just(PixelFormat::Rgb8),
        ];
        (format, 1..=max_side, 1..=max_side, 0..COLOURS.len()).prop_flat_map(
            |(format, width, height, colour)| {
                let width = match format {
                    PixelFormat::Yuyv => width.next_multiple_of(2),
                    _ => width,
                };
                let size = SizePx { width, height };
                proptest::collection::vec(any::<u8>(), format.bytes(size)).prop_map(move |data| {
                    Image::new(size, format, COLOURS[colour], data).expect("tight buffer")
                })
            },
        )
    }

    fn assert_close(image: &Image, rgb: &RgbImage) {
        for (x, y, pixel) in rgb.enumerate_pixels() {
            let codes = codes_at(image, x as usize, y as usize);
            let want = match image.format() {
                PixelFormat::Rgb8 => codes.map(f64::from),
                _ => reference(image.colour(), codes),
            };
            for (got, want) in pixel.0.iter().zip(want) {
                let difference = (f64::from(*got) - want.clamp(0.0, 255.0)).abs();
                assert!(
                    difference <= TOLERANCE_CODES,
                    "{image:?} {:?} at {x},{y}: {codes:?} gave {got}, not {want}",
                    image.colour()
                );
            }
        }
    }

    #[test]
    fn every_yuv_code_is_within_tolerance() {
        // Each picture: one V, all U across the chroma columns, all Y in the 2 x 2 pixels of 64 rows.
        let size = SizePx {
            width: 512,
            height: 128,
        };
        let mut rgb = RgbImage::default();
        for colour in COLOURS {
            for v in 0..=255 {
                let mut data = Vec::with_capacity(PixelFormat::I420.bytes(size));
                for row in 0..128_u32 {
                    data.extend((0..512_u32).map(|x| (row * 2 + x % 2) as u8));
                }
                data.extend((0..256 * 64).map(|i| (i % 256) as u8));
                data.extend(std::iter::repeat_n(v, 256 * 64));
                let image = Image::new(size, PixelFormat::I420, colour, data).expect("tight");
                rgb_from_image(&image, &mut rgb);
                assert_close(&image, &rgb);
            }
        }
    }

    #[test]
    fn black_white_and_grey_are_exact() {
        for (colour, codes) in [(COLOURS[0], [16, 126, 235]), (COLOURS[1], [0, 128, 255])] {
            let size = SizePx {
                width: 3,
                height: 1,
            };
            let mut data = codes.to_vec();
            data.extend([128; 4]);
            let image = Image::new(size, PixelFormat::I420, colour, data).expect("tight");
            let mut rgb = RgbImage::default();
            rgb_from_image(&image, &mut rgb);
            let got: Vec<u8> = rgb.pixels().map(|p| p.0[1]).collect();
            assert_eq!(got, [0, 128, 255]);
        }
    }

    #[test]
    fn the_buffer_is_reused_where_it_fits() {
        let size = SizePx {
            width: 40,
            height: 2,
        };
        let data = vec![128; PixelFormat::Nv12.bytes(size)];
        let image = Image::new(size, PixelFormat::Nv12, YuvColour::DEFAULT, data).expect("tight");
        let mut rgb = RgbImage::new(40, 2);
        let before = rgb.as_ptr();
        rgb_from_image(&image, &mut rgb);
        assert_eq!(rgb.as_ptr(), before);
    }

    proptest! {
        #[test]
        fn all_formats_and_sizes_are_within_tolerance(image in arbitrary_image(70)) {
            let mut rgb = RgbImage::default();
            rgb_from_image(&image, &mut rgb);
            assert_close(&image, &rgb);
        }
    }
}
