//! Dense convolutions in bfloat16: cache blocking and dispatch, as in `gemm`.
//!
//! Input and weights are bfloat16, sums float32 from the bias on, in ascending order of k by pairs.
//! Activation and residual are applied in float32, and only the result is rounded, to the nearest
//! and to even. The order of the sum does not depend on how the work is split, so neither does any
//! bit of the result; it does depend on the instruction set, see [`Bf16Isa`].
//!
//! | file | what it holds |
//! |---|---|
//! | `bf16`, `simd_bf16` | conversions; loads, stores and products in AVX-512 BF16 |
//! | `packed_gemm_bf16` | weights packed in panels of 16 output channels by pairs of k |
//! | `gemm_bf16_block` | one cache block, and how it is cut into microkernel tiles |
//! | `gemm_bf16_amx`, `gemm_bf16_avx512`, `gemm_bf16_portable` | the microkernels |
//!
//! Which instruction set is worth it depends on the CPU: a Zen 4 core sums twice as many products a
//! second by `vdpbf16ps` as by float32 FMA, an Intel core of the 4th or 5th Xeon generation half as
//! many, but twelve times as many by AMX. There, of the float32 time of the same layer: pointwise at
//! 19x19 and 10x10 pixels 19 to 35 %, at 38x38 32 to 50 %, 75x75 30 to 80 %, 150x150 45 to 100 %
//! (bound by stores), the first 3x3 85 %, depthwise 3x3 40 to 110 %.

use super::gemm_bf16_block::{GemmBf16Block, GemmBf16Job};
use super::gemm_block::MAX_TILE_PIXELS;
use super::isa_bf16::Bf16Isa;
use super::packed_gemm::PANEL;

/// Values of the input that are read again for each group of panels; a part of L2.
const BLOCK_VALUES: usize = 96 * 1024;
/// Weights of at most this many values stay in L1; all panels are then applied to a few tiles.
const SMALL_WEIGHTS: usize = 12 * 1024;
/// The pixels of those tiles.
const SMALL_BLOCK: usize = 32;

/// An instruction set's loop over the tiles of a block.
struct BlockKernel {
    /// Panels that it takes at a time; `usize::MAX` if it takes all, and blocks by itself.
    panels: usize,
    /// # Safety
    /// As [`GemmBf16Block`].
    run: unsafe fn(&GemmBf16Block<'_>),
}

fn block_kernel(isa: Bf16Isa) -> BlockKernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Bf16Isa::Avx512Bf16 => BlockKernel {
            panels: 3,
            run: super::gemm_bf16_avx512::gemm_block,
        },
        #[cfg(target_arch = "x86_64")]
        Bf16Isa::AmxBf16 => BlockKernel {
            panels: usize::MAX,
            run: super::gemm_bf16_amx::gemm_block,
        },
        _ => BlockKernel {
            panels: 1,
            run: super::gemm_bf16_portable::gemm_block,
        },
    }
}

/// Computes a job.
///
/// # Safety
/// `input` must hold all that the output pixels of `rows` read, `output` and `residual` the rows
/// themselves, `bias` whole panels; nobody else may touch the output meanwhile. `isa` must be
/// available.
pub unsafe fn gemm_bf16(isa: Bf16Isa, job: &GemmBf16Job<'_>) {
    let GemmBf16Job { mut rows, .. } = *job;
    // Ranges of output rows that are contiguous in memory.
    while rows.0 < rows.1 {
        let mut end = job.output.contiguous_end(rows.0, rows.1);
        if let Some(residual) = job.residual {
            end = residual.contiguous_end(rows.0, end);
        }
        // SAFETY: a part of what the caller vouches for.
        unsafe { gemm_rows(isa, job, rows.0, end) };
        rows.0 = end;
    }
}

/// # Safety
/// As [`gemm_bf16`]; the output rows `y0..y1` are contiguous.
unsafe fn gemm_rows(isa: Bf16Isa, job: &GemmBf16Job<'_>, y0: usize, y1: usize) {
    let kernel = block_kernel(isa);
    let packed = job.packed;
    let pixels = (y1 - y0) * job.width;
    let n = packed.outputs;
    let panel_len = packed.panel_len();
    // SAFETY: rows that the caller vouches for.
    let output = unsafe { job.output.row(y0) };
    let residual = job
        .residual
        // SAFETY: rows that the caller vouches for.
        .map(|r| unsafe { r.row(y0) }.cast_const());
    let block_pixels = if kernel.panels == usize::MAX {
        pixels.max(1)
    } else if packed.k * n <= SMALL_WEIGHTS {
        SMALL_BLOCK
    } else {
        (BLOCK_VALUES / packed.k.max(1)).max(MAX_TILE_PIXELS)
    };
    let blocks = pixels.div_ceil(block_pixels);
    let mut block_start = 0;
    for b in 0..blocks {
        let block_end = pixels * (b + 1) / blocks;
        let mut panel = job.panels.0;
        while panel < job.panels.1 {
            let panels = kernel.panels.min(job.panels.1 - panel);
            let offset = block_start * n + panel * PANEL;
            let block = GemmBf16Block {
                job,
                weights: packed.weights()[panel * panel_len..].as_ptr(),
                panel_stride: panel_len,
                bias: job.bias[panel * PANEL..].as_ptr(),
                output: output.offset(offset),
                residual: residual.map_or(std::ptr::null(), |r| r.wrapping_add(offset)),
                output_stride: n,
                channels: n - panel * PANEL,
                panels,
                first: (y0 + block_start / job.width, block_start % job.width),
                pixels: block_end - block_start,
            };
            // SAFETY: a part of what the caller vouches for.
            unsafe { (kernel.run)(&block) };
            panel += panels;
        }
        block_start = block_end;
    }
}
