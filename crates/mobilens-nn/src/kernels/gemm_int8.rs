//! Dense int8 convolutions as matrix multiplication (GEMM) over pixels: cache blocking and dispatch.
//!
//! As [`gemm`](super::gemm), with codes of one byte in and sums in 32 bits, which
//! [`Requantize`](super::Requantize) turns into codes or floats. Integer sums are exact in any
//! order, and each step of the epilogue is one IEEE operation, so the bytes are the same on every
//! instruction set and for every split of the work.
//!
//! | file | what it holds |
//! |---|---|
//! | `packed_gemm_int8` | weights, bias and multipliers packed in panels of up to 64 channels |
//! | `weights_avx2` | weights in the order of AVX2: those that it can sum in 16 bits, and the others |
//! | `gemm_int8_block` | one cache block, and how it is cut into microkernel tiles |
//! | `gemm_int8_epilogue` | which epilogue turns the sums into codes or floats |
//! | `gemm_int8_avx512`, `gemm_int8_avx_vnni`, `gemm_int8_avx2`, `gemm_int8_portable` | the microkernels |
//! | `gemm_int8_avx512_epilogue`, `gemm_int8_ymm_epilogue` | their epilogues; AVX-VNNI and AVX2 share the latter |
//! | `gemm_int8_amx`, `amx` | the microkernel on tile registers, and these |

use std::cell::Cell;

use super::gemm_int8_block::{GemmInt8Block, GemmInt8Job, Int8Rows};
use super::isa::Int8Isa;
use super::packed_gemm_int8::PackedGemmInt8;
use super::requantize::Int8Output;

/// Bytes of the input that are read again for each panel; a part of L2.
const BLOCK_BYTES: usize = 256 * 1024;
/// Weights of at most this many bytes stay in L1; all panels are then applied to a few tiles.
const SMALL_WEIGHTS: usize = 24 * 1024;
/// Bytes of input and output of those tiles, which stay in L1 as well.
const SMALL_BLOCK_BYTES: usize = 16 * 1024;
/// Blocks have a multiple of this number of pixels: whole tiles of 6 and of 8.
const WHOLE_TILES: usize = 24;

/// Pixels that AMX computes at once.
const AMX_PIXELS: usize = 32;

/// The loop of an instruction set over the tiles of a block.
type BlockKernel = unsafe fn(&GemmInt8Block<'_>);

fn block_kernel(packed: &PackedGemmInt8) -> BlockKernel {
    match packed.isa() {
        #[cfg(target_arch = "x86_64")]
        Int8Isa::Avx512Amx if packed.k_tiles().is_some() => super::gemm_int8_amx::gemm_block,
        #[cfg(target_arch = "x86_64")]
        Int8Isa::Avx512Vnni | Int8Isa::Avx512Amx => super::gemm_int8_avx512::gemm_block,
        #[cfg(target_arch = "x86_64")]
        Int8Isa::AvxVnni => super::gemm_int8_avx_vnni::gemm_block,
        #[cfg(target_arch = "x86_64")]
        Int8Isa::Avx2 => super::gemm_int8_avx2::gemm_block,
        _ => super::gemm_int8_portable::gemm_block,
    }
}

/// Computes a job with the instruction set that its weights are packed for.
///
/// # Panics
/// When segments, residual or the type of the output are not those of the packed convolution.
///
/// # Safety
/// `input` must hold all that the output pixels of `rows` read, up to three bytes past each
/// segment's end included where its length is not a multiple of four; `output` and `residual` the
/// rows themselves, `outputs * width` values each, without gaps between the rows. Nobody else may
/// touch the output meanwhile.
pub unsafe fn gemm_int8(job: &GemmInt8Job<'_>) {
    let packed = job.packed;
    assert_eq!(job.segments.len(), packed.segments, "segments of K");
    let matches = match (packed.output(), job.output) {
        (Int8Output::Codes { residual, .. }, Int8Rows::Codes(_)) => {
            residual.is_some() == job.residual.is_some()
        }
        (Int8Output::Float(_), Int8Rows::Float(_)) => job.residual.is_none(),
        _ => false,
    };
    assert!(matches, "the output and the residual that were packed for");
    assert!(job.panels.1 <= packed.panels(), "panels of the weights");
    let GemmInt8Job { mut rows, .. } = *job;
    let tile_rows = Cell::new(0);
    // Ranges of output rows that are contiguous in memory.
    while rows.0 < rows.1 && job.width > 0 {
        let mut end = match job.output {
            Int8Rows::Codes(output) => output.contiguous_end(rows.0, rows.1),
            Int8Rows::Float(output) => output.contiguous_end(rows.0, rows.1),
        };
        if let Some(residual) = job.residual {
            end = residual.contiguous_end(rows.0, end);
        }
        // SAFETY: a part of what the caller vouches for.
        unsafe { gemm_rows(job, rows.0, end, &tile_rows) };
        rows.0 = end;
    }
    #[cfg(target_arch = "x86_64")]
    if tile_rows.get() > 0 {
        // SAFETY: AMX was used.
        unsafe { super::amx::release() };
    }
}

/// # Safety
/// As [`gemm_int8`]; the output rows `y0..y1` are contiguous.
unsafe fn gemm_rows(job: &GemmInt8Job<'_>, y0: usize, y1: usize, tile_rows: &Cell<usize>) {
    let packed = job.packed;
    let kernel = block_kernel(packed);
    let pixels = (y1 - y0) * job.width;
    let n = packed.outputs;
    let (mut codes, mut floats) = (std::ptr::null_mut::<u8>(), std::ptr::null_mut::<f32>());
    match job.output {
        // SAFETY: rows that the caller vouches for.
        Int8Rows::Codes(output) => codes = unsafe { output.row(y0) },
        // SAFETY: rows that the caller vouches for.
        Int8Rows::Float(output) => floats = unsafe { output.row(y0) },
    }
    let residual = job
        .residual
        // SAFETY: rows that the caller vouches for.
        .map_or(std::ptr::null(), |r| unsafe { r.row(y0) }.cast_const());
    let small = packed.weights_len() <= SMALL_WEIGHTS;
    let (most, whole) = if packed.k_tiles().is_some() {
        (BLOCK_BYTES / packed.k.max(n), AMX_PIXELS)
    } else if small {
        (SMALL_BLOCK_BYTES / (packed.k + n), WHOLE_TILES)
    } else {
        (BLOCK_BYTES / packed.k, WHOLE_TILES)
    };
    // About equal blocks.
    let blocks = pixels.div_ceil(most.max(1).next_multiple_of(whole));
    let block_pixels = pixels.div_ceil(blocks).next_multiple_of(whole);
    let mut block_start = 0;
    while block_start < pixels {
        let block_end = pixels.min(block_start + block_pixels);
        for index in job.panels.0..job.panels.1 {
            let panel = packed.panel(index);
            let next = index + 1;
            let offset = block_start * n + panel.first;
            let block = GemmInt8Block {
                job,
                panel,
                weights: packed.weights_from(index).as_ptr(),
                bias: packed.bias_from(index).as_ptr(),
                multipliers: packed.multipliers_from(index).as_ptr(),
                chunks: packed.chunks(index),
                segment_steps: packed.segment_steps(),
                codes: at(codes, offset),
                floats: at(floats, offset),
                residual: at(residual.cast_mut(), offset),
                output_stride: n,
                first: (y0 + block_start / job.width, block_start % job.width),
                pixels: block_end - block_start,
                // What stays in cache anyway needs no prefetch.
                prefetch: if block_start == 0 && !small && next < job.panels.1 {
                    let after = packed.weights_from(next);
                    &after[..after.len() - packed.weights_from(next + 1).len()]
                } else {
                    &[]
                },
                tile_rows,
            };
            // SAFETY: a part of what the caller vouches for; the instruction set was found when
            // the weights were packed for it.
            unsafe { kernel(&block) };
        }
        block_start = block_end;
    }
}

/// `offset` values on, where there is a pointer at all.
fn at<T>(start: *mut T, offset: usize) -> *mut T {
    if start.is_null() {
        start
    } else {
        start.wrapping_add(offset)
    }
}
