//! Int8 depthwise convolutions, vectorised over channels: row pointers and dispatch.
//!
//! The input is not padded: a tap outside of it points to a constant row of zero points, so every
//! output sums all of its taps, and the bias, into which the zero point has been folded, is right
//! for all of them.
//!
//! | file | what it holds |
//! |---|---|
//! | `packed_depthwise_int8` | weights, bias and multipliers in the order of the registers |
//! | `depthwise_int8_kernels` | kernels over the width of a register and the instruction of the product |
//! | `depthwise_int8_x86`, `depthwise_int8_registers` | those of AVX-512 VNNI, AVX-VNNI and AVX2 |
//! | `depthwise_int8_portable` | the kernel in plain Rust |
//!
//! 3x3 at stride 1 and 2 goes column by column: the bytes of three rows are interleaved once and
//! serve the three outputs that the column is a part of. Other windows interleave the taps of each
//! output four by four.

#[cfg(target_arch = "x86_64")]
use super::depthwise_int8_kernels::{Pixels, Slide, SlideRow};
use super::depthwise_int8_portable;
#[cfg(target_arch = "x86_64")]
use super::depthwise_int8_x86::{runs, slide, window};
use super::isa::Int8Isa;
#[cfg(target_arch = "x86_64")]
use super::packed_depthwise_int8::Block;
use super::packed_depthwise_int8::{BLOCK_INT8, GROUP_TAPS, PackedDepthwiseInt8};
#[cfg(test)]
use super::requantize::Requantize;
use super::row_view::RowView;
use super::shape::Shape;
use super::window::{MAX_KERNEL_SIZE, Window};

/// Arguments of a call: some rows and channel blocks of one int8 depthwise convolution.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseInt8Job<'a> {
    /// The input, not padded.
    pub input: RowView<u8>,
    /// Its height and width.
    pub input_size: (usize, usize),
    /// Kernel size, stride, dilation and padding.
    pub window: Window,
    /// The value of the padding.
    pub zero_point: u8,
    /// The packed weights and the epilogue.
    pub packed: &'a PackedDepthwiseInt8,
    /// Where the results go.
    pub output: RowView<u8>,
    /// Output pixels in a row.
    pub width: usize,
    /// The output rows to compute.
    pub rows: (usize, usize),
    /// The channel blocks to compute.
    pub blocks: (usize, usize),
}

/// Most taps of a kernel, in whole groups.
pub(super) const MAX_TAPS: usize = (MAX_KERNEL_SIZE * MAX_KERNEL_SIZE).next_multiple_of(GROUP_TAPS);

/// Channel blocks that are computed for one pixel before the next; the constant row of zero
/// points is as long.
const BLOCKS_AT_ONCE: usize = 32;

/// Most output rows that are computed for one block of channels before the next.
#[cfg(target_arch = "x86_64")]
const ROW_GROUP: usize = 16;

/// Bytes of input and output of these rows, so that they stay in L2 from block to block.
#[cfg(target_arch = "x86_64")]
const GROUP_BYTES: usize = 256 << 10;

/// The reference: the convolution by its definition, `[h, w, c]` in and out, weights
/// `[c][kernel_h][kernel_w]`. The zero point has been folded into the bias.
#[cfg(test)]
pub(super) fn reference(
    (input, shape, zero_point): (&[u8], Shape, u8),
    window: Window,
    weights: &[i16],
    bias: &[i32],
    requantize: &Requantize,
    output: Shape,
) -> Vec<u8> {
    let count = window.kernel.0 * window.kernel.1;
    let zero = i32::from(zero_point);
    let mut codes = Vec::new();
    for y in 0..output.h {
        for x in 0..output.w {
            for channel in 0..output.c {
                let weights = &weights[channel * count..][..count];
                let padding = weights.iter().map(|w| i32::from(*w) * zero).sum::<i32>();
                let products = window.pixels(y, x, shape).map(|(ky, kx, pixel)| {
                    let code = i32::from(input[pixel * shape.c + channel]);
                    (code - zero) * i32::from(weights[ky * window.kernel.1 + kx])
                });
                let sum = bias[channel] + padding + products.sum::<i32>();
                codes.push(requantize.code(sum, channel, 0));
            }
        }
    }
    codes
}

/// Computes a job.
///
/// # Safety
/// `input` must hold the rows that [`Window::input_rows`] gives, `output` the rows themselves, and
/// nobody else may touch the output's channel blocks meanwhile. `isa` must be available.
pub unsafe fn depthwise_int8(isa: Int8Isa, job: &DepthwiseInt8Job<'_>) {
    assert!(
        job.packed.kernel() == job.window.kernel
            && job.window.kernel.0.max(job.window.kernel.1) <= MAX_KERNEL_SIZE
            && job.blocks.1 <= job.packed.blocks(),
        "weights of this window, at most 7x7, and blocks that exist"
    );
    #[cfg(target_arch = "x86_64")]
    if isa != Int8Isa::Portable && slides(&job.window) && !job.packed.is_doubled() {
        // SAFETY: the caller's promise is handed on.
        return unsafe { slide_rows(isa, job) };
    }
    let mut first = job.blocks.0;
    while first < job.blocks.1 {
        let end = (first + BLOCKS_AT_ONCE).min(job.blocks.1);
        // SAFETY: the caller's promise is handed on.
        unsafe { windows(isa, job, (first, end)) };
        first = end;
    }
}

/// Computes a whole tensor: `[h, w, c]` in and out.
///
/// # Panics
/// When the slices are not as long as the shapes say, the channels are not those of the weights,
/// or this CPU does not support `isa`.
pub fn depthwise_int8_tensor(
    isa: Int8Isa,
    packed: &PackedDepthwiseInt8,
    window: Window,
    (input, shape, zero_point): (&[u8], Shape, u8),
    (output, output_shape): (&mut [u8], Shape),
) {
    assert!(
        input.len() == shape.elements()
            && output.len() == output_shape.elements()
            && shape.c == packed.channels
            && output_shape.c == packed.channels
            && isa.available(),
        "tensors of these shapes, and an instruction set that is there"
    );
    let view = |start: *mut u8, shape: Shape| RowView {
        start,
        stride: shape.row(),
        row_count: shape.h,
    };
    let job = DepthwiseInt8Job {
        input: view(input.as_ptr().cast_mut(), shape),
        input_size: (shape.h, shape.w),
        window,
        zero_point,
        packed,
        output: view(output.as_mut_ptr(), output_shape),
        width: output_shape.w,
        rows: (0, output_shape.h),
        blocks: (0, packed.blocks()),
    };
    // SAFETY: whole tensors, of which the output is borrowed alone; the input is only read.
    unsafe { depthwise_int8(isa, &job) };
}

/// The input row that kernel row `ky` of output row `y` reads; null outside.
///
/// # Safety
/// As [`depthwise_int8`].
unsafe fn input_row(job: &DepthwiseInt8Job<'_>, y: usize, ky: usize) -> *const u8 {
    let window = &job.window;
    let at = (y * window.stride.0 + ky * window.dilation.0).checked_sub(window.pad.0);
    match at.filter(|at| *at < job.input_size.0) {
        // SAFETY: a row of the input, which the caller vouches for.
        Some(at) => unsafe { job.input.row(at) },
        None => std::ptr::null(),
    }
}

/// Any window, for at most [`BLOCKS_AT_ONCE`] blocks. Neighbouring pixels none of whose taps lies to
/// the left or right of the input are computed in one call.
///
/// # Safety
/// As [`depthwise_int8`].
unsafe fn windows(isa: Int8Isa, job: &DepthwiseInt8Job<'_>, blocks: (usize, usize)) {
    let packed = job.packed;
    let constant = [job.zero_point; BLOCKS_AT_ONCE * BLOCK_INT8];
    let (c, width) = (packed.channels, job.input_size.1);
    let Window {
        stride,
        dilation,
        pad,
        ..
    } = job.window;
    let last_block = packed.block(blocks.1 - 1);
    let (first, end) = (
        packed.block(blocks.0).first,
        last_block.first + last_block.channels,
    );
    // The pixels all of whose taps lie in columns of the input.
    let extent = (job.window.kernel.1 - 1) * dilation.1;
    let inner_end = (width + pad.1)
        .checked_sub(extent + 1)
        .map_or(0, |last| last / stride.1 + 1);
    let inner = pad.1.div_ceil(stride.1)..inner_end.min(job.width);
    #[cfg(target_arch = "x86_64")]
    let runs = (isa != Int8Isa::Portable).then(|| runs(isa, packed, blocks));
    #[cfg(target_arch = "x86_64")]
    let taps = match runs {
        Some(_) => packed.grouped_taps(),
        None => packed.taps(),
    };
    #[cfg(not(target_arch = "x86_64"))]
    let (taps, _) = (packed.taps(), isa);
    for y in job.rows.0..job.rows.1 {
        let mut rows = [std::ptr::null(); MAX_KERNEL_SIZE];
        for (ky, row) in rows.iter_mut().enumerate().take(job.window.kernel.0) {
            // SAFETY: the caller's promise.
            *row = unsafe { input_row(job, y, ky) };
        }
        // SAFETY: an output row that the caller vouches for.
        let output = unsafe { job.output.row(y) }.wrapping_add(first);
        let mut pointers = [constant.as_ptr(); MAX_TAPS];
        let mut steps = [0; MAX_TAPS];
        for (step, (ky, _)) in steps.iter_mut().zip(taps) {
            if !rows[*ky].is_null() {
                *step = stride.1 * c;
            }
        }
        let mut x = 0;
        while x < job.width {
            for (pointer, (ky, kx)) in pointers.iter_mut().zip(taps) {
                let column = (x * stride.1 + kx * dilation.1).wrapping_sub(pad.1);
                *pointer = if column < width && !rows[*ky].is_null() {
                    rows[*ky].wrapping_add(column * c + first)
                } else {
                    constant.as_ptr()
                };
            }
            let count = if inner.contains(&x) { inner.end - x } else { 1 };
            let output = output.wrapping_add(x * c);
            x += count;
            // SAFETY: each tap points to the channels of these blocks at a pixel of the input, or
            // to as many zero points; where there are more pixels, the steps lead to theirs. The
            // outputs are pixels of the caller's.
            unsafe {
                #[cfg(target_arch = "x86_64")]
                if let Some(runs) = &runs {
                    let pixels = Pixels {
                        taps: &pointers,
                        steps: &steps,
                        output,
                        output_step: c,
                        count,
                    };
                    window(runs, &pixels);
                    continue;
                }
                for pixel in 0..count {
                    let output = output.wrapping_add(pixel * c);
                    let taps = &pointers[..taps.len()];
                    depthwise_int8_portable::window(packed, (first, end), taps, output);
                    for (pointer, step) in pointers.iter_mut().zip(&steps) {
                        *pointer = pointer.wrapping_add(*step);
                    }
                }
            }
        }
    }
}

/// Whether the sliding kernel can compute this window.
#[cfg(target_arch = "x86_64")]
fn slides(window: &Window) -> bool {
    window.kernel == (3, 3) && matches!((window.stride.1, window.dilation.1), (1, _) | (2, 1))
}

/// 3x3 at stride 1 and 2. A horizontal dilation of `d` splits a row into `d` phases of every
/// `d`-th column, which are independent.
///
/// # Safety
/// As [`depthwise_int8`]; [`slides`] is true of the window.
#[cfg(target_arch = "x86_64")]
unsafe fn slide_rows(isa: Int8Isa, job: &DepthwiseInt8Job<'_>) {
    let packed = job.packed;
    let c = packed.channels;
    let (dilation, pad) = (job.window.dilation.1, job.window.pad.1);
    let constant = [job.zero_point; BLOCK_INT8];
    let row_bytes = (job.window.stride.0 * job.input_size.1 + job.width) * c;
    let group_rows = (GROUP_BYTES / row_bytes.max(1)).clamp(1, ROW_GROUP);
    let mut first = job.rows.0;
    while first < job.rows.1 {
        let end = (first + group_rows).min(job.rows.1);
        let mut group = [SlideRow::default(); ROW_GROUP];
        let group = &mut group[..end - first];
        for (row, y) in group.iter_mut().zip(first..end) {
            for (ky, tap) in row.taps.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *tap = unsafe { input_row(job, y, ky) };
            }
            // SAFETY: an output row that the caller vouches for.
            row.output = unsafe { job.output.row(y) };
        }
        for index in job.blocks.0..job.blocks.1 {
            let block: Block = packed.block(index);
            for phase in 0..dilation.min(job.width) {
                // Column `i` of the phase is column `phase + i * dilation - pad` of the input.
                let missing = pad.saturating_sub(phase).div_ceil(dilation);
                let columns = (job.input_size.1 + pad)
                    .saturating_sub(phase)
                    .div_ceil(dilation);
                let args = Slide {
                    rows: group,
                    constant: constant.as_ptr(),
                    column: (phase * c).wrapping_sub(pad * c),
                    column_stride: dilation * c,
                    inside: (missing, columns.saturating_sub(missing)),
                    output: phase * c,
                    output_stride: dilation * c,
                    outputs: (job.width - phase).div_ceil(dilation),
                    stride: job.window.stride.1,
                };
                // SAFETY: the phase's columns inside and its outputs lie in the rows, which the
                // caller vouches for.
                unsafe { slide(isa, packed, block, &args) };
            }
        }
        first = end;
    }
}
