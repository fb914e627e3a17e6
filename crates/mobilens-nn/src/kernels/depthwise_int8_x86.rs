//! Int8 depthwise convolution in AVX-512 VNNI, AVX-VNNI and AVX2: the kernels for each width of
//! register, and which of them a block of channels takes.
//!
//! Four products are added to each 32-bit lane by `vpdpbusd`, or in AVX2 by `vpmaddubsw` and
//! `vpmaddwd` where the weights are such that no pair saturates, else by two `vpmaddwd`. All are
//! exact.

use std::arch::x86_64::*;

use super::depthwise_int8_kernels::{
    FUNCTION, LIMITED, Part, Pixels, Row, Run, Slide, SlideKernel, WHOLE, WindowKernel,
    depthwise_int8_kernels,
};
use super::depthwise_int8_registers::{xmm, ymm, zmm};
use super::isa::Int8Isa;
use super::packed_depthwise_int8::{
    BLOCK_INT8, Block, CONSTANTS, GROUP_TAPS, LANE, PackedDepthwiseInt8,
};
use super::requantize::{CodeFunction, CodeRange};
use super::simd::unrolled;

/// Two parts of whole blocks, and up to three of what is left over.
const MAX_RUNS: usize = 5;

/// The kernels for the next of `channels` channels, and the 128-bit lanes of their registers, of
/// which the block has `lanes` left.
fn kernels(isa: Int8Isa, channels: usize, lanes: usize) -> (SlideKernel, WindowKernel, usize) {
    match (isa.without_amx(), channels, lanes) {
        (Int8Isa::Avx512Vnni, 64, _) => (avx512_zmm::slide, avx512_zmm::window, 4),
        (Int8Isa::Avx512Vnni, _, 4) => (avx512_zmm_part::slide, avx512_zmm_part::window, 4),
        (Int8Isa::Avx512Vnni, 32, _) => (avx512_ymm::slide, avx512_ymm::window, 2),
        (Int8Isa::Avx512Vnni, _, 2) => (avx512_ymm_part::slide, avx512_ymm_part::window, 2),
        (Int8Isa::Avx512Vnni, ..) => (avx512_xmm::slide, avx512_xmm::window, 1),
        (Int8Isa::AvxVnni, 32.., _) => (vnni_ymm::slide, vnni_ymm::window, 2),
        (Int8Isa::AvxVnni, ..) => (vnni_xmm::slide, vnni_xmm::window, 1),
        (_, 32.., _) => (avx2_ymm::slide, avx2_ymm::window, 2),
        _ => (avx2_xmm::slide, avx2_xmm::window, 1),
    }
}

/// Calls `run` for the kernels and each part of a block.
fn parts(
    isa: Int8Isa,
    packed: &PackedDepthwiseInt8,
    block: Block,
    mut run: impl FnMut(SlideKernel, WindowKernel, Part),
) {
    let mut lane = 0;
    while lane * LANE < block.channels {
        let left = block.channels - lane * LANE;
        let (slide, window, lanes) = kernels(isa, left, block.lanes - lane);
        let channel = block.first + lane * LANE;
        let channels = left.min(lanes * LANE);
        let part = Part {
            registers: packed.registers(block).wrapping_add(lane * LANE),
            register_stride: block.lanes * LANE,
            channel,
            channels,
            saturates: packed.saturates(channel, channels),
            function: packed.function(),
            range: packed.range(),
        };
        run(slide, window, part);
        lane += lanes;
    }
}

/// Rows of a 3x3 convolution for one block of channels.
///
/// # Safety
/// As [`Slide`]; `isa` must be available.
pub(super) unsafe fn slide(
    isa: Int8Isa,
    packed: &PackedDepthwiseInt8,
    block: Block,
    args: &Slide<'_>,
) {
    parts(isa, packed, block, |kernel, _, part| {
        // SAFETY: the caller's promise is handed on.
        unsafe { kernel(&part, args) }
    });
}

/// The kernels for some blocks of any window.
pub(super) fn runs(
    isa: Int8Isa,
    packed: &PackedDepthwiseInt8,
    blocks: (usize, usize),
) -> [Option<Run>; MAX_RUNS] {
    let mut runs = [None; MAX_RUNS];
    let mut slots = runs.iter_mut();
    let start = packed.block(blocks.0).first;
    let mut index = blocks.0;
    while index < blocks.1 {
        let block = packed.block(index);
        // Only the last is not whole.
        let mut end = index + 1;
        while end < blocks.1 && packed.block(end).channels == BLOCK_INT8 {
            end += 1;
        }
        parts(isa, packed, block, |_, kernel, mut first| {
            first.channel -= start;
            if let Some(slot) = slots.next() {
                *slot = Some(Run {
                    kernel,
                    first,
                    count: end - index,
                    block_bytes: packed.block_bytes(),
                    groups: packed.groups(),
                });
            }
        });
        index = end;
    }
    runs
}

/// Some neighbouring output pixels.
///
/// # Safety
/// As [`Pixels`], for the channels of the blocks that the runs were made for; their instruction set
/// must be available.
#[inline]
pub(super) unsafe fn window(runs: &[Option<Run>; MAX_RUNS], pixels: &Pixels<'_>) {
    for run in runs.iter().map_while(Option::as_ref) {
        // SAFETY: the caller's promise is handed on.
        unsafe { (run.kernel)(run, pixels) };
    }
}

mod avx512_zmm {
    use super::zmm::*;
    use super::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(from: *const u8, _: usize) -> Int {
        // SAFETY: 64 bytes, the caller's promise.
        unsafe { load_all(from) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn store(to: *mut u8, codes: Int, _: usize) {
        // SAFETY: 64 bytes, the caller's promise.
        unsafe { _mm512_mask_storeu_epi8(to.cast(), !0, codes) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    fn dot<const EXACT: bool>(sums: Int, codes: Int, weights: Int) -> Int {
        _mm512_dpbusd_epi32(sums, codes, weights)
    }

    depthwise_int8_kernels! {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        can_saturate: false
    }
}

mod avx512_ymm {
    use super::ymm::{load_channels as load, store_channels as store, *};
    use super::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    fn dot<const EXACT: bool>(sums: Int, codes: Int, weights: Int) -> Int {
        _mm256_dpbusd_epi32(sums, codes, weights)
    }

    depthwise_int8_kernels! {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        can_saturate: false
    }
}

mod avx512_zmm_part {
    use super::zmm::*;
    use super::*;

    /// One bit for each channel that exists, of which there is at least one.
    #[inline]
    fn mask(channels: usize) -> __mmask64 {
        !0 >> (64 - channels)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(from: *const u8, channels: usize) -> Int {
        // SAFETY: the caller's promise; other bytes are not touched.
        unsafe { _mm512_maskz_loadu_epi8(mask(channels), from.cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn store(to: *mut u8, codes: Int, channels: usize) {
        // SAFETY: the caller's promise; other bytes are not touched.
        unsafe { _mm512_mask_storeu_epi8(to.cast(), mask(channels), codes) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    fn dot<const EXACT: bool>(sums: Int, codes: Int, weights: Int) -> Int {
        _mm512_dpbusd_epi32(sums, codes, weights)
    }

    depthwise_int8_kernels! {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        can_saturate: false
    }
}

mod avx512_ymm_part {
    use super::ymm::*;
    use super::*;

    /// One bit for each channel that exists, of which there is at least one.
    #[inline]
    fn mask(channels: usize) -> __mmask32 {
        !0 >> (32 - channels)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(from: *const u8, channels: usize) -> Int {
        // SAFETY: the caller's promise; other bytes are not touched.
        unsafe { _mm256_maskz_loadu_epi8(mask(channels), from.cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn store(to: *mut u8, codes: Int, channels: usize) {
        // SAFETY: the caller's promise; other bytes are not touched.
        unsafe { _mm256_mask_storeu_epi8(to.cast(), mask(channels), codes) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    fn dot<const EXACT: bool>(sums: Int, codes: Int, weights: Int) -> Int {
        _mm256_dpbusd_epi32(sums, codes, weights)
    }

    depthwise_int8_kernels! {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        can_saturate: false
    }
}

mod avx512_xmm {
    use super::xmm::*;
    use super::*;

    /// One bit for each channel that exists.
    #[inline]
    fn mask(channels: usize) -> __mmask16 {
        ((1_u32 << channels) - 1) as __mmask16
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(from: *const u8, channels: usize) -> Int {
        // SAFETY: the caller's promise; other bytes are not touched.
        unsafe { _mm_maskz_loadu_epi8(mask(channels), from.cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn store(to: *mut u8, codes: Int, channels: usize) {
        // SAFETY: the caller's promise; other bytes are not touched.
        unsafe { _mm_mask_storeu_epi8(to.cast(), mask(channels), codes) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    fn dot<const EXACT: bool>(sums: Int, codes: Int, weights: Int) -> Int {
        _mm_dpbusd_epi32(sums, codes, weights)
    }

    depthwise_int8_kernels! {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        can_saturate: false
    }
}

mod vnni_ymm {
    use super::ymm::{load_channels as load, store_channels as store, *};
    use super::*;

    #[target_feature(enable = "avx2,avxvnni")]
    #[inline]
    fn dot<const EXACT: bool>(sums: Int, codes: Int, weights: Int) -> Int {
        _mm256_dpbusd_avx_epi32(sums, codes, weights)
    }

    depthwise_int8_kernels! {
        #[target_feature(enable = "avx2,avxvnni")]
        can_saturate: false
    }
}

mod vnni_xmm {
    use super::xmm::{load_channels as load, store_channels as store, *};
    use super::*;

    #[target_feature(enable = "avx2,avxvnni")]
    #[inline]
    fn dot<const EXACT: bool>(sums: Int, codes: Int, weights: Int) -> Int {
        _mm_dpbusd_avx_epi32(sums, codes, weights)
    }

    depthwise_int8_kernels! {
        #[target_feature(enable = "avx2,avxvnni")]
        can_saturate: false
    }
}

mod avx2_ymm {
    use super::ymm::{load_channels as load, store_channels as store, *};
    use super::*;

    #[target_feature(enable = "avx2")]
    #[inline]
    fn dot<const EXACT: bool>(sums: Int, codes: Int, weights: Int) -> Int {
        if EXACT {
            // Even and odd bytes in 16 bits, of which no sum of two products leaves 32.
            let even = _mm256_and_si256(codes, _mm256_set1_epi16(0xff));
            let odd = _mm256_srli_epi16::<8>(codes);
            let even_weights = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
            let odd_weights = _mm256_srai_epi16::<8>(weights);
            let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(even, even_weights));
            _mm256_add_epi32(sums, _mm256_madd_epi16(odd, odd_weights))
        } else {
            let pairs = _mm256_maddubs_epi16(codes, weights);
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    depthwise_int8_kernels! {
        #[target_feature(enable = "avx2")]
        can_saturate: true
    }
}

mod avx2_xmm {
    use super::xmm::{load_channels as load, store_channels as store, *};
    use super::*;

    #[target_feature(enable = "avx2")]
    #[inline]
    fn dot<const EXACT: bool>(sums: Int, codes: Int, weights: Int) -> Int {
        if EXACT {
            // Even and odd bytes in 16 bits, of which no sum of two products leaves 32.
            let even = _mm_and_si128(codes, _mm_set1_epi16(0xff));
            let odd = _mm_srli_epi16::<8>(codes);
            let even_weights = _mm_srai_epi16::<8>(_mm_slli_epi16::<8>(weights));
            let odd_weights = _mm_srai_epi16::<8>(weights);
            let sums = _mm_add_epi32(sums, _mm_madd_epi16(even, even_weights));
            _mm_add_epi32(sums, _mm_madd_epi16(odd, odd_weights))
        } else {
            let pairs = _mm_maddubs_epi16(codes, weights);
            _mm_add_epi32(sums, _mm_madd_epi16(pairs, _mm_set1_epi16(1)))
        }
    }

    depthwise_int8_kernels! {
        #[target_feature(enable = "avx2")]
        can_saturate: true
    }
}
