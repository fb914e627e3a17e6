//! int8 GEMM microkernel in AMX: 32 pixels times 32 channels in four tiles of sums.
//!
//! A tile of activations is loaded from the feature map itself: its rows are pixels, which must lie
//! at equal distances in memory. Such runs of pixels are all pixels of the block where the rows of
//! the feature map follow each other without gaps, else those of one row. The last tile of a run
//! begins early enough to be a whole one, as does the last tile of a segment of K, whose weights
//! are zero where the tiles overlap. So tiles of one size do for a whole run, and nothing is read
//! outside.
//!
//! The sums go through memory, whence the epilogue of AVX-512 takes them. The tile unit works by
//! itself meanwhile: between its instructions for some pixels stands the epilogue of those before.

use std::mem::MaybeUninit;

use super::amx::{self, FIRST_A, FIRST_B, TILE_ROWS};
use super::gemm_int8_avx512::write_sums;
use super::gemm_int8_block::GemmInt8Block;
use super::packed_gemm_int8::{KTiles, MAX_REGISTERS, STEP};
use super::simd::unrolled;

/// Sums in a row of a tile.
const LANES: usize = 16;
/// Bytes of a row of sums or weights.
const BYTES: usize = LANES * STEP;
/// Tiles of pixels that are computed at once.
const TILES: usize = 2;

/// The sums of a pixel.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Sums(#[expect(dead_code, reason = "used by address")] [i32; MAX_REGISTERS * LANES]);

/// Sums that are still to be turned into results, `[pixel][register][lane]`.
struct Pending {
    sums: *const i32,
    pixels: usize,
    /// Values from the block's first output pixel.
    offset: usize,
    /// Calls of [`write_sums`] in each step of K of those that are computed meanwhile.
    calls: usize,
}

impl Pending {
    /// Writes a share of the results.
    ///
    /// # Safety
    /// As [`write_sums`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn write<const N: usize>(&mut self, block: &GemmInt8Block<'_>, calls: usize) {
        for _ in 0..calls {
            if self.pixels == 0 {
                break;
            }
            // SAFETY: the caller's promise.
            let done = unsafe { write_sums::<N>(block, self.offset, self.pixels, self.sums) };
            self.sums = self.sums.wrapping_add(done * N * LANES);
            self.offset += done * block.output_stride;
            self.pixels -= done;
        }
    }
}

/// # Safety
/// As [`GemmInt8Block`]; the weights are packed in tiles.
pub(super) unsafe fn gemm_block(block: &GemmInt8Block<'_>) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match block.panel.registers {
            1 => panel::<1>(block),
            2 => panel::<2>(block),
            3 => panel::<3>(block),
            _ => panel::<4>(block),
        }
    }
}

/// # Safety
/// As [`gemm_block`]; the panel has `N` registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn panel<const N: usize>(block: &GemmInt8Block<'_>) {
    let job = block.job;
    let Some(k_tiles) = job.packed.k_tiles() else {
        return;
    };
    // Rows that follow each other without gaps are one run, up to the end of a ring buffer.
    let gapless = job.row_stride == 1 && job.input.stride == job.width * job.pixel_stride;
    let (mut y, mut x) = block.first;
    let mut first = 0;
    while first < block.pixels {
        let row = y * job.row_stride - job.row_offset;
        let rows = if gapless {
            job.input.contiguous_end(row, row + job.rows.1 - y) - row
        } else {
            1
        };
        let run = (rows * job.width - x).min(block.pixels - first);
        let pixels = run.min(TILE_ROWS);
        // SAFETY: the weights were packed for AMX, so it is available. The pixels of the run lie
        // in the rows that the caller vouches for.
        unsafe {
            if block.tile_rows.replace(pixels) != pixels {
                amx::configure(pixels, k_tiles.steps);
            }
            let input = job.input.row(row).wrapping_add(x * job.pixel_stride);
            tiles_of_run::<N>(block, k_tiles, input, (first, run));
        }
        first += run;
        x += run;
        (y, x) = (y + x / job.width, x % job.width);
    }
}

/// Computes `run.1` pixels from the block's pixel `run.0` on.
///
/// # Safety
/// As [`panel`]; the pixels lie `pixel_stride` bytes apart from `input` on, and the tile registers
/// are configured for the least of their number and 16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tiles_of_run<const N: usize>(
    block: &GemmInt8Block<'_>,
    k_tiles: KTiles,
    input: *const u8,
    run: (usize, usize),
) {
    let (first, pixels) = run;
    let rows = pixels.min(TILE_ROWS);
    let stride = block.job.pixel_stride;
    let steps = block.job.segments.len() * k_tiles.count;
    let mut memory = [[MaybeUninit::<Sums>::uninit(); TILES * TILE_ROWS]; 2];
    let [sums, other] = &mut memory;
    let mut sums = sums.as_mut_ptr().cast::<i32>();
    let mut other = other.as_mut_ptr().cast::<i32>();
    let mut pending = Pending {
        sums,
        pixels: 0,
        offset: 0,
        calls: 0,
    };
    let mut done = 0;
    while done < pixels {
        // The last tile begins where it ends with the run.
        let starts = [done, done + rows].map(|start| start.min(pixels - rows));
        let end = (done + TILES * rows).min(pixels);
        let tiles = Tiles {
            inputs: starts.map(|start| input.wrapping_add(start * stride)),
            sums: starts.map(|start| sums.wrapping_add((start - starts[0]) * N * LANES)),
        };
        // SAFETY: the caller's promise; `starts` are those of whole tiles in the run, and there is
        // room for their sums.
        unsafe {
            if end - done <= rows {
                pending.calls = pending.pixels.div_ceil(4 * steps);
                products::<1, 4, N>(block, k_tiles, &tiles, 0, &mut pending);
            } else if N <= 2 {
                pending.calls = pending.pixels.div_ceil(4 * steps);
                products::<2, 2, N>(block, k_tiles, &tiles, 0, &mut pending);
            } else {
                pending.calls = pending.pixels.div_ceil(8 * steps);
                products::<2, 2, N>(block, k_tiles, &tiles, 0, &mut pending);
                products::<2, 2, N>(block, k_tiles, &tiles, 2, &mut pending);
            }
            pending.write::<N>(block, usize::MAX);
        }
        pending = Pending {
            sums: sums.wrapping_add((done - starts[0]) * N * LANES),
            pixels: end - done,
            offset: (first + done) * block.output_stride,
            calls: 0,
        };
        std::mem::swap(&mut sums, &mut other);
        done = end;
    }
    // SAFETY: the caller's promise; the sums were computed.
    unsafe { pending.write::<N>(block, usize::MAX) };
}

/// Tiles of pixels.
struct Tiles {
    /// The first input of each.
    inputs: [*const u8; TILES],
    /// Where the sums of each go, `[pixel][register][lane]`.
    sums: [*mut i32; TILES],
}

/// Computes the sums of `M` tiles of pixels for up to `W` of the panel's `N` registers, those from
/// `register` on.
///
/// # Safety
/// As [`tiles_of_run`]; each tile's pixels are readable, and there is room for its sums.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn products<const M: usize, const W: usize, const N: usize>(
    block: &GemmInt8Block<'_>,
    k_tiles: KTiles,
    tiles: &Tiles,
    register: usize,
    pending: &mut Pending,
) {
    let job = block.job;
    let last = (k_tiles.segment_steps - k_tiles.steps) * STEP;
    let bias = block.bias.wrapping_add(register * LANES);
    let tile_len = k_tiles.steps * BYTES;
    let mut weights = block.weights.wrapping_add(register * tile_len);
    let calls = pending.calls;
    // SAFETY: the caller's promise, and registers below the panel's; the tiles of a segment end
    // with it.
    unsafe {
        unrolled!([0 1 2 3] J < W, {
            if register + J < N {
                let bias = bias.wrapping_add(J * LANES);
                // All rows are the same.
                unrolled!([0 1] I < M, { amx::load::<{ I * 2 + J }, _>(bias, 0); });
            }
        });
        for segment in job.segments {
            for tile in 0..k_tiles.count {
                let offset = segment + (tile * k_tiles.steps * STEP).min(last);
                unrolled!([0 1] I < M, {
                    let input = tiles.inputs[I].wrapping_add(offset);
                    amx::load::<{ FIRST_A + I }, _>(input, job.pixel_stride);
                });
                unrolled!([0 1 2 3] J < W, {
                    if register + J < N {
                        let weights = weights.wrapping_add(J * tile_len);
                        amx::load::<{ FIRST_B + J % 2 }, _>(weights, BYTES);
                        unrolled!([0 1] I < M, {
                            amx::multiply_add::<{ I * 2 + J }, { FIRST_A + I }, { FIRST_B + J % 2 }>();
                        });
                    }
                });
                weights = weights.wrapping_add(N * tile_len);
                pending.write::<N>(block, calls);
            }
        }
        unrolled!([0 1 2 3] J < W, {
            if register + J < N {
                unrolled!([0 1] I < M, {
                    let sums = tiles.sums[I].wrapping_add((register + J) * LANES);
                    amx::store::<{ I * 2 + J }, _>(sums, N * BYTES);
                });
            }
        });
    }
}
