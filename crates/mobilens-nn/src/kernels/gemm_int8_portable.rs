//! int8 GEMM microkernel in plain Rust, for CPUs without a vectorised kernel of their own.

use super::activation::Activation;
use super::gemm_int8_block::{GemmInt8Block, Int8Tile};
use super::packed_gemm_int8::{MAX_REGISTERS, STEP};
use super::requantize::{CodeFunction, CodeRange, Int8Output, Residual};

/// Channels of a register; a panel's weights for one value of K are neighbours.
const LANES: usize = 8;
/// Most channels in a panel.
const PANEL: usize = MAX_REGISTERS * LANES;
/// Pixels in a tile, at most.
const PIXELS: usize = 4;
/// Values in a register or a few, which the compiler vectorises.
const CHUNK: usize = 16;

/// 1.5 * 2^23: added to a float of at most 2^22, it rounds that to a whole number, ties to even,
/// which then is the low bits of the sum. Plain additions are vectorised for every target.
const ROUND: f32 = 12_582_912.0;
/// Nothing beyond these codes makes a difference.
const CODE_LIMIT: f32 = 65536.0;

/// # Safety
/// As [`GemmInt8Block`].
pub(super) unsafe fn gemm_block(block: &GemmInt8Block<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        let mut tiles = block.tiles(PIXELS);
        while let Some((tile, pixels)) = tiles.next() {
            let sums = sums_of(block, &tile, pixels);
            finish(block, &tile, &sums[..pixels]);
        }
    }
}

/// The sums of a tile for the panel's lanes; those of pixels that it does not have are of no use.
///
/// # Safety
/// As [`GemmInt8Block`]; the tile has `pixels`, at least one.
unsafe fn sums_of(
    block: &GemmInt8Block<'_>,
    tile: &Int8Tile,
    pixels: usize,
) -> [[i32; PANEL]; PIXELS] {
    let lanes = block.panel.registers * LANES;
    let segment_len = block.job.packed.segment_len;
    let row_len = STEP * lanes;
    let mut sums = [[0; PANEL]; PIXELS];
    for pixel in &mut sums {
        // SAFETY: the bias holds whole registers.
        let bias = unsafe { std::slice::from_raw_parts(block.bias, lanes) };
        pixel[..lanes].copy_from_slice(bias);
    }
    let [a, b, c, d] = &mut sums;
    let mut sums_of_pixels = [a, b, c, d].map(|sums| &mut sums[..lanes]);
    let mut weights = block.weights;
    for segment in block.job.segments {
        let input: [&[u8]; PIXELS] = std::array::from_fn(|pixel| {
            let start = tile.input[if pixel < pixels { pixel } else { 0 }];
            // SAFETY: each pixel has `segment_len` inputs from the start of each segment.
            unsafe { std::slice::from_raw_parts(start.wrapping_add(*segment), segment_len) }
        });
        for step in 0..block.segment_steps {
            let values = input.map(|input| {
                let mut values = [0; STEP];
                let first = step * STEP;
                match input[first..].first_chunk::<STEP>() {
                    Some(whole) => values = *whole,
                    None => values[..segment_len - first].copy_from_slice(&input[first..]),
                }
                values
            });
            // SAFETY: each step has its weights.
            let row = unsafe { std::slice::from_raw_parts(weights, row_len) };
            let [a, b, c, d] = &mut sums_of_pixels;
            add_step(a, b, c, d, values, row);
            weights = weights.wrapping_add(row_len);
        }
    }
    sums
}

/// Adds the products of one step to the sums of four pixels. Not inlined, so that the compiler knows
/// the slices to be apart and vectorises over the lanes.
#[inline(never)]
fn add_step(
    a: &mut [i32],
    b: &mut [i32],
    c: &mut [i32],
    d: &mut [i32],
    values: [[u8; STEP]; PIXELS],
    weights: &[i8],
) {
    let lanes = a.len();
    let (b, c, d) = (&mut b[..lanes], &mut c[..lanes], &mut d[..lanes]);
    let rows: [&[i8]; STEP] = std::array::from_fn(|i| &weights[i * lanes..][..lanes]);
    let values = values.map(|values| values.map(i32::from));
    for lane in 0..lanes {
        let weights = rows.map(|row| i32::from(row[lane]));
        // No sum comes near the end; the vectorised kernels would wrap too.
        let dot = |values: [i32; STEP]| {
            let products: [i32; STEP] = std::array::from_fn(|i| values[i].wrapping_mul(weights[i]));
            products.into_iter().fold(0_i32, i32::wrapping_add)
        };
        a[lane] = a[lane].wrapping_add(dot(values[0]));
        b[lane] = b[lane].wrapping_add(dot(values[1]));
        c[lane] = c[lane].wrapping_add(dot(values[2]));
        d[lane] = d[lane].wrapping_add(dot(values[3]));
    }
}

/// Writes the results of a tile whose sums are `[pixel][lane]`.
///
/// # Safety
/// As [`GemmInt8Block`].
unsafe fn finish(block: &GemmInt8Block<'_>, tile: &Int8Tile, sums: &[[i32; PANEL]]) {
    let panel = block.panel;
    let lanes = panel.registers * LANES;
    // SAFETY: one for each lane of the panel's registers.
    let multipliers = unsafe { std::slice::from_raw_parts(block.multipliers, lanes) };
    for (pixel, sums) in sums.iter().enumerate() {
        let mut values = [0.0; PANEL];
        for ((value, sum), multiplier) in values.iter_mut().zip(sums).zip(multipliers) {
            *value = *sum as f32 * multiplier;
        }
        let used = &mut values.as_chunks_mut::<CHUNK>().0[..panel.channels.div_ceil(CHUNK)];
        let at = tile.offset + pixel * block.output_stride;
        match block.job.packed.output() {
            Int8Output::Float(activation) => {
                for values in used {
                    activate(values, *activation);
                }
                // SAFETY: the panel's channels are writable at each pixel.
                unsafe {
                    let to = block.floats.wrapping_add(at);
                    std::ptr::copy_nonoverlapping(values.as_ptr(), to, panel.channels);
                }
            }
            Int8Output::Codes {
                function,
                residual,
                range,
            } => {
                let (activation, inverse_scale) = match *function {
                    CodeFunction::None => (None, 1.0),
                    CodeFunction::HardSwish { inverse_scale } => {
                        (Some(Activation::HardSwish), inverse_scale)
                    }
                    CodeFunction::HardSigmoid { inverse_scale } => {
                        (Some(Activation::HardSigmoid), inverse_scale)
                    }
                };
                if let Some(activation) = activation {
                    for values in used.iter_mut() {
                        activate(values, activation);
                        values.iter_mut().for_each(|value| *value *= inverse_scale);
                    }
                }
                let mut codes = [0; PANEL];
                if let Some(residual) = residual {
                    // SAFETY: the panel's channels are readable at each pixel of the residual.
                    unsafe {
                        let from = block.residual.wrapping_add(at);
                        std::ptr::copy_nonoverlapping(from, codes.as_mut_ptr(), panel.channels);
                    }
                    for (values, codes) in used.iter_mut().zip(codes.as_chunks::<CHUNK>().0) {
                        add_residual(values, codes, *residual);
                    }
                }
                for (values, codes) in used.iter().zip(codes.as_chunks_mut::<CHUNK>().0) {
                    to_codes(values, codes, *range);
                }
                // SAFETY: the panel's channels are writable at each pixel.
                unsafe {
                    let to = block.codes.wrapping_add(at);
                    std::ptr::copy_nonoverlapping(codes.as_ptr(), to, panel.channels);
                }
            }
        }
    }
}

fn activate(values: &mut [f32; CHUNK], activation: Activation) {
    match activation {
        Activation::HardSwish => {
            for value in values {
                *value = Activation::HardSwish.apply(*value);
            }
        }
        Activation::HardSigmoid => {
            for value in values {
                *value = Activation::HardSigmoid.apply(*value);
            }
        }
        _ => values.iter_mut().for_each(|v| *v = activation.apply(*v)),
    }
}

fn add_residual(values: &mut [f32; CHUNK], codes: &[u8; CHUNK], residual: Residual) {
    if let Some(rounding) = residual.rounding {
        for value in values.iter_mut() {
            // The limits are whole, so that it does not matter which comes first.
            let limited = value.max(rounding.low).min(rounding.high);
            *value = (limited + ROUND - ROUND) * rounding.multiplier;
        }
    }
    for (value, code) in values.iter_mut().zip(codes) {
        let code = i32::from(*code) - i32::from(residual.zero_point);
        *value += code as f32 * residual.multiplier;
    }
}

fn to_codes(values: &[f32; CHUNK], codes: &mut [u8; CHUNK], range: CodeRange) {
    for (code, value) in codes.iter_mut().zip(values) {
        let rounded = value.clamp(-CODE_LIMIT, CODE_LIMIT) + ROUND;
        let whole = rounded.to_bits() as i32 - ROUND.to_bits() as i32;
        let limited = (whole + i32::from(range.zero_point))
            .max(i32::from(range.low))
            .min(i32::from(range.high));
        *code = limited as u8;
    }
}
