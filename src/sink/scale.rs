//! Scales a picture into the pixels of a window, its shape kept, black beside it.
//!
//! Bilinear with half-pixel centres and shares of 1/256: first each row that is needed along its
//! columns, a whole pixel in one 64-bit word; then pairs of such rows into each row of the window.
//! Rows that two neighbours share are scaled once. Within two codes of the exact blend.

use image::RgbImage;

/// Scales pictures; keeps what it worked out for the last pair of sizes.
#[derive(Default)]
pub(super) struct Scaler {
    from: (usize, usize),
    to: (usize, usize),
    /// Where the picture lies in the window.
    left: usize,
    top: usize,
    columns: Vec<BlendWeight>,
    rows: Vec<BlendWeight>,
    /// A row of the picture, a pixel a word, the last one twice.
    words: Vec<u64>,
    /// Scaled rows of even and of odd number.
    scaled: [ScaledRow; 2],
    /// One row of the window's part that shows the picture, four bytes a pixel.
    blended: Vec<u8>,
}

/// A row of the picture scaled along its columns.
#[derive(Default)]
struct ScaledRow {
    /// Which row of the picture.
    number: Option<usize>,
    /// Native bytes of `0RGB` pixels.
    bytes: Vec<u8>,
}

/// The lower of two neighbours and the share of the upper, of 256; 0 where there is no upper.
#[derive(Clone, Copy, Debug)]
struct BlendWeight {
    lower: usize,
    share: u8,
}

impl Scaler {
    /// Fills `pixels` (`0RGB`, rows x columns of `to`) with `picture`.
    pub fn scale(&mut self, picture: &RgbImage, to: (usize, usize), pixels: &mut Vec<u32>) {
        let from = (picture.width() as usize, picture.height() as usize);
        pixels.resize(to.0 * to.1, 0);
        if from.0 == 0 || from.1 == 0 || to.0 == 0 || to.1 == 0 {
            pixels.fill(0);
            return;
        }
        let (source, _) = picture.as_raw().as_chunks::<3>();
        if from == to {
            for (pixel, &[r, g, b]) in pixels.iter_mut().zip(source) {
                *pixel = u32::from_be_bytes([0, r, g, b]);
            }
            return;
        }
        if (self.from, self.to) != (from, to) {
            self.fit(from, to);
        }
        let (width, height) = (self.columns.len(), self.rows.len());
        if (width, height) != to {
            pixels.fill(0);
        }
        for row in &mut self.scaled {
            row.number = None;
        }
        let row_of = |number: usize| &source[number * from.0..][..from.0];
        for y in 0..height {
            let BlendWeight { lower, share } = self.rows[y];
            let upper = lower + usize::from(share > 0);
            for number in [lower, upper] {
                if self.scaled[number % 2].number != Some(number) {
                    self.scale_row(number, row_of(number));
                }
            }
            let (a, b) = (&self.scaled[lower % 2], &self.scaled[upper % 2]);
            blend(&a.bytes, &b.bytes, share, &mut self.blended);
            let out = &mut pixels[(self.top + y) * to.0 + self.left..][..width];
            let (bytes, _) = self.blended.as_chunks::<4>();
            for (pixel, bytes) in out.iter_mut().zip(bytes) {
                *pixel = u32::from_ne_bytes(*bytes);
            }
        }
    }

    fn fit(&mut self, from: (usize, usize), to: (usize, usize)) {
        let scale = (to.0 as f64 / from.0 as f64).min(to.1 as f64 / from.1 as f64);
        let side =
            |from: usize, limit: usize| ((from as f64 * scale).round() as usize).clamp(1, limit);
        let (width, height) = (side(from.0, to.0), side(from.1, to.1));
        (self.from, self.to) = (from, to);
        (self.left, self.top) = ((to.0 - width) / 2, (to.1 - height) / 2);
        self.columns = blend_weights(from.0, width);
        self.rows = blend_weights(from.1, height);
        self.words.resize(from.0 + 1, 0);
        self.blended.resize(4 * width, 0);
        for row in &mut self.scaled {
            row.bytes.resize(4 * width, 0);
        }
    }

    fn scale_row(&mut self, number: usize, source: &[[u8; 3]]) {
        for (word, &[r, g, b]) in self.words.iter_mut().zip(source) {
            *word = u64::from(r) << 32 | u64::from(g) << 16 | u64::from(b);
        }
        let row = &mut self.scaled[number % 2];
        row.number = Some(number);
        let (bytes, _) = row.bytes.as_chunks_mut::<4>();
        for (bytes, weight) in bytes.iter_mut().zip(&self.columns) {
            let pair = &self.words[weight.lower..][..2];
            let share = u64::from(weight.share);
            // Three lanes of 16 bits: 255 * 256 at most, and a half for rounding.
            let sum = pair[0]
                .wrapping_mul(256 - share)
                .wrapping_add(pair[1].wrapping_mul(share))
                .wrapping_add(0x0080_0080_0080);
            let pixel = (sum >> 24 & 0xff_0000) | (sum >> 16 & 0xff00) | (sum >> 8 & 0xff);
            *bytes = (pixel as u32).to_ne_bytes();
        }
    }
}

/// Blends two rows of bytes.
fn blend(a: &[u8], b: &[u8], share: u8, out: &mut [u8]) {
    if share == 0 {
        out.copy_from_slice(a);
        return;
    }
    let share = u16::from(share);
    let rest = 256 - share;
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        let sum = u16::from(*a)
            .wrapping_mul(rest)
            .wrapping_add(u16::from(*b).wrapping_mul(share))
            .wrapping_add(128);
        *out = (sum >> 8) as u8;
    }
}

fn blend_weights(input: usize, out: usize) -> Vec<BlendWeight> {
    let scale = input as f64 / out as f64;
    (0..out)
        .map(|i| {
            let at = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, (input - 1) as f64);
            let lower = at as usize;
            BlendWeight {
                lower,
                share: ((at - lower as f64) * 256.0) as u8,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use proptest::prelude::*;

    use super::*;

    /// How far a code may be off: the shares' steps and two roundings.
    const TOLERANCE_CODES: f64 = 3.0;

    fn scaled(picture: &RgbImage, width: usize, height: usize) -> RgbImage {
        let mut pixels = vec![0xdead_beef; 3];
        Scaler::default().scale(picture, (width, height), &mut pixels);
        assert_eq!(pixels.len(), width * height);
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let [zero, r, g, b] = pixels[y as usize * width + x as usize].to_be_bytes();
            assert_eq!(zero, 0);
            Rgb([r, g, b])
        })
    }

    #[test]
    fn a_wide_picture_gets_black_above_and_below() {
        let picture = RgbImage::from_pixel(40, 10, Rgb([9, 8, 7]));
        let out = scaled(&picture, 20, 20);
        for (_, y, pixel) in out.enumerate_pixels() {
            let inside = (7..12).contains(&y);
            assert_eq!(pixel.0, if inside { [9, 8, 7] } else { [0; 3] });
        }
    }

    #[test]
    fn a_tall_picture_gets_black_at_its_sides() {
        let picture = RgbImage::from_pixel(1, 4, Rgb([255; 3]));
        let out = scaled(&picture, 9, 4);
        for (x, _, pixel) in out.enumerate_pixels() {
            assert_eq!(pixel.0, if x == 4 { [255; 3] } else { [0; 3] });
        }
    }

    #[test]
    fn sizes_without_pixels_are_black_or_nothing() {
        assert_eq!(
            scaled(&RgbImage::new(0, 5), 2, 1),
            RgbImage::from_pixel(2, 1, Rgb([0; 3]))
        );
        assert_eq!(scaled(&RgbImage::new(2, 5), 0, 7).len(), 0);
    }

    #[test]
    fn a_change_of_size_is_noticed() {
        let mut kept = Scaler::default();
        let picture = RgbImage::from_fn(30, 20, |x, y| Rgb([(x * 8) as u8, (y * 12) as u8, 77]));
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for to in [(60, 40), (7, 90), (30, 20), (60, 41)] {
            kept.scale(&picture, to, &mut a);
            Scaler::default().scale(&picture, to, &mut b);
            assert_eq!(a, b);
        }
    }

    /// The exact blend where the picture fills the window.
    fn reference(picture: &RgbImage, width: usize, height: usize, x: usize, y: usize) -> [f64; 3] {
        let place = |i: usize, out: usize, input: u32| {
            let at = (i as f64 + 0.5) * f64::from(input) / out as f64 - 0.5;
            let at = at.clamp(0.0, f64::from(input) - 1.0);
            let lower = at.floor() as u32;
            (lower, (lower + 1).min(input - 1), at - at.floor())
        };
        let (x0, x1, fx) = place(x, width, picture.width());
        let (y0, y1, fy) = place(y, height, picture.height());
        std::array::from_fn(|c| {
            let at = |x, y| f64::from(picture.get_pixel(x, y)[c]);
            let upper = at(x0, y0) * (1.0 - fx) + at(x1, y0) * fx;
            let lower = at(x0, y1) * (1.0 - fx) + at(x1, y1) * fx;
            upper * (1.0 - fy) + lower * fy
        })
    }

    proptest! {
        #[test]
        fn fast_is_the_reference(
            (w, h) in (1_u32..40, 1_u32..40),
            times in 1_usize..8, parts in 1_usize..8,
            seed: [u8; 16],
        ) {
            let picture = RgbImage::from_fn(w, h, |x, y| {
                Rgb([0, 1, 2].map(|c| {
                    let i = (y * w + x) as usize * 3 + c;
                    seed[i % 16].wrapping_mul(seed[i / 16 % 16] | 1)
                }))
            });
            // The same factor for both sides, so that there is no letterbox.
            let (width, height) = (w as usize * times, h as usize * times);
            prop_assume!(width % parts == 0 && height % parts == 0);
            let (width, height) = (width / parts, height / parts);
            let out = scaled(&picture, width, height);
            for (x, y, pixel) in out.enumerate_pixels() {
                let want = reference(&picture, width, height, x as usize, y as usize);
                for (got, want) in pixel.0.iter().zip(want) {
                    prop_assert!((f64::from(*got) - want).abs() <= TOLERANCE_CODES);
                }
            }
        }

        #[test]
        fn any_size_fits_any_other(
            (w, h) in (1_u32..2000, 1_u32..9), (width, height) in (1_usize..9, 1_usize..2000),
        ) {
            scaled(&RgbImage::from_pixel(w, h, Rgb([1; 3])), width, height);
        }
    }
}
