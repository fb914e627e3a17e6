//! Depthwise convolutions on bfloat16 activations: dispatch, as in `depthwise`.
//!
//! Weights are rounded to bfloat16, sums are float32 from the bias on, the activation is applied in
//! float32, and the result is rounded to the nearest and to even.
//!
//! | file | what it holds |
//! |---|---|
//! | `packed_depthwise_bf16` | weights packed in blocks of 32 channels |
//! | `depthwise_bf16_avx512`, `depthwise_bf16_portable` | kernels for every window |
//! | `depthwise3x3_bf16_avx512` | the faster kernel for 3x3 at stride 1 and 2 |

use super::activation::Activation;
use super::depthwise::{ROW_GROUP, inner_pixels, output_rows};
use super::depthwise_row::{DepthwiseRow, OutputRow};
use super::isa_bf16::Bf16Isa;
use super::packed_depthwise::BLOCK;
use super::packed_depthwise_bf16::{BLOCK_BF16, PackedDepthwiseBf16};
use super::row_view::RowView;
use super::window::Window;

/// Arguments of a call: some rows and channel blocks of one depthwise convolution.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseBf16Job<'a> {
    /// The input, not padded.
    pub input: RowView<u16>,
    /// Its height and width.
    pub input_size: (usize, usize),
    /// Kernel size, stride, dilation and padding.
    pub window: Window,
    /// The packed weights.
    pub packed: &'a PackedDepthwiseBf16,
    /// Applied to the sums in the epilogue, in float32.
    pub activation: Activation,
    /// Where the results go.
    pub output: RowView<u16>,
    /// Output pixels in a row.
    pub width: usize,
    /// The output rows to compute.
    pub rows: (usize, usize),
    /// The channel blocks to compute, of [`BLOCK_BF16`] channels each.
    pub blocks: (usize, usize),
}

/// Computes one output row of 16 channels.
///
/// # Safety
/// As [`DepthwiseRow`].
type RowKernel = unsafe fn(&DepthwiseRow<u16>);

fn row_kernel(isa: Bf16Isa) -> RowKernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Bf16Isa::Avx512Bf16 | Bf16Isa::AmxBf16 => super::depthwise_bf16_avx512::depthwise_row,
        _ => super::depthwise_bf16_portable::depthwise_row,
    }
}

/// Computes a job.
///
/// # Safety
/// `input` must hold the rows that [`Window::input_rows`] gives, `output` the rows themselves, and
/// nobody else may touch the output's channel blocks meanwhile; the packed weights are of the
/// window's kernel size. `isa` must be available.
pub unsafe fn depthwise_bf16(isa: Bf16Isa, job: &DepthwiseBf16Job<'_>) {
    let DepthwiseBf16Job { window, packed, .. } = *job;
    let (height_in, width_in) = job.input_size;
    let run_row = row_kernel(isa);
    let inner = inner_pixels(&window, width_in, job.width);
    let (c, taps) = (packed.channels, window.kernel.0 * window.kernel.1);
    let mut first = job.rows.0;
    while first < job.rows.1 {
        let mut group = [OutputRow::default(); ROW_GROUP];
        let end = (first + ROW_GROUP).min(job.rows.1);
        let group = &mut group[..end - first];
        // SAFETY: rows of the input and the output that the caller vouches for.
        unsafe { output_rows(group, first, (&window, height_in), job.input, job.output) };
        first = end;
        #[cfg(target_arch = "x86_64")]
        if isa != Bf16Isa::Portable
            && super::depthwise3x3::supports_window(&window, width_in, job.width)
        {
            // SAFETY: the caller's promise for these rows.
            unsafe { super::depthwise3x3_bf16_avx512::depthwise3x3(isa, job, group) };
            continue;
        }
        let channels = job.blocks.0 * BLOCK_BF16..c.min(job.blocks.1 * BLOCK_BF16);
        for channel in channels.step_by(BLOCK) {
            let weights = packed.floats.weights()[channel * taps..].as_ptr();
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
                    bias: packed.floats.bias()[channel..].as_ptr(),
                    output: row.output.wrapping_add(channel),
                    output_stride: c,
                    width: job.width,
                    inner,
                    channels: (c - channel).min(BLOCK),
                    activation: job.activation,
                };
                // SAFETY: taps inside the input and pixels of this row.
                unsafe { run_row(&args) };
            }
        }
    }
}
