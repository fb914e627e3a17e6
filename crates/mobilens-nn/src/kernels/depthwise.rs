//! Depthwise convolutions, vectorised over channels: row pointers and dispatch.
//!
//! In NHWC the channels of one pixel are contiguous, so a register holds the same
//! kernel tap of several channels and no shuffle is ever needed. One block of [`BLOCK`] channels is
//! computed for all rows of the call before the next; the block's weights stay in L1. The input
//! is not padded: output pixels whose taps all lie inside are computed in tiles, the others one by
//! one over the taps that exist, in the same order.
//!
//! | file | what it holds |
//! |---|---|
//! | `packed_depthwise` | weights packed in blocks of 16 channels |
//! | `depthwise_row` | one output row of one channel block, and how it is cut into tiles |
//! | `depthwise_avx512`, `depthwise_avx2`, `depthwise_portable` | kernels for every window |
//! | `depthwise3x3` | the faster kernel for 3x3 at stride 1 and 2 |

use super::depthwise_portable::depthwise_row;
use super::depthwise_row::{DepthwiseJob, DepthwiseRow, OutputRow};
use super::depthwise3x3;
use super::isa::Isa;
use super::packed_depthwise::BLOCK;
use super::row_view::RowView;
#[cfg(test)]
use super::shape::Shape;
use super::window::Window;

/// The reference: the convolution by its definition, `[h, w, c]` in and out,
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

/// Output rows that are computed for one block of channels before the next; their pointers are
/// computed once for all blocks.
pub(super) const ROW_GROUP: usize = 16;

/// Computes one output row of one channel block.
///
/// # Safety
/// As [`DepthwiseRow`].
type RowKernel = unsafe fn(&DepthwiseRow);

fn row_kernel(isa: Isa) -> RowKernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => super::depthwise_avx512::depthwise_row,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => super::depthwise_avx2::depthwise_row,
        _ => depthwise_row,
    }
}

/// Computes a job.
///
/// # Safety
/// `input` must hold the rows that [`Window::input_rows`] gives, `output` the rows themselves, and
/// nobody else may touch the output's channel blocks meanwhile. `isa` must be available.
pub unsafe fn depthwise(isa: Isa, job: &DepthwiseJob<'_>) {
    let run_row = row_kernel(isa);
    let DepthwiseJob {
        window,
        packed,
        width,
        ..
    } = *job;
    let (height_in, width_in) = job.input_size;
    let c = packed.channels;
    let taps = window.kernel.0 * window.kernel.1;
    let inner = inner_pixels(&window, width_in, width);
    let use_3x3 = depthwise3x3::supports(isa, job);
    let mut first = job.rows.0;
    while first < job.rows.1 {
        let mut group = [OutputRow::default(); ROW_GROUP];
        let end = (first + ROW_GROUP).min(job.rows.1);
        let group = &mut group[..end - first];
        // SAFETY: rows of the input and the output that the caller vouches for.
        unsafe { output_rows(group, first, (&window, height_in), job.input, job.output) };
        for block in job.blocks.0..job.blocks.1 {
            let channel = block * BLOCK;
            let channels = (c - channel).min(BLOCK);
            let weights = packed.weights()[block * taps * BLOCK..].as_ptr();
            let bias = packed.bias()[channel..].as_ptr();
            if use_3x3 {
                let channels = (channel, channels);
                // SAFETY: rows of the input, weights and bias of this block.
                unsafe { depthwise3x3::depthwise3x3(isa, job, group, (weights, bias), channels) };
                continue;
            }
            for row in group.iter() {
                let args = DepthwiseRow {
                    rows: &row.taps,
                    channel,
                    row_count: row.count,
                    weights: weights.wrapping_add(row.skipped * window.kernel.1 * BLOCK),
                    weight_stride: window.kernel.1 * BLOCK,
                    kernel_w: window.kernel.1,
                    tap_stride: window.dilation.1 * c,
                    pixel_stride: window.stride.1 * c,
                    left_pad: window.pad.1 * c,
                    row_len: width_in * c,
                    bias,
                    output: row.output.wrapping_add(channel),
                    output_stride: c,
                    width,
                    inner,
                    channels,
                    activation: job.activation,
                };
                // SAFETY: taps inside the input and pixels of this row.
                unsafe { run_row(&args) };
            }
        }
        first = end;
    }
}

/// The output pixels of a row whose taps all lie inside the input: first and end.
pub(super) fn inner_pixels(window: &Window, width_in: usize, width: usize) -> (usize, usize) {
    let extent = (window.kernel.1 - 1) * window.dilation.1;
    let end = (width_in + window.pad.1)
        .checked_sub(extent + 1)
        .map_or(0, |last| last / window.stride.1 + 1)
        .min(width);
    (window.pad.1.div_ceil(window.stride.1).min(end), end)
}

/// Where output rows from `first` on read, in an input of `height` rows, and write.
///
/// # Safety
/// `input` holds the rows that [`Window::input_rows`] gives, `output` the rows themselves.
pub(super) unsafe fn output_rows<T>(
    rows: &mut [OutputRow<T>],
    first: usize,
    (window, height): (&Window, usize),
    input: RowView<T>,
    output: RowView<T>,
) {
    for (row, y) in rows.iter_mut().zip(first..) {
        let inside = kernel_rows_inside(window, y, height);
        for (slot, ky) in row.taps.iter_mut().zip(inside.0..inside.1) {
            let at = y * window.stride.0 + ky * window.dilation.0 - window.pad.0;
            // SAFETY: a row of the input, which the caller vouches for.
            *slot = unsafe { input.row(at) };
        }
        row.count = inside.1 - inside.0;
        row.skipped = inside.0;
        // SAFETY: an output row that the caller vouches for.
        row.output = unsafe { output.row(y) };
    }
}

/// The kernel rows that fall inside the input for output row `y`: first and end.
fn kernel_rows_inside(window: &Window, y: usize, height: usize) -> (usize, usize) {
    let (start, dilation) = (y * window.stride.0, window.dilation.0);
    let first = window.pad.0.saturating_sub(start).div_ceil(dilation);
    let end = (height + window.pad.0)
        .saturating_sub(start)
        .div_ceil(dilation);
    let end = end.min(window.kernel.0);
    (first.min(end), end)
}
