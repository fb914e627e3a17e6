//! bfloat16 GEMM microkernel in plain Rust, for CPUs without AVX-512 BF16.

use super::bf16::{bf16_from_f32, f32_from_bf16};
use super::gemm_bf16_block::{Bf16Output, Bf16Tile, GemmBf16Block};
use super::packed_gemm::PANEL;

/// Most pixels in a tile.
const PIXELS: usize = 4;

/// # Safety
/// As [`GemmBf16Block`].
pub(super) unsafe fn gemm_block(block: &GemmBf16Block<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        block.tiles(PIXELS, |tile, pixels| match pixels {
            1 => panel::<1>(block, tile),
            2 => panel::<2>(block, tile),
            3 => panel::<3>(block, tile),
            _ => panel::<PIXELS>(block, tile),
        });
    }
}

/// # Safety
/// As [`GemmBf16Block`]; the tile has `P` pixels and the block one panel.
unsafe fn panel<const P: usize>(block: &GemmBf16Block<'_>, tile: &Bf16Tile) {
    let job = block.job;
    let segment_len = job.packed.segment_len;
    let mut sums = [[0.0; PANEL]; P];
    for pixel in &mut sums {
        // SAFETY: the bias holds whole panels.
        pixel.copy_from_slice(unsafe { std::slice::from_raw_parts(block.bias, PANEL) });
    }
    let weights_len = segment_len.div_ceil(2) * 2 * PANEL;
    for (i, segment) in job.segments.iter().enumerate() {
        // SAFETY: each pixel has `segment_len` inputs from the start of each segment, and each
        // segment its weights.
        unsafe {
            let mut input = [&[][..]; P];
            for (slot, start) in input.iter_mut().zip(tile.input) {
                *slot = std::slice::from_raw_parts(start.wrapping_add(*segment), segment_len);
            }
            let weights = block.weights.wrapping_add(i * weights_len);
            let weights = std::slice::from_raw_parts(weights, weights_len);
            multiply_accumulate(input, weights, &mut sums);
        }
    }
    let channels = block.channels.min(PANEL);
    for (i, sums) in sums.iter().enumerate() {
        let at = i * block.output_stride;
        let mut values = sums.map(|sum| job.activation.apply(sum));
        // SAFETY: `channels` values belong to each of the tile's output pixels.
        unsafe {
            if !tile.residual.is_null() {
                let residual = std::slice::from_raw_parts(tile.residual.wrapping_add(at), channels);
                for (value, residual) in values.iter_mut().zip(residual) {
                    *value += f32_from_bf16(*residual);
                }
            }
            match tile.output.offset(at) {
                Bf16Output::Bf16(output) => {
                    let output = std::slice::from_raw_parts_mut(output, channels);
                    for (to, value) in output.iter_mut().zip(values) {
                        *to = bf16_from_f32(value);
                    }
                }
                Bf16Output::Float(output) => {
                    let output = std::slice::from_raw_parts_mut(output, channels);
                    output.copy_from_slice(&values[..channels]);
                }
            }
        }
    }
}

/// Multiplies and accumulates `P` pixels with the panel's channels, in ascending order of k.
fn multiply_accumulate<const P: usize>(
    input: [&[u16]; P],
    weights: &[u16],
    into: &mut [[f32; PANEL]; P],
) {
    let mut sums = *into;
    let segment_len = input.first().map_or(0, |input| input.len());
    for (pair, weights) in weights.as_chunks::<{ 2 * PANEL }>().0.iter().enumerate() {
        for half in 0..2 {
            let k = 2 * pair + half;
            if k == segment_len {
                break;
            }
            let mut row = [0.0; PANEL];
            for (lane, weight) in row.iter_mut().enumerate() {
                *weight = f32_from_bf16(weights[2 * lane + half]);
            }
            for (sums, input) in sums.iter_mut().zip(input) {
                let value = f32_from_bf16(input[k]);
                for lane in 0..PANEL {
                    sums[lane] += value * row[lane];
                }
            }
        }
    }
    *into = sums;
}
