//! Depthwise convolutions, vectorised over channels.
//!
//! In NHWC neighbouring channels of one pixel lie side by side, so a register holds the same tap
//! of several channels and no shuffle is ever needed. One block of [`BLOCK`] channels is taken
//! through all rows of the call before the next; the block's weights stay in L1. A border is
//! never copied: pixels whose taps all lie inside go in tiles, the others one by one over the
//! taps that exist, in the same order.

use super::Rows;
use super::activation::Activation;
use super::buffer::Buffer;
use super::isa::Isa;

/// Channels that are worked on at a time.
pub const BLOCK: usize = 16;
/// Most pixels in one tile.
pub(super) const MOST_PIXELS: usize = 8;
/// Largest kernel side.
pub const MOST_TAPS: usize = 7;

/// Weights of a depthwise convolution, `[block][kernel_h][kernel_w][16]`.
#[derive(Debug)]
pub struct PackedDepthwise {
    weights: Buffer,
    bias: Buffer,
    /// Products summed for one output value.
    pub taps: usize,
    /// Channels.
    pub channels: usize,
}

impl PackedDepthwise {
    /// Packs weights given as `[channel][tap]`.
    pub fn new(weights: &[f32], bias: &[f32]) -> Self {
        let channels = bias.len();
        let taps = weights.len() / channels.max(1);
        assert_eq!(
            weights.len(),
            channels * taps,
            "as many weights for each channel"
        );
        let blocks = channels.div_ceil(BLOCK);
        let mut packed = Buffer::zeroed(blocks * taps * BLOCK);
        for (channel, row) in weights.chunks_exact(taps.max(1)).enumerate() {
            let block = channel / BLOCK * taps * BLOCK + channel % BLOCK;
            for (tap, weight) in row.iter().enumerate() {
                packed[block + tap * BLOCK] = *weight;
            }
        }
        let mut padded = Buffer::zeroed(blocks * BLOCK);
        padded[..channels].copy_from_slice(bias);
        Self {
            weights: packed,
            bias: padded,
            taps,
            channels,
        }
    }

    /// Number of channel blocks.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK)
    }
}

/// The steps of a window over a picture, the same for every kind of convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the kernel.
    pub kernel: (usize, usize),
    /// Steps between outputs, down and right.
    pub stride: (usize, usize),
    /// Distance of neighbouring taps, down and right.
    pub dilation: (usize, usize),
    /// Zeros above and to the left of the picture; those below and right follow from the sizes.
    pub pad: (usize, usize),
}

impl Window {
    /// The input rows that the output rows `y0..y1` touch, within `0..height`.
    pub fn rows_of(&self, y0: usize, y1: usize, height: usize) -> (usize, usize) {
        if y0 >= y1 {
            return (0, 0);
        }
        let first = (y0 * self.stride.0).saturating_sub(self.pad.0);
        let last = (y1 - 1) * self.stride.0 + (self.kernel.0 - 1) * self.dilation.0 + 1;
        let end = last.saturating_sub(self.pad.0).min(height);
        (first.min(end), end)
    }
}

/// The taps of one axis that fall inside `0..size` for output `at`: first and end.
fn taps_inside(
    at: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
    size: usize,
) -> (usize, usize) {
    let start = at * stride;
    let first = pad.saturating_sub(start).div_ceil(dilation).min(kernel);
    let end = (size + pad)
        .saturating_sub(start)
        .div_ceil(dilation)
        .min(kernel);
    (first, end.max(first))
}

/// One call: some rows and channel blocks of one depthwise convolution.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseJob<'a> {
    /// The picture, without border.
    pub input: Rows,
    /// Its height and width.
    pub input_size: (usize, usize),
    /// Kernel, steps and border.
    pub window: Window,
    /// The weights.
    pub packed: &'a PackedDepthwise,
    /// What happens to the sums.
    pub activation: Activation,
    /// Where the results go.
    pub output: Rows,
    /// Output pixels in a row.
    pub width: usize,
    /// The output rows to compute.
    pub rows: (usize, usize),
    /// The channel blocks to compute.
    pub blocks: (usize, usize),
}

/// Some pixels of one row and one block of channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip {
    /// For each kernel row that lies inside: the first channel of the first pixel's left tap.
    /// The tap itself may lie outside where `columns` leaves it out.
    pub taps: [*const f32; MOST_TAPS],
    /// Number of kernel rows that lie inside.
    pub tap_rows: usize,
    /// Taps in a kernel row that lie inside: first and end.
    pub columns: (usize, usize),
    /// Floats between neighbouring taps of a row.
    pub tap_step: usize,
    /// Floats from a pixel's taps to those of the next.
    pub pixel_step: usize,
    /// Weights of the first row of `taps`, `[kernel_w][16]`.
    pub weights: *const f32,
    /// Floats from one kernel row's weights to the next.
    pub weight_step: usize,
    pub bias: *const f32,
    pub output: *mut f32,
    /// Floats from one output pixel to the next.
    pub output_step: usize,
    pub pixels: usize,
    /// Channels of this block that exist.
    pub channels: usize,
    pub activation: Activation,
}

/// Computes a strip.
///
/// # Safety
/// Each tap inside and each output pixel must be readable and writable for `channels` floats, the
/// weights and the bias for whole blocks; the instruction set must be there.
type RunStrip = unsafe fn(&Strip);

fn strip_kernel(isa: Isa) -> RunStrip {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => super::depthwise_avx512::strip,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => super::depthwise_avx2::strip,
        _ => strip_portable,
    }
}

/// Computes the job.
///
/// # Safety
/// `input` must hold the rows that [`Window::rows_of`] names, `output` the rows themselves, and
/// nobody else may touch the output's channel blocks meanwhile. `isa` must be available.
pub unsafe fn depthwise(isa: Isa, job: &DepthwiseJob<'_>) {
    let run = strip_kernel(isa);
    let DepthwiseJob {
        window,
        packed,
        width,
        ..
    } = *job;
    let (height_in, width_in) = job.input_size;
    let c = packed.channels;
    let taps = window.kernel.0 * window.kernel.1;
    // Output pixels in a row with all taps inside: `inner.0..inner.1`.
    let reach = (window.kernel.1 - 1) * window.dilation.1;
    let inner_end = (width_in + window.pad.1)
        .checked_sub(reach + 1)
        .map_or(0, |last| last / window.stride.1 + 1)
        .min(width);
    let inner = (
        window.pad.1.div_ceil(window.stride.1).min(inner_end),
        inner_end,
    );
    for block in job.blocks.0..job.blocks.1 {
        let channel = block * BLOCK;
        for y in job.rows.0..job.rows.1 {
            let rows = taps_inside(
                y,
                window.kernel.0,
                window.stride.0,
                window.dilation.0,
                window.pad.0,
                height_in,
            );
            let mut strip = Strip {
                taps: [std::ptr::null(); MOST_TAPS],
                tap_rows: rows.1 - rows.0,
                columns: (0, window.kernel.1),
                tap_step: window.dilation.1 * c,
                pixel_step: window.stride.1 * c,
                weights: packed.weights[block * taps * BLOCK..][rows.0 * window.kernel.1 * BLOCK..]
                    .as_ptr(),
                weight_step: window.kernel.1 * BLOCK,
                bias: packed.bias[channel..].as_ptr(),
                // SAFETY: an output row that the caller vouches for.
                output: unsafe { job.output.row(y) },
                output_step: c,
                pixels: 1,
                channels: (c - channel).min(BLOCK),
                activation: job.activation,
            };
            let output = strip.output;
            let mut starts = [std::ptr::null::<f32>(); MOST_TAPS];
            for (start, ky) in starts.iter_mut().zip(rows.0..rows.1) {
                let row = y * window.stride.0 + ky * window.dilation.0 - window.pad.0;
                // SAFETY: a row inside the picture, which the caller vouches for.
                *start = unsafe { job.input.row(row) };
            }
            let mut x = 0;
            while x < width {
                if (inner.0..inner.1).contains(&x) {
                    let left = inner.1 - x;
                    strip.pixels = left.div_ceil(left.div_ceil(MOST_PIXELS));
                    strip.columns = (0, window.kernel.1);
                } else {
                    strip.pixels = 1;
                    strip.columns = taps_inside(
                        x,
                        window.kernel.1,
                        window.stride.1,
                        window.dilation.1,
                        window.pad.1,
                        width_in,
                    );
                }
                // The left tap of a border pixel may lie before the picture: a mere number then,
                // which no load uses as `columns` begins further right.
                let left = (x * window.stride.1) as isize - window.pad.1 as isize;
                let offset = left * c as isize + channel as isize;
                for (tap, start) in strip.taps.iter_mut().zip(starts).take(strip.tap_rows) {
                    *tap = start.wrapping_offset(offset);
                }
                // SAFETY: the taps in `columns` lie inside the picture; the pixels are of this row.
                unsafe {
                    strip.output = output.add(x * c + channel);
                    run(&strip);
                }
                x += strip.pixels;
            }
        }
    }
}

/// The strip in plain Rust.
///
/// # Safety
/// See [`RunStrip`].
pub(super) unsafe fn strip_portable(strip: &Strip) {
    let channels = strip.channels;
    for pixel in 0..strip.pixels {
        let mut sums = [0.0; BLOCK];
        // SAFETY: whole blocks of bias and weights; taps and outputs as the caller vouches for.
        unsafe {
            sums.copy_from_slice(std::slice::from_raw_parts(strip.bias, BLOCK));
            for (row, taps) in strip.taps.iter().enumerate().take(strip.tap_rows) {
                for column in strip.columns.0..strip.columns.1 {
                    let at = pixel * strip.pixel_step + column * strip.tap_step;
                    let values = std::slice::from_raw_parts(taps.wrapping_add(at), channels);
                    let at = row * strip.weight_step + column * BLOCK;
                    let weights = std::slice::from_raw_parts(strip.weights.add(at), BLOCK);
                    accumulate(&mut sums, values, weights);
                }
            }
            let at = strip.output.add(pixel * strip.output_step);
            let output = std::slice::from_raw_parts_mut(at, channels);
            for (to, sum) in output.iter_mut().zip(sums) {
                *to = strip.activation.of(sum);
            }
        }
    }
}

fn accumulate(sums: &mut [f32; BLOCK], values: &[f32], weights: &[f32]) {
    if let (Ok(values), Ok(weights)) = (
        <&[f32; BLOCK]>::try_from(values),
        <&[f32; BLOCK]>::try_from(weights),
    ) {
        for ((sum, value), weight) in sums.iter_mut().zip(values).zip(weights) {
            *sum += value * weight;
        }
    } else {
        for ((sum, value), weight) in sums.iter_mut().zip(values).zip(weights) {
            *sum += value * weight;
        }
    }
}
