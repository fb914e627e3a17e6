//! Depthwise convolutions, vectorised over channels.
//!
//! In NHWC neighbouring channels of one pixel lie side by side, so a register holds the same tap
//! of several channels and no shuffle is ever needed. One block of [`BLOCK`] channels is taken
//! through all rows of the call before the next; the block's weights stay in L1. A border is
//! never copied: pixels whose taps all lie inside go in tiles, the others one by one over the
//! taps that exist, in the same order.

use super::Rows;
#[cfg(test)]
use super::Shape;
use super::activation::Activation;
use super::buffer::Buffer;
use super::isa::Isa;
use super::slide;

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
    /// The taps of one output pixel that lie inside: kernel row and column, and the pixel's number.
    #[cfg(test)]
    pub(super) fn pixels(
        self,
        y: usize,
        x: usize,
        shape: Shape,
    ) -> impl Iterator<Item = (usize, usize, usize)> {
        let taps =
            (0..self.kernel.0).flat_map(move |ky| (0..self.kernel.1).map(move |kx| (ky, kx)));
        taps.filter_map(move |(ky, kx)| {
            let row = (y * self.stride.0 + ky * self.dilation.0).checked_sub(self.pad.0)?;
            let column = (x * self.stride.1 + kx * self.dilation.1).checked_sub(self.pad.1)?;
            (row < shape.h && column < shape.w).then_some((ky, kx, row * shape.w + column))
        })
    }

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

/// The convolution by its definition, for the fast ones to be held to: `[h, w, c]` in and out,
/// weights `[c][kernel_h][kernel_w]`.
#[cfg(test)]
pub fn reference(
    input: &[f32],
    shape: Shape,
    window: Window,
    weights: &[f32],
    bias: &[f32],
    output: Shape,
) -> Vec<f32> {
    let taps = window.kernel.0 * window.kernel.1;
    let mut sums = Vec::new();
    for y in 0..output.h {
        for x in 0..output.w {
            for channel in 0..output.c {
                let products = window.pixels(y, x, shape).map(|(ky, kx, pixel)| {
                    let weight = weights[channel * taps + ky * window.kernel.1 + kx];
                    input[pixel * shape.c + channel] * weight
                });
                sums.push(bias[channel] + products.sum::<f32>());
            }
        }
    }
    sums
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

/// Output rows that one block of channels is taken through before the next; their pointers are
/// worked out once for all blocks.
const GROUP: usize = 16;

/// Where one output row reads and writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputRow {
    /// The kernel rows that lie inside the picture.
    pub taps: [*const f32; MOST_TAPS],
    /// Their number.
    pub count: usize,
    /// Kernel rows above the picture.
    pub skipped: usize,
    /// First value of the output row.
    pub output: *mut f32,
}

impl Default for OutputRow {
    fn default() -> Self {
        Self {
            taps: [std::ptr::null(); MOST_TAPS],
            count: 0,
            skipped: 0,
            output: std::ptr::null_mut(),
        }
    }
}

/// One output row and one block of channels, as the instruction sets' own loops take it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// For each kernel row that lies inside: the block's first channel at the row's first pixel.
    pub rows: [*const f32; MOST_TAPS],
    /// Number of kernel rows that lie inside.
    pub row_count: usize,
    /// Weights of the first row of `rows`, `[kernel_w][16]`.
    pub weights: *const f32,
    /// Floats from one kernel row's weights to the next.
    pub weight_step: usize,
    /// Taps in a kernel row.
    pub kernel_w: usize,
    /// Floats between neighbouring taps of a row.
    pub tap_step: usize,
    /// Floats from a pixel's taps to those of the next.
    pub pixel_step: usize,
    /// Zeros to the left, in floats of the picture.
    pub lead: usize,
    /// Floats in a row of the picture, up to which taps lie inside.
    pub row_len: usize,
    pub bias: *const f32,
    pub output: *mut f32,
    /// Floats from one output pixel to the next.
    pub output_step: usize,
    /// Output pixels in the row.
    pub width: usize,
    /// Those of them with all taps inside: first and end.
    pub inner: (usize, usize),
    /// Channels of this block that exist.
    pub channels: usize,
    pub activation: Activation,
}

impl Line {
    /// The taps of pixel `x` that lie inside the picture: first and end.
    #[inline(always)]
    pub fn taps_inside(&self, x: usize) -> (usize, usize) {
        let start = x * self.pixel_step;
        let (mut first, mut end) = (0, self.kernel_w);
        while first < end && start + first * self.tap_step < self.lead {
            first += 1;
        }
        while first < end && start + (end - 1) * self.tap_step >= self.lead + self.row_len {
            end -= 1;
        }
        (first, end)
    }

    /// Calls `border` for each pixel that lacks taps, with the taps that it has, and `tile` for
    /// runs of `1, 2, 4` or `MOST_PIXELS` of the others.
    ///
    /// # Safety
    /// As [`depthwise`].
    #[inline(always)]
    pub unsafe fn pixels(
        &self,
        mut border: impl FnMut(usize, (usize, usize)),
        mut tile: impl FnMut(usize, usize),
    ) {
        for x in 0..self.inner.0 {
            border(x, self.taps_inside(x));
        }
        let mut x = self.inner.0;
        while x < self.inner.1 {
            let pixels = match self.inner.1 - x {
                MOST_PIXELS.. => MOST_PIXELS,
                4.. => 4,
                2.. => 2,
                _ => 1,
            };
            tile(x, pixels);
            x += pixels;
        }
        for x in self.inner.1..self.width {
            border(x, self.taps_inside(x));
        }
    }

    /// The first channel of pixel `x`'s left tap in one of `rows`; a mere number where that tap
    /// lies outside.
    #[inline(always)]
    pub fn tap(&self, row: usize, x: usize) -> *const f32 {
        self.rows[row]
            .wrapping_add(x.wrapping_mul(self.pixel_step))
            .wrapping_sub(self.lead)
    }

    /// The first channel of output pixel `x`.
    #[inline(always)]
    pub fn output_at(&self, x: usize) -> *mut f32 {
        self.output.wrapping_add(x.wrapping_mul(self.output_step))
    }
}

/// Computes a line.
///
/// # Safety
/// Each tap inside and each output pixel must be readable and writable for `channels` floats, the
/// weights and the bias for whole blocks; the instruction set must be there.
type RunLine = unsafe fn(&Line);

fn line_kernel(isa: Isa) -> RunLine {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => super::depthwise_avx512::line,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => super::depthwise_avx2::line,
        _ => line_portable,
    }
}

/// Computes the job.
///
/// # Safety
/// `input` must hold the rows that [`Window::rows_of`] names, `output` the rows themselves, and
/// nobody else may touch the output's channel blocks meanwhile. `isa` must be available.
pub unsafe fn depthwise(isa: Isa, job: &DepthwiseJob<'_>) {
    let run = line_kernel(isa);
    let DepthwiseJob {
        window,
        packed,
        width,
        ..
    } = *job;
    let (height_in, width_in) = job.input_size;
    let c = packed.channels;
    let taps = window.kernel.0 * window.kernel.1;
    let reach = (window.kernel.1 - 1) * window.dilation.1;
    let inner_end = (width_in + window.pad.1)
        .checked_sub(reach + 1)
        .map_or(0, |last| last / window.stride.1 + 1)
        .min(width);
    let inner = (
        window.pad.1.div_ceil(window.stride.1).min(inner_end),
        inner_end,
    );
    let slides = slide::applies(isa, job);
    let mut first = job.rows.0;
    while first < job.rows.1 {
        let mut group = [OutputRow::default(); GROUP];
        let end = (first + GROUP).min(job.rows.1);
        let group = &mut group[..end - first];
        for (row, y) in group.iter_mut().zip(first..end) {
            let inside = rows_inside(&window, y, height_in);
            for (slot, ky) in row.taps.iter_mut().zip(inside.0..inside.1) {
                let at = y * window.stride.0 + ky * window.dilation.0 - window.pad.0;
                // SAFETY: a row inside the picture, which the caller vouches for.
                *slot = unsafe { job.input.row(at) };
            }
            row.count = inside.1 - inside.0;
            row.skipped = inside.0;
            // SAFETY: an output row that the caller vouches for.
            row.output = unsafe { job.output.row(y) };
        }
        for block in job.blocks.0..job.blocks.1 {
            let channel = block * BLOCK;
            let channels = (c - channel).min(BLOCK);
            let weights = packed.weights[block * taps * BLOCK..].as_ptr();
            let bias = packed.bias[channel..].as_ptr();
            if slides {
                let channels = (channel, channels);
                // SAFETY: rows inside the picture, weights and bias of this block.
                unsafe { slide::slide(isa, job, group, (weights, bias), channels) };
                continue;
            }
            for row in group.iter() {
                let line = Line {
                    rows: row.taps.map(|taps| taps.wrapping_add(channel)),
                    row_count: row.count,
                    weights: weights.wrapping_add(row.skipped * window.kernel.1 * BLOCK),
                    weight_step: window.kernel.1 * BLOCK,
                    kernel_w: window.kernel.1,
                    tap_step: window.dilation.1 * c,
                    pixel_step: window.stride.1 * c,
                    lead: window.pad.1 * c,
                    row_len: width_in * c,
                    bias,
                    output: row.output.wrapping_add(channel),
                    output_step: c,
                    width,
                    inner,
                    channels,
                    activation: job.activation,
                };
                // SAFETY: taps inside the picture and pixels of this row.
                unsafe { run(&line) };
            }
        }
        first = end;
    }
}

/// The kernel rows that fall inside the picture for output row `y`: first and end.
fn rows_inside(window: &Window, y: usize, height: usize) -> (usize, usize) {
    let (start, dilation) = (y * window.stride.0, window.dilation.0);
    let first = window.pad.0.saturating_sub(start).div_ceil(dilation);
    let end = (height + window.pad.0)
        .saturating_sub(start)
        .div_ceil(dilation);
    let end = end.min(window.kernel.0);
    (first.min(end), end)
}

/// The line in plain Rust.
///
/// # Safety
/// See [`RunLine`].
pub(super) unsafe fn line_portable(line: &Line) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        line.pixels(
            |x, columns| pixel_portable(line, x, columns),
            |x, pixels| {
                for x in x..x + pixels {
                    pixel_portable(line, x, (0, line.kernel_w));
                }
            },
        );
    }
}

/// # Safety
/// See [`RunLine`]; the taps in `columns` lie inside.
unsafe fn pixel_portable(line: &Line, x: usize, columns: (usize, usize)) {
    let channels = line.channels;
    let mut sums = [0.0; BLOCK];
    // SAFETY: whole blocks of bias and weights; taps and outputs as the caller vouches for.
    unsafe {
        sums.copy_from_slice(std::slice::from_raw_parts(line.bias, BLOCK));
        for row in 0..line.row_count {
            for column in columns.0..columns.1 {
                let at = line.tap(row, x).wrapping_add(column * line.tap_step);
                let values = std::slice::from_raw_parts(at, channels);
                let at = (row * line.kernel_w + column) * BLOCK;
                let weights = std::slice::from_raw_parts(line.weights.wrapping_add(at), BLOCK);
                accumulate(&mut sums, values, weights);
            }
        }
        let output = std::slice::from_raw_parts_mut(line.output_at(x), channels);
        for (to, sum) in output.iter_mut().zip(sums) {
            *to = line.activation.of(sum);
        }
    }
}

fn accumulate(sums: &mut [f32; BLOCK], values: &[f32], weights: &[f32]) {
    // A known length lets the compiler use whole registers.
    if values.len() == BLOCK {
        for lane in 0..BLOCK {
            sums[lane] += values[lane] * weights[lane];
        }
    } else {
        for ((sum, value), weight) in sums.iter_mut().zip(values).zip(weights) {
            *sum += value * weight;
        }
    }
}
