//! Horizontal resampling: one tensor row from blended rows, colour-converted and normalised.

use super::PreprocessParams;
use super::axis::{InterpolationWeight, halved};
use super::blend::{ROW_FRACTION, blend_fixed, blend_float, row_pair};
use crate::{Image, PixelFormat, PlaneRef, RgbFromYuv};

/// Columns worked on at a time; lines are padded to whole blocks.
const BLOCK: usize = 16;
/// Fractional bits of a column's weights.
const WEIGHT_FRACTION: u32 = 14;

/// One number for each column of a block.
type Lanes<T> = [T; BLOCK];

/// A row of the tensor, planar, in the order of the channels; padded to whole blocks.
pub(super) struct TensorRow {
    channels: Vec<[Lanes<f32>; 3]>,
    width: usize,
}

impl TensorRow {
    /// An empty line of `width` columns.
    pub fn new(width: usize) -> Self {
        Self {
            channels: vec![[[0.0; BLOCK]; 3]; width.div_ceil(BLOCK)],
            width,
        }
    }

    /// Takes the values of each column.
    pub fn fill(&mut self, columns: impl Iterator<Item = [f32; 3]>) {
        for (i, values) in columns.enumerate() {
            let block = &mut self.channels[i / BLOCK];
            for (lanes, value) in block.iter_mut().zip(values) {
                lanes[i % BLOCK] = value;
            }
        }
    }

    /// Writes channel `c` to `out` of the line's width.
    pub fn copy_channel<T: Copy>(
        &self,
        c: usize,
        convert: impl Fn(f32) -> T + Copy,
        out: &mut [T],
    ) {
        debug_assert_eq!(out.len(), self.width);
        for (out, block) in out.chunks_mut(BLOCK).zip(&self.channels) {
            out.copy_from_slice(&block[c].map(convert)[..out.len()]);
        }
    }

    /// Writes all channels interleaved to `out` of three times the line's width.
    pub fn copy_interleaved<T: Copy>(&self, convert: impl Fn(f32) -> T + Copy, out: &mut [T]) {
        debug_assert_eq!(out.len(), 3 * self.width);
        for (out, block) in out.chunks_mut(3 * BLOCK).zip(&self.channels) {
            let [c0, c1, c2] = block.map(|lanes| lanes.map(convert));
            for (i, out) in out.chunks_exact_mut(3).enumerate() {
                (out[0], out[1], out[2]) = (c0[i], c1[i], c2[i]);
            }
        }
    }
}

/// Computes tensor rows from pictures of one size, format and colour.
pub(super) enum RowResampler {
    /// From YUV planes, in fixed point until colour conversion.
    Yuv(Box<YuvRowResampler>),
    /// From RGB, in `f32`.
    Rgb(RgbRowResampler),
}

impl RowResampler {
    /// For pictures like `image`, with these columns in the tensor.
    pub fn new(spec: &PreprocessParams, image: &Image, columns: Vec<InterpolationWeight>) -> Self {
        match image.format() {
            PixelFormat::Rgb8 => Self::Rgb(RgbRowResampler::new(spec, image, columns)),
            _ => Self::Yuv(Box::new(YuvRowResampler::new(spec, image, &columns))),
        }
    }

    /// Makes the line at `row` of the picture whose `planes` are given.
    pub fn make(
        &mut self,
        planes: &[PlaneRef<'_>],
        row: InterpolationWeight,
        line: &mut TensorRow,
    ) {
        match self {
            Self::Yuv(lines) => lines.make(planes, row, line),
            Self::Rgb(lines) => lines.make(planes, row, line),
        }
    }
}

/// Where a row's columns are and how they are weighed, padded to whole blocks.
struct Columns {
    /// Index of the lower sample in the row's buffer.
    at: Vec<Lanes<u32>>,
    /// Weights of the lower and the upper sample.
    weights: Vec<Lanes<[i16; 2]>>,
    /// The samples of one row: lower and upper.
    pairs: Vec<Lanes<[i16; 2]>>,
    /// The blended samples of one row.
    sums: Vec<Lanes<i32>>,
}

impl Columns {
    /// Columns at `interpolation_weights` of samples that stand `step` apart.
    fn new(interpolation_weights: impl Iterator<Item = InterpolationWeight>, step: usize) -> Self {
        let (at, weights): (Vec<_>, Vec<_>) = interpolation_weights
            .map(|tap| {
                let upper = (tap.fraction * (1 << WEIGHT_FRACTION) as f32).round() as i16;
                let weights = [(1 << WEIGHT_FRACTION) - upper, upper];
                ((tap.lower * step) as u32, weights)
            })
            .unzip();
        let weights = blocks(&weights);
        Self {
            at: blocks(&at),
            pairs: vec![[[0; 2]; BLOCK]; weights.len()],
            sums: vec![[0; BLOCK]; weights.len()],
            weights,
        }
    }

    /// Adds up the pairs times their weights; one instruction for four columns.
    ///
    /// A pass over the line of its own: joined with picking or colouring it comes out scalar.
    #[inline(never)]
    fn weigh(&mut self) {
        for ((pairs, weights), sums) in self.pairs.iter().zip(&self.weights).zip(&mut self.sums) {
            for i in 0..BLOCK {
                let ([a, b], [wa, wb]) = (pairs[i], weights[i]);
                let lower = i32::from(a) * i32::from(wa);
                sums[i] = lower.wrapping_add(i32::from(b) * i32::from(wb));
            }
        }
    }

    /// Picks the pairs out of `row`, whose samples stand `STEP` apart.
    fn pick<const STEP: usize>(&mut self, row: &[i16]) {
        for (at, pairs) in self.at.iter().zip(&mut self.pairs) {
            for (at, pair) in at.iter().zip(pairs) {
                let samples = &row[*at as usize..];
                *pair = match samples.first_chunk::<2>() {
                    Some(neighbours) if STEP == 1 => *neighbours,
                    _ => [samples[0], samples[STEP]],
                };
            }
        }
    }
}

/// `values` in whole blocks, the last filled up with zeros.
fn blocks<T: Copy + Default>(values: &[T]) -> Vec<Lanes<T>> {
    let block = |chunk: &[T]| std::array::from_fn(|i| chunk.get(i).copied().unwrap_or_default());
    values.chunks(BLOCK).map(block).collect()
}

/// Makes lines from YUV planes.
pub(super) struct YuvRowResampler {
    format: PixelFormat,
    /// Luma, U and V.
    columns: [Columns; 3],
    /// A blended row of each plane, with room for one sample past its end.
    rows: [Vec<i16>; 3],
    /// Normalised channels from the sums over a pair: factors of Y, U, V, and a constant.
    matrix: [[f32; 4]; 3],
    /// The least and the largest value of each channel: codes 0 and 255.
    limits: [[f32; 2]; 3],
}

impl YuvRowResampler {
    fn new(spec: &PreprocessParams, image: &Image, columns: &[InterpolationWeight]) -> Self {
        let (luma_step, chroma_step) = match image.format() {
            PixelFormat::I420 | PixelFormat::Rgb8 => (1, 1),
            PixelFormat::Nv12 => (1, 2),
            PixelFormat::Yuyv => (2, 4),
        };
        let luma = || Columns::new(columns.iter().copied(), luma_step);
        let chroma = || Columns::new(columns.iter().copied().map(halved), chroma_step);
        let mut rows: [Vec<i16>; 3] = Default::default();
        for (row, plane) in rows.iter_mut().zip(image.planes()) {
            *row = vec![0; plane.stride + 4];
        }
        let m = RgbFromYuv::new(image.colour());
        let unit = f64::from(1_u32 << (ROW_FRACTION + WEIGHT_FRACTION));
        let rgb = [(0.0, m.r_v), (m.g_u, m.g_v), (m.b_u, 0.0)];
        let channels = std::array::from_fn(|c| {
            let (of_u, of_v) = rgb[rgb_index(spec.bgr, c)];
            let zero = -m.y * m.y_black - 128.0 * (of_u + of_v);
            let (mean, std) = (f64::from(spec.mean[c]), f64::from(spec.std[c]));
            [
                (m.y / unit / std) as f32,
                (of_u / unit / std) as f32,
                (of_v / unit / std) as f32,
                ((zero - mean) / std) as f32,
            ]
        });
        Self {
            format: image.format(),
            columns: [luma(), chroma(), chroma()],
            rows,
            matrix: channels,
            limits: std::array::from_fn(|c| {
                let [black, white] = [0.0, 255.0].map(|code| (code - spec.mean[c]) / spec.std[c]);
                [black.min(white), black.max(white)]
            }),
        }
    }

    fn make(&mut self, planes: &[PlaneRef<'_>], row: InterpolationWeight, line: &mut TensorRow) {
        let [y_columns, u_columns, v_columns] = &mut self.columns;
        for (i, (plane, out)) in planes.iter().zip(&mut self.rows).enumerate() {
            let tap = if i == 0 { row } else { halved(row) };
            blend_fixed(row_pair(plane, tap), tap.fraction, out);
        }
        let [row_0, row_1, row_2] = &self.rows;
        match self.format {
            PixelFormat::I420 | PixelFormat::Rgb8 => {
                y_columns.pick::<1>(row_0);
                u_columns.pick::<1>(row_1);
                v_columns.pick::<1>(row_2);
            }
            PixelFormat::Nv12 => {
                y_columns.pick::<1>(row_0);
                u_columns.pick::<2>(row_1);
                v_columns.pick::<2>(&row_1[1..]);
            }
            PixelFormat::Yuyv => {
                y_columns.pick::<2>(row_0);
                u_columns.pick::<4>(&row_0[1..]);
                v_columns.pick::<4>(&row_0[3..]);
            }
        }
        for columns in &mut self.columns {
            columns.weigh();
        }
        self.colour(line);
    }

    /// Turns the blended samples into normalised channels.
    fn colour(&self, line: &mut TensorRow) {
        let [y, u, v] = &self.columns;
        let sums = y.sums.iter().zip(&u.sums).zip(&v.sums);
        for (channels, ((y, u), v)) in line.channels.iter_mut().zip(sums) {
            for (c, out) in channels.iter_mut().enumerate() {
                let [of_y, of_u, of_v, constant] = self.matrix[c];
                let [least, most] = self.limits[c];
                for i in 0..BLOCK {
                    let (y, u, v) = (y[i] as f32, u[i] as f32, v[i] as f32);
                    let value = y * of_y + u * of_u + v * of_v + constant;
                    // Comparisons instead of `clamp`: no not-a-number can come up.
                    let value = if value < least { least } else { value };
                    out[i] = if value > most { most } else { value };
                }
            }
        }
    }
}

/// Makes lines from interleaved RGB.
pub(super) struct RgbRowResampler {
    columns: Vec<InterpolationWeight>,
    /// A blended row, with room for one pixel past its end.
    row: Vec<f32>,
    bgr: bool,
    /// Factor and constant of each channel.
    scale: [[f32; 2]; 3],
}

impl RgbRowResampler {
    fn new(spec: &PreprocessParams, image: &Image, columns: Vec<InterpolationWeight>) -> Self {
        Self {
            columns,
            row: vec![0.0; 3 * image.size().width as usize + 3],
            bgr: spec.bgr,
            scale: std::array::from_fn(|c| [1.0 / spec.std[c], -spec.mean[c] / spec.std[c]]),
        }
    }

    fn make(&mut self, planes: &[PlaneRef<'_>], row: InterpolationWeight, line: &mut TensorRow) {
        let Some(plane) = planes.first() else { return };
        blend_float(row_pair(plane, row), row.fraction, &mut self.row);
        let source = [0, 1, 2].map(|c| rgb_index(self.bgr, c));
        for (interpolation_weights, channels) in self.columns.chunks(BLOCK).zip(&mut line.channels)
        {
            let mut rgb = [[0.0; BLOCK]; 3];
            for (i, tap) in interpolation_weights.iter().enumerate() {
                let pair = &self.row[3 * tap.lower..][..6];
                for c in 0..3 {
                    rgb[c][i] = pair[c] + (pair[c + 3] - pair[c]) * tap.fraction;
                }
            }
            for (c, out) in channels.iter_mut().enumerate() {
                let [factor, constant] = self.scale[c];
                *out = rgb[source[c]].map(|code| code * factor + constant);
            }
        }
    }
}

/// Which of R, G, B stands in channel `c`.
fn rgb_index(bgr: bool, c: usize) -> usize {
    if bgr { 2 - c } else { c }
}
