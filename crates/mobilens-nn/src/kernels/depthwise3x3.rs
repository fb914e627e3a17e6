//! Depthwise 3x3 convolution at stride 1 and 2: a sliding window along each row that reads each
//! input value once.
//!
//! The nine weights of a few channels stay in registers while the columns of a row go by. At
//! stride 1 a column is the right tap of one output, the middle one of the next and the left one
//! of a third, so three accumulators are open at a time; at stride 2 one or two are. A column in
//! the padding adds nothing and is never read: the first and last outputs just get fewer columns.
//! Each output sums column by column from the left, and in a column from the top.
//!
//! A horizontal dilation of `d` splits a row into `d` phases of every `d`-th column, which are
//! independent.

use super::activation::Activation;
use super::depthwise_row::{DepthwiseJob, OutputRow};
use super::isa::Isa;
use super::packed_depthwise::BLOCK;
use super::simd::unrolled;
use super::window::Window;

/// Kernel height and width.
pub(super) const SIDE: usize = 3;

/// Some rows of one channel block, in one dilation phase.
#[derive(Clone, Copy, Debug)]
struct Depthwise3x3Block<'a> {
    rows: &'a [OutputRow],
    /// Floats from the start of an input row to the channels of column 0.
    column: usize,
    /// Columns of the input.
    columns: usize,
    /// Floats from one column to the next.
    column_stride: usize,
    /// Columns of padding at the left that the first output reads.
    pad: usize,
    weights: *const f32,
    bias: *const f32,
    /// Floats from the start of an output row to the channels of output 0.
    output: usize,
    /// Floats from one output to the next.
    output_stride: usize,
    /// Outputs in a row.
    outputs: usize,
    /// Channels to compute; a multiple of the instruction set's lanes.
    channels: usize,
    stride: usize,
    activation: Activation,
    /// What follows when a row is written, instead of `activation`.
    smooth: Option<Activation>,
}

/// Whether this kernel can compute the job.
pub(super) fn supports(isa: Isa, job: &DepthwiseJob<'_>) -> bool {
    let window = job.window;
    let lanes = match isa {
        // Half a block at the end is computed with the registers of AVX2.
        Isa::Avx512 | Isa::Avx2 => 8,
        Isa::Portable => 4,
    };
    job.packed.channels.is_multiple_of(lanes)
        && supports_window(&window, job.input_size.1, job.width)
}

/// Whether a sliding window can compute rows of `outputs` pixels from rows of `columns`.
pub(super) fn supports_window(window: &Window, columns: usize, outputs: usize) -> bool {
    window.kernel == (SIDE, SIDE)
        && matches!(window.stride.1, 1 | 2)
        && (window.stride.1 == 1 || window.dilation.1 == 1)
        && (0..window.dilation.1.min(outputs)).all(|phase| {
            let Phase {
                pad,
                columns,
                outputs,
                ..
            } = Phase::new(window, columns, outputs, phase);
            match window.stride.1 {
                1 => pad < SIDE && columns + pad >= SIDE - 1 && outputs <= columns + pad,
                _ => pad <= 1 && columns > 0 && 2 * (outputs - 1) < columns + pad,
            }
        })
}

/// One of the `dilation` independent phases of a row.
pub(super) struct Phase {
    /// Its first column of the input.
    pub first: usize,
    /// Columns of padding at the left that its first output reads.
    pub pad: usize,
    /// Its columns of the input.
    pub columns: usize,
    /// Its outputs.
    pub outputs: usize,
}

impl Phase {
    /// The phase that begins with output `phase`, of rows of `outputs` pixels from rows of
    /// `columns`.
    pub fn new(window: &Window, columns: usize, outputs: usize, phase: usize) -> Self {
        let (dilation, pad) = (window.dilation.1, window.pad.1);
        // Outputs `phase + i * dilation` have the columns `phase - pad + (i + kx) * dilation`.
        let missing = pad.saturating_sub(phase).div_ceil(dilation);
        let first = phase + missing * dilation - pad;
        Self {
            first,
            pad: missing,
            columns: columns.saturating_sub(first).div_ceil(dilation),
            outputs: outputs.saturating_sub(phase).div_ceil(dilation),
        }
    }
}

/// Some output rows and one block of channels, of which there are `channels.1` from `channels.0`.
///
/// # Safety
/// As [`DepthwiseRow`](super::depthwise_row::DepthwiseRow) for each row, of a job that
/// [`supports`] accepts; `weights` and `bias` are those of the block.
pub(super) unsafe fn depthwise3x3(
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
        } = Phase::new(&job.window, job.input_size.1, job.width, phase);
        let block = Depthwise3x3Block {
            rows,
            column: first * c + channels.0,
            columns,
            column_stride: dilation * c,
            pad,
            weights,
            bias,
            output: phase * c + channels.0,
            output_stride: dilation * c,
            outputs,
            channels: channels.1,
            stride: job.window.stride.1,
            activation: if job.activation.is_smooth() {
                Activation::NONE
            } else {
                job.activation
            },
            smooth: job.activation.is_smooth().then_some(job.activation),
        };
        // SAFETY: the caller's promise; the phase's columns and outputs lie inside.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 if block.channels == BLOCK => avx512::run(&block),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Avx2 => avx2::run(&block),
                _ => portable::run(&block),
            }
        }
    }
}

/// The kernel, generated once for each kind of register.
macro_rules! depthwise3x3_kernel {
    (
        $(#[$feature:meta])*
        lanes: $lanes:literal, load: $load:path, store: $store:path, fma: $fma:path,
        broadcast: $broadcast:path, clamp: $clamp:path, activate: $activate:path,
        smooth_all: $smooth_all:path
    ) => {
        /// # Safety
        /// As [`super::depthwise3x3`].
        $(#[$feature])*
        pub(super) unsafe fn run(block: &Depthwise3x3Block<'_>) {
            // Row by row, so that a cache line's other half is still there when it is wanted.
            for row in block.rows {
                let mut channel = 0;
                while channel < block.channels {
                    // SAFETY: the caller's promise is handed on.
                    unsafe {
                        match (row.count, block.stride) {
                            (3, 1) => stride1::<3>(block, row, channel),
                            (2, 1) => stride1::<2>(block, row, channel),
                            (1, 1) => stride1::<1>(block, row, channel),
                            (3, _) => stride2::<3>(block, row, channel),
                            (2, _) => stride2::<2>(block, row, channel),
                            (1, _) => stride2::<1>(block, row, channel),
                            _ => stride1::<0>(block, row, channel),
                        }
                        if let Some(activation) = block.smooth {
                            smooth_row(block, row, channel, activation);
                        }
                    }
                    channel += $lanes;
                }
            }
        }

        /// The activation of a row that was written without it, while it is in the L1 cache.
        ///
        /// # Safety
        /// As [`super::depthwise3x3`]; `channel` and as many more as a register holds exist.
        $(#[$feature])*
        unsafe fn smooth_row(
            block: &Depthwise3x3Block<'_>,
            row: &OutputRow,
            channel: usize,
            activation: Activation,
        ) {
            let mut output = row.output.wrapping_add(block.output.wrapping_add(channel));
            let mut left = block.outputs;
            while left > 0 {
                let count = left.min(8);
                let mut values = [$broadcast(0.0); 8];
                // SAFETY: outputs of the row.
                unsafe {
                    for (i, value) in values[..count].iter_mut().enumerate() {
                        *value = $load(output.wrapping_add(i * block.output_stride).cast_const());
                    }
                    $smooth_all(&mut values[..count], activation);
                    for (i, value) in values[..count].iter().enumerate() {
                        $store(output.wrapping_add(i * block.output_stride), *value);
                    }
                }
                output = output.wrapping_add(count * block.output_stride);
                left -= count;
            }
        }

        /// Stride 1.
        ///
        /// # Safety
        /// As [`super::depthwise3x3`]; `channel` and as many more as a register holds exist.
        $(#[$feature])*
        unsafe fn stride1<const R: usize>(block: &Depthwise3x3Block<'_>, row: &OutputRow, channel: usize) {
            // SAFETY: columns and outputs of the row, weights of whole blocks.
            unsafe {
                let weights = block.weights.wrapping_add(row.skipped * SIDE * BLOCK + channel);
                let mut w = [[$broadcast(0.0); SIDE]; R];
                unrolled!([0 1 2] I < R, {
                    let of_row = weights.wrapping_add(I * SIDE * BLOCK);
                    w[I] = [
                        $load(of_row),
                        $load(of_row.wrapping_add(BLOCK)),
                        $load(of_row.wrapping_add(2 * BLOCK)),
                    ];
                });
                let bias = $load(block.bias.wrapping_add(channel));
                let clamps = matches!(block.activation, Activation::Clamp { .. });
                let (low, high) = limits(block.activation);
                let (low, high) = ($broadcast(low), $broadcast(high));
                let mut at = block.column.wrapping_add(channel);
                let (mut a, mut b) = (bias, bias);
                let lead = (SIDE - 1 - block.pad).min(block.columns);
                for _ in 0..lead {
                    let mut next = bias;
                    unrolled!([0 1 2] I < R, {
                        let value = $load(row.taps[I].wrapping_add(at));
                        b = $fma(value, w[I][1], b);
                        next = $fma(value, w[I][0], next);
                    });
                    at = at.wrapping_add(block.column_stride);
                    (a, b) = (b, next);
                }
                let mut output = row.output.wrapping_add(block.output.wrapping_add(channel));
                let whole = (block.columns - lead).min(block.outputs);
                for _ in 0..whole {
                    let mut next = bias;
                    unrolled!([0 1 2] I < R, {
                        let value = $load(row.taps[I].wrapping_add(at));
                        a = $fma(value, w[I][2], a);
                        b = $fma(value, w[I][1], b);
                        next = $fma(value, w[I][0], next);
                    });
                    at = at.wrapping_add(block.column_stride);
                    a = if clamps { $clamp(a, low, high) } else { $activate(a, block.activation) };
                    $store(output, a);
                    output = output.wrapping_add(block.output_stride);
                    (a, b) = (b, next);
                }
                // Those that lack columns to the right.
                for _ in whole..block.outputs {
                    $store(output, $activate(a, block.activation));
                    output = output.wrapping_add(block.output_stride);
                    a = b;
                }
            }
        }

        /// Stride 2.
        ///
        /// # Safety
        /// As [`super::depthwise3x3`]; `channel` and as many more as a register holds exist.
        $(#[$feature])*
        unsafe fn stride2<const R: usize>(block: &Depthwise3x3Block<'_>, row: &OutputRow, channel: usize) {
            // SAFETY: columns and outputs of the row, weights of whole blocks.
            unsafe {
                let weights = block.weights.wrapping_add(row.skipped * SIDE * BLOCK + channel);
                let mut w = [[$broadcast(0.0); SIDE]; R];
                unrolled!([0 1 2] I < R, {
                    let of_row = weights.wrapping_add(I * SIDE * BLOCK);
                    w[I] = [
                        $load(of_row),
                        $load(of_row.wrapping_add(BLOCK)),
                        $load(of_row.wrapping_add(2 * BLOCK)),
                    ];
                });
                let bias = $load(block.bias.wrapping_add(channel));
                let clamps = matches!(block.activation, Activation::Clamp { .. });
                let (low, high) = limits(block.activation);
                let (low, high) = ($broadcast(low), $broadcast(high));
                let mut at = block.column.wrapping_add(channel);
                let mut sum = bias;
                let lead = 1 - block.pad;
                if lead == 1 {
                    unrolled!([0 1 2] I < R, {
                        sum = $fma($load(row.taps[I].wrapping_add(at)), w[I][0], sum);
                    });
                    at = at.wrapping_add(block.column_stride);
                }
                let mut output = row.output.wrapping_add(block.output.wrapping_add(channel));
                let whole = ((block.columns - lead) / 2).min(block.outputs);
                for _ in 0..whole {
                    let mut next = bias;
                    unrolled!([0 1 2] I < R, {
                        sum = $fma($load(row.taps[I].wrapping_add(at)), w[I][1], sum);
                    });
                    at = at.wrapping_add(block.column_stride);
                    unrolled!([0 1 2] I < R, {
                        let value = $load(row.taps[I].wrapping_add(at));
                        sum = $fma(value, w[I][2], sum);
                        next = $fma(value, w[I][0], next);
                    });
                    at = at.wrapping_add(block.column_stride);
                    sum = if clamps { $clamp(sum, low, high) } else { $activate(sum, block.activation) };
                    $store(output, sum);
                    output = output.wrapping_add(block.output_stride);
                    sum = next;
                }
                if whole < block.outputs {
                    if lead + 2 * whole < block.columns {
                        unrolled!([0 1 2] I < R, {
                            sum = $fma($load(row.taps[I].wrapping_add(at)), w[I][1], sum);
                        });
                    }
                    $store(output, $activate(sum, block.activation));
                }
            }
        }
    };
}

/// The bounds of a clamp; infinite for other activations.
pub(super) fn limits(activation: Activation) -> (f32, f32) {
    match activation {
        Activation::Clamp { low, high } => (low, high),
        _ => (f32::NEG_INFINITY, f32::INFINITY),
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::super::activation_avx512::{activate, clamp, smooth_all};
    use super::super::simd::{load16, store16};
    use super::{Activation, BLOCK, Depthwise3x3Block, OutputRow, SIDE, limits, unrolled};

    depthwise3x3_kernel! {
        #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
        lanes: 16, load: load16, store: store16, fma: _mm512_fmadd_ps,
        broadcast: _mm512_set1_ps, clamp: clamp, activate: activate, smooth_all: smooth_all
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::super::activation_avx2::{activate, clamp, smooth_all};
    use super::super::simd::{load8, store8};
    use super::{Activation, BLOCK, Depthwise3x3Block, OutputRow, SIDE, limits, unrolled};

    depthwise3x3_kernel! {
        #[target_feature(enable = "avx2,fma")]
        lanes: 8, load: load8, store: store8, fma: _mm256_fmadd_ps,
        broadcast: _mm256_set1_ps, clamp: clamp, activate: activate, smooth_all: smooth_all
    }
}

mod portable {
    use super::{Activation, BLOCK, Depthwise3x3Block, OutputRow, SIDE, limits, unrolled};

    /// A vector of the four lanes that every 64-bit CPU has in one register.
    type F32x4 = [f32; 4];

    unsafe fn load(from: *const f32) -> F32x4 {
        // SAFETY: the caller's promise that four floats are readable.
        unsafe { from.cast::<F32x4>().read_unaligned() }
    }

    unsafe fn store(to: *mut f32, value: F32x4) {
        // SAFETY: the caller's promise that four floats are writable.
        unsafe { to.cast::<F32x4>().write_unaligned(value) }
    }

    fn broadcast(value: f32) -> F32x4 {
        [value; 4]
    }

    fn fma(a: F32x4, b: F32x4, sum: F32x4) -> F32x4 {
        std::array::from_fn(|i| a[i] * b[i] + sum[i])
    }

    fn clamp(x: F32x4, low: F32x4, high: F32x4) -> F32x4 {
        std::array::from_fn(|i| x[i].max(low[i]).min(high[i]))
    }

    fn activate(x: F32x4, activation: Activation) -> F32x4 {
        x.map(|x| activation.apply(x))
    }

    fn smooth_all(values: &mut [F32x4], activation: Activation) {
        super::super::activation_functions::scalar::smooth_all(
            values.as_flattened_mut(),
            activation,
        );
    }

    depthwise3x3_kernel! {
        lanes: 4, load: load, store: store, fma: fma,
        broadcast: broadcast, clamp: clamp, activate: activate, smooth_all: smooth_all
    }
}
