//! Depthwise convolution on bfloat16 in plain Rust, for CPUs without AVX-512 BF16.

use super::bf16::{bf16_from_f32, f32_from_bf16};
use super::depthwise_row::DepthwiseRow;
use super::packed_depthwise::BLOCK;

/// # Safety
/// As [`DepthwiseRow`].
pub(super) unsafe fn depthwise_row(row: &DepthwiseRow<u16>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        row.pixels(
            |x, columns| pixel(row, x, columns),
            |x, pixels| {
                for x in x..x + pixels {
                    pixel(row, x, (0, row.kernel_w));
                }
            },
        );
    }
}

/// # Safety
/// As [`DepthwiseRow`]; the taps in `columns` lie inside.
unsafe fn pixel(row: &DepthwiseRow<u16>, x: usize, columns: (usize, usize)) {
    let channels = row.channels;
    let mut sums = [0.0; BLOCK];
    // SAFETY: whole blocks of bias and weights; taps and outputs as the caller vouches for.
    unsafe {
        sums.copy_from_slice(std::slice::from_raw_parts(row.bias, BLOCK));
        for ky in 0..row.row_count {
            for column in columns.0..columns.1 {
                let at = row.tap(ky, x).wrapping_add(column * row.tap_stride);
                let values = std::slice::from_raw_parts(at, channels);
                let at = (ky * row.kernel_w + column) * BLOCK;
                let weights = std::slice::from_raw_parts(row.weights.wrapping_add(at), BLOCK);
                for ((sum, value), weight) in sums.iter_mut().zip(values).zip(weights) {
                    *sum += f32_from_bf16(*value) * weight;
                }
            }
        }
        let output = std::slice::from_raw_parts_mut(row.output_at(x), channels);
        for (to, sum) in output.iter_mut().zip(sums) {
            *to = bf16_from_f32(row.activation.apply(sum));
        }
    }
}
