//! The tiles of [`super::product`] in plain Rust, for machines without kernels of their own.
//!
//! The compiler turns the loops over eight channels into whatever registers the target has; four
//! pixels times eight channels fit the sixteen of SSE2 and the thirty-two of NEON.

use super::product::{PANEL, Sweep, Tile};

/// Channels that are summed at a time.
const LANES: usize = 8;
/// Most pixels in a tile.
const PIXELS: usize = 4;

/// # Safety
/// See [`super::product::product`].
pub(super) unsafe fn sweep(sweep: &Sweep<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        sweep.tiles(PIXELS, |tile, pixels| {
            for first in (0..sweep.channels.min(PANEL)).step_by(LANES) {
                match pixels {
                    1 => lanes::<1>(sweep, tile, first),
                    2 => lanes::<2>(sweep, tile, first),
                    3 => lanes::<3>(sweep, tile, first),
                    _ => lanes::<PIXELS>(sweep, tile, first),
                }
            }
        });
    }
}

/// # Safety
/// See [`super::product::product`]; the tile has `P` pixels and `first` is a lane of the panel.
unsafe fn lanes<const P: usize>(sweep: &Sweep<'_>, tile: &Tile, first: usize) {
    let job = sweep.job;
    let mut all = [[0.0; LANES]; P];
    for one in &mut all {
        // SAFETY: the bias holds whole panels.
        one.copy_from_slice(unsafe {
            std::slice::from_raw_parts(sweep.bias.wrapping_add(first), LANES)
        });
    }
    let panel = job.run_len * PANEL;
    for (r, run) in job.runs.iter().enumerate() {
        // SAFETY: each pixel has `run_len` taps from each run's start, and each run its weights.
        unsafe {
            let mut taps = [&[][..]; P];
            for (slot, start) in taps.iter_mut().zip(tile.taps) {
                *slot = std::slice::from_raw_parts(start.wrapping_add(*run), job.run_len);
            }
            let weights = sweep.weights.wrapping_add(r * panel);
            sum(
                taps,
                std::slice::from_raw_parts(weights, panel),
                first,
                &mut all,
            );
        }
    }
    let channels = (sweep.channels - first).min(LANES);
    for (i, one) in all.iter().enumerate() {
        let at = i * sweep.output_step + first;
        // SAFETY: `channels` floats belong to each of the tile's output pixels.
        unsafe {
            let out = std::slice::from_raw_parts_mut(tile.output.wrapping_add(at), channels);
            for (to, sum) in out.iter_mut().zip(one) {
                *to = job.activation.of(*sum);
            }
            if !tile.residual.is_null() {
                let more = std::slice::from_raw_parts(tile.residual.wrapping_add(at), channels);
                for (to, more) in out.iter_mut().zip(more) {
                    *to += *more;
                }
            }
        }
    }
}

/// Adds the products of `P` pixels with eight of the panel's channels, in the order of the taps.
fn sum<const P: usize>(
    taps: [&[f32]; P],
    weights: &[f32],
    first: usize,
    into: &mut [[f32; LANES]; P],
) {
    let mut sums = *into;
    for (k, weights) in weights.as_chunks::<PANEL>().0.iter().enumerate() {
        let mut row = [0.0; LANES];
        row.copy_from_slice(&weights[first..first + LANES]);
        for (sums, taps) in sums.iter_mut().zip(taps) {
            let tap = taps[k];
            for lane in 0..LANES {
                sums[lane] += tap * row[lane];
            }
        }
    }
    *into = sums;
}
