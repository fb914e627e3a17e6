//! The tile of [`super::product`] in plain Rust, for machines without a kernel of their own.

use super::product::{MOST_PIXELS, PANEL, Tile};

/// One panel of sums for `P` pixels, in the order of the taps.
fn sums<const P: usize>(taps: [&[f32]; P], weights: &[f32], sums: &mut [[f32; PANEL]; P]) {
    for (k, weights) in weights.as_chunks::<PANEL>().0.iter().enumerate() {
        for (sums, taps) in sums.iter_mut().zip(taps) {
            let tap = taps[k];
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += tap * *weight;
            }
        }
    }
}

/// # Safety
/// See [`super::product::TileKernel::run`].
pub(super) unsafe fn tile(tile: &Tile<'_>, pixels: usize, _panels: usize) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match pixels {
            1 => one_panel::<1>(tile),
            2 => one_panel::<2>(tile),
            3 => one_panel::<3>(tile),
            _ => one_panel::<4>(tile),
        }
    }
}

/// # Safety
/// As [`tile`], with exactly `P` pixels.
unsafe fn one_panel<const P: usize>(tile: &Tile<'_>) {
    const { assert!(P <= MOST_PIXELS) };
    let channels = tile.channels.min(PANEL);
    let mut all = [[0.0; PANEL]; P];
    for one in &mut all {
        // SAFETY: the bias holds whole panels.
        one.copy_from_slice(unsafe { std::slice::from_raw_parts(tile.bias, PANEL) });
    }
    let panel = tile.run_len * PANEL;
    for (r, run) in tile.runs.iter().enumerate() {
        // SAFETY: each pixel has `run_len` taps from each run's start, and each run its weights.
        unsafe {
            let mut taps = [&[][..]; P];
            for (slot, start) in taps.iter_mut().zip(tile.taps) {
                *slot = std::slice::from_raw_parts(start.add(*run), tile.run_len);
            }
            let weights = std::slice::from_raw_parts(tile.weights.add(r * panel), panel);
            sums(taps, weights, &mut all);
        }
    }
    for (i, one) in all.iter().enumerate() {
        // SAFETY: `channels` floats belong to each of the tile's output pixels.
        unsafe {
            let out =
                std::slice::from_raw_parts_mut(tile.output.add(i * tile.output_step), channels);
            for (to, sum) in out.iter_mut().zip(one) {
                *to = tile.activation.of(*sum);
            }
            if !tile.residual.is_null() {
                let more = tile.residual.add(i * tile.output_step);
                let more = std::slice::from_raw_parts(more, channels);
                for (to, more) in out.iter_mut().zip(more) {
                    *to += *more;
                }
            }
        }
    }
}
