//! Depthwise 3x3 along a row, each value of the picture read once.
//!
//! The nine weights of a few channels stay in registers while the columns of a row go by. With
//! stride 1 a column is the right tap of one output, the middle one of the next and the left one
//! of a third, so three sums are open at a time; with stride 2 one or two are. A column outside
//! the picture adds nothing, and so needs no border: the first and last outputs just get fewer
//! columns. Each output sums column by column from the left, and in a column from the top.
//!
//! A dilation of `d` to the right makes `d` rows of every `d`-th column, which do not touch.

use super::activation::Activation;
use super::depthwise::{BLOCK, DepthwiseJob, OutputRow};
use super::isa::Isa;
use super::registers::unrolled;

/// Taps in a row and in a column.
const SIDE: usize = 3;

/// Some channels of some rows of outputs.
#[derive(Clone, Copy, Debug)]
struct Slide<'a> {
    rows: &'a [OutputRow],
    /// From the start of a row of the picture to the channels in column 0.
    column: usize,
    /// Columns in the picture.
    columns: usize,
    /// Floats from one column to the next.
    column_step: usize,
    /// Columns missing to the left of the first output's taps.
    pad: usize,
    weights: *const f32,
    bias: *const f32,
    /// From the start of a row of outputs to the channels of output 0.
    output: usize,
    /// Floats from one output to the next.
    output_step: usize,
    /// Outputs in a row.
    outputs: usize,
    /// Channels to compute; a multiple of the instruction set's lanes.
    channels: usize,
    stride: usize,
    activation: Activation,
}

/// Whether this way is open for a job.
pub(super) fn applies(isa: Isa, job: &DepthwiseJob<'_>) -> bool {
    let window = job.window;
    let lanes = match isa {
        Isa::Avx512 => 16,
        Isa::Avx2 => 8,
        Isa::Portable => 4,
    };
    window.kernel == (SIDE, SIDE)
        && matches!(window.stride.1, 1 | 2)
        && (window.stride.1 == 1 || window.dilation.1 == 1)
        && job.packed.channels.is_multiple_of(lanes)
        && (0..window.dilation.1.min(job.width)).all(|phase| {
            let Phase {
                pad,
                columns,
                outputs,
                ..
            } = Phase::new(job, phase);
            match window.stride.1 {
                1 => pad < SIDE && columns + pad >= SIDE - 1 && outputs <= columns + pad,
                _ => pad <= 1 && columns > 0 && 2 * (outputs - 1) < columns + pad,
            }
        })
}

/// One of the `dilation` rows that do not touch.
struct Phase {
    /// Its first column in the picture.
    first: usize,
    pad: usize,
    columns: usize,
    outputs: usize,
}

impl Phase {
    fn new(job: &DepthwiseJob<'_>, phase: usize) -> Self {
        let (dilation, pad) = (job.window.dilation.1, job.window.pad.1);
        // Outputs `phase + i * dilation` have the columns `phase - pad + (i + kx) * dilation`.
        let missing = pad.saturating_sub(phase).div_ceil(dilation);
        let first = phase + missing * dilation - pad;
        Self {
            first,
            pad: missing,
            columns: job.input_size.1.saturating_sub(first).div_ceil(dilation),
            outputs: job.width.saturating_sub(phase).div_ceil(dilation),
        }
    }
}

/// Some output rows and one block of channels, of which there are `channels.1` from `channels.0`.
///
/// # Safety
/// As [`super::depthwise::depthwise`], of a job for which [`applies`]; `weights` and `bias` are
/// those of the block.
pub(super) unsafe fn slide(
    isa: Isa,
    job: &DepthwiseJob<'_>,
    rows: &[OutputRow],
    (weights, bias): (*const f32, *const f32),
    channels: (usize, usize),
) {
    let (c, dilation) = (job.packed.channels, job.window.dilation.1);
    for phase in 0..dilation.min(job.width) {
        let Phase {
            first,
            pad,
            columns,
            outputs,
        } = Phase::new(job, phase);
        let slide = Slide {
            rows,
            column: first * c + channels.0,
            columns,
            column_step: dilation * c,
            pad,
            weights,
            bias,
            output: phase * c + channels.0,
            output_step: dilation * c,
            outputs,
            channels: channels.1,
            stride: job.window.stride.1,
            activation: job.activation,
        };
        // SAFETY: the caller's promise; the phase's columns and outputs lie inside.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => avx512::run(&slide),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2::run(&slide),
                _ => portable::run(&slide),
            }
        }
    }
}

/// The code, written once for each kind of register.
macro_rules! slide_with {
    (
        $(#[$feature:meta])*
        lanes: $lanes:literal, load: $load:path, store: $store:path, fma: $fma:path,
        repeat: $repeat:path, clamp: $clamp:path, activate: $activate:path
    ) => {
        /// # Safety
        /// See [`super::slide`].
        $(#[$feature])*
        pub(super) unsafe fn run(slide: &Slide<'_>) {
            // Row by row, so that a cache line's other half is still there when it is wanted.
            for row in slide.rows {
                let mut channel = 0;
                while channel < slide.channels {
                    // SAFETY: the caller's promise is handed on.
                    unsafe {
                        match (row.count, slide.stride) {
                            (3, 1) => single::<3>(slide, row, channel),
                            (2, 1) => single::<2>(slide, row, channel),
                            (1, 1) => single::<1>(slide, row, channel),
                            (3, _) => double::<3>(slide, row, channel),
                            (2, _) => double::<2>(slide, row, channel),
                            (1, _) => double::<1>(slide, row, channel),
                            _ => single::<0>(slide, row, channel),
                        }
                    }
                    channel += $lanes;
                }
            }
        }

        /// Stride 1.
        ///
        /// # Safety
        /// See [`super::slide`]; `channel` and as many more as a register holds exist.
        $(#[$feature])*
        unsafe fn single<const R: usize>(slide: &Slide<'_>, row: &OutputRow, channel: usize) {
            // SAFETY: columns and outputs of the row, weights of whole blocks.
            unsafe {
                let weights = slide.weights.wrapping_add(row.skipped * SIDE * BLOCK + channel);
                let mut w = [[$repeat(0.0); SIDE]; R];
                unrolled!([0 1 2] I < R, {
                    let of_row = weights.wrapping_add(I * SIDE * BLOCK);
                    w[I] = [
                        $load(of_row),
                        $load(of_row.wrapping_add(BLOCK)),
                        $load(of_row.wrapping_add(2 * BLOCK)),
                    ];
                });
                let bias = $load(slide.bias.wrapping_add(channel));
                let clamps = matches!(slide.activation, Activation::Clamp { .. });
                let (low, high) = limits(slide.activation);
                let (low, high) = ($repeat(low), $repeat(high));
                let mut at = slide.column.wrapping_add(channel);
                let (mut a, mut b) = (bias, bias);
                let lead = (SIDE - 1 - slide.pad).min(slide.columns);
                for _ in 0..lead {
                    let mut next = bias;
                    unrolled!([0 1 2] I < R, {
                        let value = $load(row.taps[I].wrapping_add(at));
                        b = $fma(value, w[I][1], b);
                        next = $fma(value, w[I][0], next);
                    });
                    at = at.wrapping_add(slide.column_step);
                    (a, b) = (b, next);
                }
                let mut output = row.output.wrapping_add(slide.output.wrapping_add(channel));
                let whole = (slide.columns - lead).min(slide.outputs);
                for _ in 0..whole {
                    let mut next = bias;
                    unrolled!([0 1 2] I < R, {
                        let value = $load(row.taps[I].wrapping_add(at));
                        a = $fma(value, w[I][2], a);
                        b = $fma(value, w[I][1], b);
                        next = $fma(value, w[I][0], next);
                    });
                    at = at.wrapping_add(slide.column_step);
                    a = if clamps { $clamp(a, low, high) } else { $activate(a, slide.activation) };
                    $store(output, a);
                    output = output.wrapping_add(slide.output_step);
                    (a, b) = (b, next);
                }
                // Those that lack columns to the right.
                for _ in whole..slide.outputs {
                    $store(output, $activate(a, slide.activation));
                    output = output.wrapping_add(slide.output_step);
                    a = b;
                }
            }
        }

        /// Stride 2.
        ///
        /// # Safety
        /// See [`super::slide`]; `channel` and as many more as a register holds exist.
        $(#[$feature])*
        unsafe fn double<const R: usize>(slide: &Slide<'_>, row: &OutputRow, channel: usize) {
            // SAFETY: columns and outputs of the row, weights of whole blocks.
            unsafe {
                let weights = slide.weights.wrapping_add(row.skipped * SIDE * BLOCK + channel);
                let mut w = [[$repeat(0.0); SIDE]; R];
                unrolled!([0 1 2] I < R, {
                    let of_row = weights.wrapping_add(I * SIDE * BLOCK);
                    w[I] = [
                        $load(of_row),
                        $load(of_row.wrapping_add(BLOCK)),
                        $load(of_row.wrapping_add(2 * BLOCK)),
                    ];
                });
                let bias = $load(slide.bias.wrapping_add(channel));
                let clamps = matches!(slide.activation, Activation::Clamp { .. });
                let (low, high) = limits(slide.activation);
                let (low, high) = ($repeat(low), $repeat(high));
                let mut at = slide.column.wrapping_add(channel);
                let mut sum = bias;
                let lead = 1 - slide.pad;
                if lead == 1 {
                    unrolled!([0 1 2] I < R, {
                        sum = $fma($load(row.taps[I].wrapping_add(at)), w[I][0], sum);
                    });
                    at = at.wrapping_add(slide.column_step);
                }
                let mut output = row.output.wrapping_add(slide.output.wrapping_add(channel));
                let whole = ((slide.columns - lead) / 2).min(slide.outputs);
                for _ in 0..whole {
                    let mut next = bias;
                    unrolled!([0 1 2] I < R, {
                        sum = $fma($load(row.taps[I].wrapping_add(at)), w[I][1], sum);
                    });
                    at = at.wrapping_add(slide.column_step);
                    unrolled!([0 1 2] I < R, {
                        let value = $load(row.taps[I].wrapping_add(at));
                        sum = $fma(value, w[I][2], sum);
                        next = $fma(value, w[I][0], next);
                    });
                    at = at.wrapping_add(slide.column_step);
                    sum = if clamps { $clamp(sum, low, high) } else { $activate(sum, slide.activation) };
                    $store(output, sum);
                    output = output.wrapping_add(slide.output_step);
                    sum = next;
                }
                if whole < slide.outputs {
                    if lead + 2 * whole < slide.columns {
                        unrolled!([0 1 2] I < R, {
                            sum = $fma($load(row.taps[I].wrapping_add(at)), w[I][1], sum);
                        });
                    }
                    $store(output, $activate(sum, slide.activation));
                }
            }
        }
    };
}

/// What a clamp keeps to; anything where there is none.
fn limits(activation: Activation) -> (f32, f32) {
    match activation {
        Activation::Clamp { low, high } => (low, high),
        _ => (f32::NEG_INFINITY, f32::INFINITY),
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::super::product_avx512::{activate, clamp};
    use super::super::registers::{load16, store16};
    use super::{Activation, BLOCK, OutputRow, SIDE, Slide, limits, unrolled};

    slide_with! {
        #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
        lanes: 16, load: load16, store: store16, fma: _mm512_fmadd_ps,
        repeat: _mm512_set1_ps, clamp: clamp, activate: activate
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::super::product_avx2::{activate, clamp};
    use super::super::registers::{load8, store8};
    use super::{Activation, BLOCK, OutputRow, SIDE, Slide, limits, unrolled};

    slide_with! {
        #[target_feature(enable = "avx2,fma")]
        lanes: 8, load: load8, store: store8, fma: _mm256_fmadd_ps,
        repeat: _mm256_set1_ps, clamp: clamp, activate: activate
    }
}

mod portable {
    use super::{Activation, BLOCK, OutputRow, SIDE, Slide, limits, unrolled};

    /// As many floats as every 64-bit processor has in one register.
    type Four = [f32; 4];

    unsafe fn load(from: *const f32) -> Four {
        // SAFETY: the caller's promise that four floats are readable.
        unsafe { from.cast::<Four>().read_unaligned() }
    }

    unsafe fn store(to: *mut f32, value: Four) {
        // SAFETY: the caller's promise that four floats are writable.
        unsafe { to.cast::<Four>().write_unaligned(value) }
    }

    fn repeat(value: f32) -> Four {
        [value; 4]
    }

    fn fma(a: Four, b: Four, sum: Four) -> Four {
        std::array::from_fn(|i| a[i] * b[i] + sum[i])
    }

    fn clamp(x: Four, low: Four, high: Four) -> Four {
        std::array::from_fn(|i| x[i].max(low[i]).min(high[i]))
    }

    fn activate(x: Four, activation: Activation) -> Four {
        x.map(|x| activation.of(x))
    }

    slide_with! {
        lanes: 4, load: load, store: store, fma: fma,
        repeat: repeat, clamp: clamp, activate: activate
    }
}
