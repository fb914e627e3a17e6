//! bfloat16 GEMM in AMX: tiles of 16 pixels times 16 output channels, 32 values of K an
//! instruction (Intel 64 Architectures Software Developer's Manual, volume 1, chapter 18).
//!
//! A panel of packed weights is what `tdpbf16ps` takes as its second operand as it is. The input
//! of 32 pixels is read in place where it lies at equal distances and K is a multiple of 32; else
//! it is gathered in rows of whole tiles, with zeros behind the last value of K. It is then
//! multiplied with all panels. Sums start from the bias, which is loaded into all rows of a
//! tile; activation and residual are applied to them in AVX-512. There are no stable intrinsics.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;

use super::activation::Activation;
use super::activation_avx512::{activate, clamp};
use super::depthwise3x3::limits;
use super::gemm_bf16_block::{Bf16Output, GemmBf16Block};
use super::packed_gemm::PANEL;
use super::simd::load16;
use super::simd_bf16::{load_f32, round_both, store_rounded};

/// Rows of a tile: pixels of the input, pairs of K of the weights.
const ROWS: usize = 16;
/// Values of K in a tile's row.
pub(super) const LANES: usize = 32;
/// Most pixels whose input is gathered at a time.
const PIXELS: usize = 2 * ROWS;
/// Panels that are multiplied at a time.
const PANELS: usize = 2;

/// A row of a tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u16; LANES]);

/// The shapes of the eight tile registers: all of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct TileConfig([u8; 64]);

static CONFIG: TileConfig = {
    let mut config = [0; 64];
    // The palette, then bytes in a row as 16 bits each, and numbers of rows.
    config[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        config[16 + 2 * tile] = 64;
        config[48 + tile] = ROWS as u8;
        tile += 1;
    }
    TileConfig(config)
};

/// The sums of up to two tiles of pixels and two panels, tile by tile.
#[repr(C, align(64))]
struct Sums([f32; 4 * ROWS * PANEL]);

thread_local! {
    static GATHERED: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Whether this CPU has AMX for bfloat16, and the system lets this process use it.
pub(super) fn available() -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::sync::OnceLock;
        static PERMITTED: OnceLock<bool> = OnceLock::new();
        *PERMITTED.get_or_init(|| {
            let leaf = __cpuid_count(7, 0);
            let (bf16, tiles) = (1 << 22, 1 << 24);
            leaf.edx & bf16 != 0 && leaf.edx & tiles != 0 && ask_permission()
        })
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Asks Linux to save tiles in context switches of this process.
#[cfg(target_os = "linux")]
fn ask_permission() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: a system call that reads and writes no memory of this process.
    let result = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    result == 0
}

/// # Safety
/// As [`GemmBf16Block`]; the weights are readable for whole tiles.
pub(super) unsafe fn gemm_block(block: &GemmBf16Block<'_>) {
    GATHERED.with_borrow_mut(|gathered| {
        let lines = row_len(block).div_ceil(LANES);
        // A gathered row may write zeros over the first line after it.
        gathered.resize(PIXELS * lines + 1, Line([0; LANES]));
        // SAFETY: the caller's promise is handed on; the configuration is valid, and tiles are
        // released again.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG.0, options(nostack));
            run(block, gathered.as_mut_ptr(), lines);
            asm!("tilerelease", options(nostack));
        }
    });
}

/// Values of K with the zeros that fill up pairs.
fn row_len(block: &GemmBf16Block<'_>) -> usize {
    block.job.segments.len() * block.job.packed.segment_len.next_multiple_of(2)
}

/// The input of the pixels of a tile or two.
#[derive(Clone, Copy)]
struct Input {
    start: *const u16,
    /// Values from one pixel to the next.
    stride: usize,
    /// Lines of each pixel.
    lines: usize,
}

/// # Safety
/// As [`gemm_block`]; `gathered` holds `lines` for each of [`PIXELS`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
unsafe fn run(block: &GemmBf16Block<'_>, gathered: *mut Line, lines: usize) {
    let job = block.job;
    let (mut y, mut x) = block.first;
    // SAFETY: each pixel lies in the rows that the caller vouches for, and what it reads in the
    // input; a row past the last is never asked for.
    let row_of = |y: usize| unsafe { job.input.row(y * job.row_stride - job.row_offset) };
    let mut row = row_of(y).cast_const();
    let whole_lines = job.segments.len() == 1 && row_len(block) == lines * LANES;
    let mut sums = Sums([0.0; 4 * ROWS * PANEL]);
    let mut first = 0;
    while first < block.pixels {
        let pixels = PIXELS.min(block.pixels - first);
        let mut starts = [std::ptr::null(); PIXELS];
        let mut even = pixels == PIXELS && whole_lines;
        for start in starts.iter_mut().take(pixels) {
            *start = row.wrapping_add(x * job.pixel_stride);
            x += 1;
            if x == job.width {
                (x, y) = (0, y + 1);
                if y < job.rows.1 {
                    let next = row_of(y).cast_const();
                    even &= next == row.wrapping_add(job.width * job.pixel_stride);
                    row = next;
                }
            }
        }
        let input = if even {
            Input {
                start: starts[0].wrapping_add(job.segments[0]),
                stride: job.pixel_stride,
                lines,
            }
        } else {
            for (pixel, start) in starts.iter().enumerate().take(pixels) {
                // SAFETY: the caller's promise for this pixel; lines of this pixel and one more.
                unsafe { gather(block, *start, gathered.add(pixel * lines), lines) };
            }
            Input {
                start: gathered.cast_const().cast(),
                stride: lines * LANES,
                lines,
            }
        };
        let mut panel = 0;
        while panel < block.panels {
            let panels = PANELS.min(block.panels - panel);
            // SAFETY: lines of so many pixels, whole tiles of weights and bias of so many panels,
            // outputs of these pixels.
            unsafe {
                match (pixels > ROWS, panels) {
                    (false, 1) => multiply::<1, 1>(block, input, panel, &mut sums),
                    (false, _) => multiply::<1, 2>(block, input, panel, &mut sums),
                    (true, 1) => multiply::<2, 1>(block, input, panel, &mut sums),
                    (true, _) => multiply::<2, 2>(block, input, panel, &mut sums),
                }
                finish(block, (first, pixels), (panel, panels), &sums);
            }
            panel += panels;
        }
        first += pixels;
    }
}

/// Copies the segments of one pixel to `lines`, with zeros behind the last, perhaps up to a line too
/// many.
///
/// # Safety
/// The segments are readable from `from` on, and `lines` and one more are writable and hold them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
unsafe fn gather(block: &GemmBf16Block<'_>, from: *const u16, to: *mut Line, lines: usize) {
    let segment_len = block.job.packed.segment_len;
    // SAFETY: the caller's promise; each store begins at a value of K, so inside the lines.
    unsafe {
        to.add(lines - 1).write(Line([0; LANES]));
        let mut to = to.cast::<u16>();
        for segment in block.job.segments {
            let from = from.wrapping_add(*segment);
            let mut at = 0;
            while at < segment_len {
                let mask = match segment_len - at {
                    LANES.. => __mmask32::MAX,
                    left => (1 << left) - 1,
                };
                let values = _mm512_maskz_loadu_epi16(mask, from.wrapping_add(at).cast());
                _mm512_mask_storeu_epi32(to.wrapping_add(at).cast(), 0xffff, values);
                at += LANES;
            }
            to = to.wrapping_add(segment_len.next_multiple_of(2));
        }
    }
}

/// Sums of `P` tiles of pixels times `N` panels from `panel` on.
///
/// # Safety
/// As [`gemm_block`], with tiles configured.
#[inline]
unsafe fn multiply<const P: usize, const N: usize>(
    block: &GemmBf16Block<'_>,
    input: Input,
    panel: usize,
    sums: &mut Sums,
) {
    let weights = block.weights.wrapping_add(panel * block.panel_stride);
    let second = weights.wrapping_add(block.panel_stride);
    let bias = block.bias.wrapping_add(panel * PANEL);
    // Loads `$tile` of each panel or pixel tile, then multiplies tile by tile of K.
    macro_rules! tiles {
        ($begin:literal, $step:literal, $end:literal) => {
            asm!(
                $begin,
                "2:",
                $step,
                "add {input}, 64",
                "add {other}, 64",
                "add {weights}, 1024",
                "add {second}, 1024",
                "dec {count}",
                "jnz 2b",
                $end,
                input = inout(reg) input.start => _,
                other = inout(reg) input.start.wrapping_add(ROWS * input.stride) => _,
                weights = inout(reg) weights => _,
                second = inout(reg) second => _,
                count = inout(reg) input.lines => _,
                stride = in(reg) input.stride * size_of::<u16>(),
                line = in(reg) 64_usize,
                zero = in(reg) 0_usize,
                bias = in(reg) bias,
                sums = in(reg) sums.0.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            )
        };
    }
    // SAFETY: reads `lines` lines of each of `16 P` pixels, as many tiles of each panel's weights
    // and 16 floats of its bias; writes `P N` tiles of sums.
    unsafe {
        match (P, N) {
            (1, 1) => tiles!(
                "tileloadd tmm0, [{bias} + {zero}*1]",
                "tileloadd tmm4, [{input} + {stride}*1]
                tileloadd tmm6, [{weights} + {line}*1]
                tdpbf16ps tmm0, tmm4, tmm6",
                "tilestored [{sums} + {line}*1], tmm0"
            ),
            (1, _) => tiles!(
                "tileloadd tmm0, [{bias} + {zero}*1]
                tileloadd tmm1, [{bias} + {zero}*1 + 64]",
                "tileloadd tmm4, [{input} + {stride}*1]
                tileloadd tmm6, [{weights} + {line}*1]
                tileloadd tmm7, [{second} + {line}*1]
                tdpbf16ps tmm0, tmm4, tmm6
                tdpbf16ps tmm1, tmm4, tmm7",
                "tilestored [{sums} + {line}*1], tmm0
                tilestored [{sums} + {line}*1 + 1024], tmm1"
            ),
            (_, 1) => tiles!(
                "tileloadd tmm0, [{bias} + {zero}*1]
                tileloadd tmm2, [{bias} + {zero}*1]",
                "tileloadd tmm4, [{input} + {stride}*1]
                tileloadd tmm6, [{weights} + {line}*1]
                tileloadd tmm5, [{other} + {stride}*1]
                tdpbf16ps tmm0, tmm4, tmm6
                tdpbf16ps tmm2, tmm5, tmm6",
                "tilestored [{sums} + {line}*1], tmm0
                tilestored [{sums} + {line}*1 + 1024], tmm2"
            ),
            _ => tiles!(
                "tileloadd tmm0, [{bias} + {zero}*1]
                tileloadd tmm1, [{bias} + {zero}*1 + 64]
                tileloadd tmm2, [{bias} + {zero}*1]
                tileloadd tmm3, [{bias} + {zero}*1 + 64]",
                "tileloadd tmm4, [{input} + {stride}*1]
                tileloadd tmm6, [{weights} + {line}*1]
                tileloadd tmm7, [{second} + {line}*1]
                tdpbf16ps tmm0, tmm4, tmm6
                tileloadd tmm5, [{other} + {stride}*1]
                tdpbf16ps tmm1, tmm4, tmm7
                tdpbf16ps tmm2, tmm5, tmm6
                tdpbf16ps tmm3, tmm5, tmm7",
                "tilestored [{sums} + {line}*1], tmm0
                tilestored [{sums} + {line}*1 + 1024], tmm1
                tilestored [{sums} + {line}*1 + 2048], tmm2
                tilestored [{sums} + {line}*1 + 3072], tmm3"
            ),
        }
    }
}

/// Activation, residual and store of one or two panels of up to [`PIXELS`] pixels.
///
/// # Safety
/// As [`gemm_block`]; the sums are those of these pixels and panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
#[inline]
unsafe fn finish(
    block: &GemmBf16Block<'_>,
    (first, pixels): (usize, usize),
    (panel, panels): (usize, usize),
    sums: &Sums,
) {
    let channels = block.channels - panel * PANEL;
    let start = first * block.output_stride + panel * PANEL;
    let clamps = matches!(block.job.activation, Activation::Clamp { .. });
    let (low, high) = limits(block.job.activation);
    let (low, high) = (_mm512_set1_ps(low), _mm512_set1_ps(high));
    // Sums of pixel `i` in panel `j`, after the activation.
    let value = |i: usize, j: usize| {
        let row = (i / ROWS * panels + j) * ROWS + i % ROWS;
        // SAFETY: a row of the sums.
        let sum = unsafe { load16(sums.0.as_ptr().wrapping_add(row * PANEL)) };
        if clamps {
            clamp(sum, low, high)
        } else {
            activate(sum, block.job.activation)
        }
    };
    // Two whole panels are one store.
    if let Bf16Output::Bf16(output) = block.output
        && block.residual.is_null()
        && channels >= PANELS * PANEL
        && panels == PANELS
    {
        for i in 0..pixels {
            let rounded = round_both(value(i, 1), value(i, 0));
            let at = output.wrapping_add(start + i * block.output_stride);
            // SAFETY: 32 channels of an output pixel.
            unsafe { _mm512_mask_storeu_epi32(at.cast(), 0xffff, rounded) };
        }
        return;
    }
    for j in 0..panels {
        let mask = ((1_u32 << (channels - j * PANEL).min(PANEL)) - 1) as __mmask16;
        for i in 0..pixels {
            let at = start + i * block.output_stride + j * PANEL;
            let mut value = value(i, j);
            // SAFETY: the panel's channels of this pixel, others under a mask.
            unsafe {
                if !block.residual.is_null() {
                    let residual = load_f32(mask, block.residual.wrapping_add(at));
                    value = _mm512_add_ps(value, residual);
                }
                match block.output {
                    Bf16Output::Bf16(output) => store_rounded(output.wrapping_add(at), mask, value),
                    Bf16Output::Float(output) => {
                        _mm512_mask_storeu_ps(output.wrapping_add(at), mask, value);
                    }
                }
            }
        }
    }
}
