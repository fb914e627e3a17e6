//! GEMM microkernel in plain Rust, for CPUs without a vectorised kernel of their own.
//!
//! The compiler turns the loops over eight channels into whatever registers the target has; four
//! pixels times eight channels fit the sixteen of SSE2 and the thirty-two of NEON.

use super::gemm_block::{GemmBlock, Tile};
use super::packed_gemm::PANEL;

/// Channels that are summed at a time.
const LANES: usize = 8;
/// Most pixels in a tile.
const PIXELS: usize = 4;

/// # Safety
/// As [`GemmBlock`].
pub(super) unsafe fn gemm_block(block: &GemmBlock<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        block.tiles(PIXELS, |tile, pixels| {
            for first in (0..block.channels.min(PANEL)).step_by(LANES) {
                match pixels {
                    1 => lanes::<1>(block, tile, first),
                    2 => lanes::<2>(block, tile, first),
                    3 => lanes::<3>(block, tile, first),
                    _ => lanes::<PIXELS>(block, tile, first),
                }
            }
        });
    }
}

/// # Safety
/// As [`GemmBlock`]; the tile has `P` pixels and `first` is a lane of the panel.
unsafe fn lanes<const P: usize>(block: &GemmBlock<'_>, tile: &Tile<'_>, first: usize) {
    let job = block.job;
    let mut sums = [[0.0; LANES]; P];
    for (i, pixel) in sums.iter_mut().enumerate() {
        let from = if block.chunk.first {
            block.bias
        } else {
            tile.sums.cast_const().wrapping_add(i * PANEL)
        };
        // SAFETY: the bias and the sums hold whole panels.
        pixel.copy_from_slice(unsafe {
            std::slice::from_raw_parts(from.wrapping_add(first), LANES)
        });
    }
    for segment in tile.segments {
        // SAFETY: each pixel has the inputs of each segment, and each segment its weights.
        unsafe {
            let mut input = [&[][..]; P];
            for (slot, start) in input.iter_mut().zip(*segment.pixels) {
                let start = start.wrapping_add(segment.offset);
                *slot = std::slice::from_raw_parts(start, segment.len);
            }
            multiply_accumulate(
                input,
                std::slice::from_raw_parts(segment.weights, segment.len * PANEL),
                first,
                &mut sums,
            );
        }
    }
    if !block.chunk.last {
        for (i, sums) in sums.iter().enumerate() {
            let to = tile.sums.wrapping_add(i * PANEL + first);
            // SAFETY: whole panels for each pixel of the tile.
            unsafe { std::slice::from_raw_parts_mut(to, LANES) }.copy_from_slice(sums);
        }
        return;
    }
    let channels = (block.channels - first).min(LANES);
    for (i, sums) in sums.iter().enumerate() {
        let at = i * block.output_stride + first;
        // SAFETY: `channels` floats belong to each of the tile's output pixels.
        unsafe {
            let out = std::slice::from_raw_parts_mut(tile.output.wrapping_add(at), channels);
            if tile.residual.is_null() {
                for (to, sum) in out.iter_mut().zip(sums) {
                    *to = job.activation.apply(*sum);
                }
                continue;
            }
            let residual = std::slice::from_raw_parts(tile.residual.wrapping_add(at), channels);
            for ((to, sum), residual) in out.iter_mut().zip(sums).zip(residual) {
                *to = if job.residual_first {
                    job.activation.apply(*sum + *residual)
                } else {
                    job.activation.apply(*sum) + *residual
                };
            }
        }
    }
}

/// Multiplies and accumulates `P` pixels with eight of the panel's channels, in ascending order of
/// k.
fn multiply_accumulate<const P: usize>(
    input: [&[f32]; P],
    weights: &[f32],
    first: usize,
    into: &mut [[f32; LANES]; P],
) {
    let mut sums = *into;
    for (k, weights) in weights.as_chunks::<PANEL>().0.iter().enumerate() {
        let mut row = [0.0; LANES];
        row.copy_from_slice(&weights[first..first + LANES]);
        for (sums, input) in sums.iter_mut().zip(input) {
            let value = input[k];
            for lane in 0..LANES {
                sums[lane] += value * row[lane];
            }
        }
    }
    *into = sums;
}
