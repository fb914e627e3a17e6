//! Advanced Matrix Extensions (AMX): tile registers, and whether this process may use them.
//!
//! A tile register holds up to 16 rows of 64 bytes, and `tdpbusd` multiplies two of them: with
//! activations in A, `[pixel][4 k]`, and weights in B, `[k][channel][4]`, it adds `A * B` to the
//! 32-bit sums in C, `[pixel][channel]` (Intel 64 and IA-32 Architectures Software Developer's
//! Manual, volume 1, chapter 18). Stable Rust has no intrinsics for it, so this is inline assembly.
//! The compiler neither uses nor saves tile registers, so that they keep their values between two
//! blocks of assembly, and the operating system saves them when it takes a thread off a core.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// Most rows of a tile: pixels in A and C, steps of K in B.
pub(super) const TILE_ROWS: usize = 16;
/// Most bytes in a row of a tile.
pub(super) const TILE_ROW_BYTES: usize = 64;

/// Whether CPU and operating system have AMX with 8-bit products and this process may use it. The
/// first call asks Linux for the permission, which then holds for all threads of the process.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| supported() && permitted())
}

/// CPUID leaf 7: AMX-TILE and AMX-INT8 in EDX.
const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
/// Tile configuration and tile data in XCR0.
const TILE_STATES: u64 = 1 << 17 | 1 << 18;

fn supported() -> bool {
    if !is_x86_feature_detected!("xsave") {
        return false;
    }
    // SAFETY: both instructions are there.
    let (leaf, states) = unsafe { (__cpuid_count(7, 0), _xgetbv(0)) };
    leaf.edx & TILE_AND_INT8 == TILE_AND_INT8 && states & TILE_STATES == TILE_STATES
}

/// Asks for the use of tile data: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: a system call that touches no memory of the process; it overwrites RCX and R11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Sizes of the tile registers, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// First tile register of the activations, A; there are two, and those before hold sums, C.
pub(super) const FIRST_A: usize = 4;
/// First of the two tile registers of the weights, B.
pub(super) const FIRST_B: usize = 6;

/// Configures the tile registers for products of `pixels` pixels and `steps` steps of four values
/// of K, and clears them.
///
/// # Safety
/// AMX is [`available`].
///
/// # Panics
/// When a tile has no or more than 16 rows.
pub(super) unsafe fn configure(pixels: usize, steps: usize) {
    assert!((1..=TILE_ROWS).contains(&pixels) && (1..=TILE_ROWS).contains(&steps));
    let mut config = TileConfig {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [0; 16],
        rows: [0; 16],
    };
    for tile in 0..8 {
        let (rows, bytes) = match tile {
            ..FIRST_A => (pixels, TILE_ROW_BYTES),
            FIRST_A..FIRST_B => (pixels, steps * 4),
            _ => (steps, TILE_ROW_BYTES),
        };
        config.rows[tile] = rows as u8;
        config.row_bytes[tile] = bytes as u16;
    }
    // SAFETY: the caller's promise, and a valid configuration of 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) }
}

/// Gives the tile registers up, so that the operating system need not save them.
///
/// # Safety
/// AMX is [`available`].
pub(super) unsafe fn release() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

/// Loads tile register `T`, whose rows lie `stride` bytes apart.
///
/// # Safety
/// AMX is [`available`] and the tile configured; its rows are readable.
#[inline(always)]
pub(super) unsafe fn load<const T: usize, V>(from: *const V, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tileloadd tmm{tile}, [{from} + {stride}]",
            tile = const T,
            from = in(reg) from,
            stride = in(reg) stride,
            options(nostack, readonly, preserves_flags),
        );
    }
}

/// Stores tile register `T`, whose rows lie `stride` bytes apart.
///
/// # Safety
/// AMX is [`available`] and the tile configured; its rows are writable.
#[inline(always)]
pub(super) unsafe fn store<const T: usize, V>(to: *mut V, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilestored [{to} + {stride}], tmm{tile}",
            tile = const T,
            to = in(reg) to,
            stride = in(reg) stride,
            options(nostack, preserves_flags),
        );
    }
}

/// Adds the products of the unsigned bytes in `A` and the signed ones in `B` to the sums in `C`.
///
/// # Safety
/// AMX is [`available`] and the tiles configured.
#[inline(always)]
pub(super) unsafe fn multiply_add<const C: usize, const A: usize, const B: usize>() {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tdpbusd tmm{c}, tmm{a}, tmm{b}",
            c = const C,
            a = const A,
            b = const B,
            options(nostack, nomem, preserves_flags),
        );
    }
}
