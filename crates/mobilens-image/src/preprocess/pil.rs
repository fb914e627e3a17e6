//! Resampling as Pillow's `Image.resize` does it, which torchvision and timm train and evaluate with.
//!
//! Each output pixel is a weighted mean over all input pixels under the filter, which grows with the
//! scale factor when a picture is made smaller (antialiasing); first along the rows, then along the
//! columns, each rounded to whole codes. The rule of `precompute_coeffs` and
//! `ImagingResampleHorizontal_8bpc` in Pillow's `Resample.c`:
//!
//! ```text
//! scale   = in / out              support = radius * max(scale, 1)
//! centre  = (i + 0.5) * scale
//! first   = max(trunc(centre - support + 0.5), 0)
//! end     = min(trunc(centre + support + 0.5), in)
//! weight  = filter((x - centre + 0.5) / max(scale, 1)), of sum 1, in 22 fractional bits
//! ```

use std::ops::Range;

use image::RgbImage;

use super::fit::Fit;
use super::resample::TensorRow;
use super::{PreprocessParams, ResizeFilter};
use crate::{Image, PixelFormat, rgb_from_image};

/// Fractional bits of a weight: 32, less 8 of a code and 2 of the sum.
const WEIGHT_FRACTION: u32 = 22;

/// The samples along one axis that make each output sample, and their weights.
struct Axis {
    /// First input sample of each output sample, and where its weights are.
    spans: Vec<(usize, Range<usize>)>,
    weights: Vec<i32>,
}

impl Axis {
    /// Of the output samples `part`, where `input` samples are brought to `out`.
    fn new(filter: ResizeFilter, input: usize, out: usize, part: Range<usize>) -> Self {
        let scale = input as f64 / out as f64;
        let growth = scale.max(1.0);
        let support = radius(filter) * growth;
        let (mut spans, mut weights) = (Vec::new(), Vec::new());
        for i in part {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let at = |x: usize| weight(filter, (x as f64 - centre + 0.5) / growth);
            let sum: f64 = (first..end).map(at).sum();
            let begin = weights.len();
            weights.extend((first..end).map(|x| {
                let share = if sum == 0.0 { at(x) } else { at(x) / sum };
                (share * f64::from(1 << WEIGHT_FRACTION)).round() as i32
            }));
            spans.push((first, begin..weights.len()));
        }
        Self { spans, weights }
    }

    /// The input samples that are needed.
    fn needed(&self) -> Range<usize> {
        let first = self.spans.iter().map(|(first, _)| *first).min();
        let end = self.spans.iter().map(|(first, of)| first + of.len()).max();
        first.unwrap_or(0)..end.unwrap_or(0)
    }

    fn of(&self, i: usize) -> (usize, &[i32]) {
        let (first, weights) = &self.spans[i];
        (*first, &self.weights[weights.clone()])
    }
}

/// Half of the filter's width, in samples of the smaller picture.
fn radius(filter: ResizeFilter) -> f64 {
    match filter {
        ResizeFilter::Bilinear | ResizeFilter::PilBilinear => 1.0,
        ResizeFilter::PilBicubic => 2.0,
    }
}

/// The filter at `x`: a triangle, or Keys' cubic with a = -0.5.
fn weight(filter: ResizeFilter, x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    match filter {
        ResizeFilter::Bilinear | ResizeFilter::PilBilinear => (1.0 - x).max(0.0),
        ResizeFilter::PilBicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        ResizeFilter::PilBicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        ResizeFilter::PilBicubic => 0.0,
    }
}

/// A sum of codes times weights, rounded to a code.
fn code_of(sum: i32) -> u8 {
    ((sum + (1 << (WEIGHT_FRACTION - 1))) >> WEIGHT_FRACTION).clamp(0, 255) as u8
}

/// Computes tensor rows from pictures of one size.
pub(super) struct PilResampler {
    columns: Axis,
    rows: Axis,
    /// The whole picture, where it is not captured as RGB.
    rgb: RgbImage,
    /// The rows that are needed, each of the output's width, `[rows, width, 3]`.
    narrow: Vec<u8>,
    /// First of these rows.
    first_row: usize,
    sums: Vec<i32>,
    width: usize,
    bgr: bool,
    /// Factor and constant of each channel of the tensor.
    scale: [[f32; 2]; 3],
}

impl PilResampler {
    pub fn new(spec: &PreprocessParams, image: &Image, fit: &Fit) -> Self {
        let size = image.size();
        let (scaled_width, scaled_height) = fit.scaled;
        let (left, top) = fit.cut;
        let (width, height) = (size.width as usize, size.height as usize);
        let columns = left..left + fit.width;
        let rows = top..top + fit.height;
        Self {
            columns: Axis::new(spec.filter, width, scaled_width, columns),
            rows: Axis::new(spec.filter, height, scaled_height, rows),
            rgb: RgbImage::new(0, 0),
            narrow: Vec::new(),
            first_row: 0,
            sums: vec![0; 3 * fit.width],
            width: fit.width,
            bgr: spec.bgr,
            scale: std::array::from_fn(|c| [1.0 / spec.std[c], -spec.mean[c] / spec.std[c]]),
        }
    }

    /// Resamples along the rows of `image`; before the first [`make`](Self::make) of each picture.
    pub fn begin(&mut self, image: &Image) {
        let rgb: &[u8] = if image.format() == PixelFormat::Rgb8 {
            image.data()
        } else {
            rgb_from_image(image, &mut self.rgb);
            &self.rgb
        };
        let stride = 3 * image.size().width as usize;
        let needed = self.rows.needed();
        self.first_row = needed.start;
        self.narrow.resize(needed.len() * 3 * self.width, 0);
        let rows = self.narrow.chunks_exact_mut(3 * self.width);
        for (row, out) in needed.zip(rows) {
            let row = &rgb[row * stride..][..stride];
            for (i, out) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let (first, weights) = self.columns.of(i);
                let (pixels, _) = row[3 * first..].as_chunks::<3>();
                let mut sums = [0_i32; 3];
                for (pixel, weight) in pixels.iter().zip(weights) {
                    for (sum, code) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(*code) * weight;
                    }
                }
                *out = sums.map(code_of);
            }
        }
    }

    /// Makes line `i` of the tensor.
    pub fn make(&mut self, i: usize, line: &mut TensorRow) {
        let (first, weights) = self.rows.of(i);
        let length = 3 * self.width;
        self.sums.fill(0);
        let rows = self.narrow.chunks_exact(length);
        for (row, weight) in rows.skip(first - self.first_row).zip(weights) {
            for (sum, code) in self.sums.iter_mut().zip(row) {
                *sum += i32::from(*code) * weight;
            }
        }
        let (bgr, scale) = (self.bgr, self.scale);
        let pixels = self.sums.as_chunks::<3>().0.iter();
        line.fill(pixels.map(|sums| {
            let rgb = sums.map(|sum| f32::from(code_of(sum)));
            std::array::from_fn(|c| {
                let [factor, constant] = scale[c];
                rgb[if bgr { 2 - c } else { c }] * factor + constant
            })
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILTERS: [ResizeFilter; 2] = [ResizeFilter::PilBilinear, ResizeFilter::PilBicubic];

    #[test]
    fn halving_takes_each_pixel_under_the_triangle() {
        let axis = Axis::new(ResizeFilter::PilBilinear, 8, 4, 0..4);
        let unit = f64::from(1 << WEIGHT_FRACTION);
        let (first, weights) = axis.of(1);
        let shares: Vec<f64> = weights.iter().map(|w| f64::from(*w) / unit).collect();
        assert_eq!(first, 1);
        for (share, expected) in shares.iter().zip([0.125, 0.375, 0.375, 0.125]) {
            assert!((share - expected).abs() < 1e-6, "{shares:?}");
        }
    }

    #[test]
    fn the_same_size_is_a_copy() {
        for filter in FILTERS {
            let axis = Axis::new(filter, 7, 7, 2..5);
            for (i, x) in (2..5).enumerate() {
                let (first, weights) = axis.of(i);
                for (at, weight) in (first..).zip(weights) {
                    assert_eq!(*weight, if at == x { 1 << WEIGHT_FRACTION } else { 0 });
                }
            }
        }
    }

    proptest! {
        #[test]
        fn weights_have_the_sum_one_and_lie_in_the_picture(
            input in 1_usize..3000, out in 1_usize..700, which in 0..2_usize,
        ) {
            let axis = Axis::new(FILTERS[which], input, out, 0..out);
            for i in 0..out {
                let (first, weights) = axis.of(i);
                prop_assert!(!weights.is_empty() && first + weights.len() <= input);
                let sum: i64 = weights.iter().map(|w| i64::from(*w)).sum();
                prop_assert!((sum - (1 << WEIGHT_FRACTION)).abs() <= weights.len() as i64);
                // No sum of codes overflows.
                let most: i64 = weights.iter().map(|w| 255 * i64::from(w.abs())).sum();
                prop_assert!(most + (1 << (WEIGHT_FRACTION - 1)) <= i64::from(i32::MAX));
            }
        }

        #[test]
        fn a_part_is_that_part_of_the_whole(
            input in 1_usize..500, out in 1_usize..300, from in 0.0..1.0_f64, which in 0..2_usize,
        ) {
            let first = ((out - 1) as f64 * from) as usize;
            let whole = Axis::new(FILTERS[which], input, out, 0..out);
            let part = Axis::new(FILTERS[which], input, out, first..out);
            for i in first..out {
                prop_assert_eq!(whole.of(i), part.of(i - first));
            }
        }
    }
}
