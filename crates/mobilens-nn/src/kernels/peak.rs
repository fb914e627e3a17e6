//! Peak throughput of one core, for the benches to measure the kernels against.

use std::time::Instant;

use super::isa::{Int8Isa, Isa};

/// FMAs in each dependency chain between two `black_box` calls, which go through memory.
const STEPS: u64 = 1024;

/// Peak throughput of one core in GMAC/s (1e9 multiply-accumulates a second), measured.
pub fn peak_gmacs(isa: Isa) -> f64 {
    // SAFETY: the instruction set is there, else the plain loop is taken.
    best_of(|rounds| unsafe { spin(isa, rounds) })
}

/// Peak throughput of one core in GMAC/s of 8-bit codes, measured.
pub fn peak_int8_gmacs(isa: Int8Isa) -> f64 {
    // SAFETY: the instruction set is there, else the plain loop is taken.
    best_of(|rounds| unsafe { spin_int8(isa, rounds) })
}

/// The best rate in GMAC/s of a loop that returns how many values its registers hold.
fn best_of(spin: impl Fn(u64) -> u64) -> f64 {
    // Short, so that another process on the core does not disturb all of them.
    const ROUNDS: u64 = 500;
    const STEPS_PER_ROUND: u64 = 12 * STEPS;
    let run = || {
        let start = Instant::now();
        let lanes = spin(ROUNDS);
        (ROUNDS * STEPS_PER_ROUND * lanes) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..100).map(|_| run()).fold(0.0, f64::max)
}

/// # Safety
/// `isa` must be available.
unsafe fn spin(isa: Isa, rounds: u64) -> u64 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise.
        Isa::Avx512 => unsafe { spin_avx512(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise.
        Isa::Avx2 => unsafe { spin_avx2(rounds) },
        _ => spin_portable(rounds),
    }
}

/// # Safety
/// `isa` must be available.
unsafe fn spin_int8(isa: Int8Isa, rounds: u64) -> u64 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise.
        Int8Isa::Avx512Amx => unsafe { spin_amx(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise.
        Int8Isa::Avx512Vnni => unsafe { spin_avx512_vnni(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise.
        Int8Isa::AvxVnni => unsafe { spin_avx_vnni(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise.
        Int8Isa::Avx2 => unsafe { spin_int8_avx2(rounds) },
        _ => spin_portable(rounds),
    }
}

fn spin_portable(rounds: u64) -> u64 {
    let mut sums = [1.0_f32; 48];
    for _ in 0..rounds * STEPS {
        for sum in &mut sums {
            *sum = *sum * 0.999 + 0.001;
        }
        std::hint::black_box(&mut sums);
    }
    4
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
fn spin_avx512(rounds: u64) -> u64 {
    use std::arch::x86_64::*;
    let mut sums = [_mm512_set1_ps(1.0); 12];
    let (a, b) = (_mm512_set1_ps(0.999), _mm512_set1_ps(0.001));
    for _ in 0..rounds {
        for _ in 0..STEPS {
            super::simd::unrolled!([0 1 2 3 4 5 6 7 8 9 10 11] I < 12, {
                sums[I] = _mm512_fmadd_ps(sums[I], a, b);
            });
        }
        sums = std::hint::black_box(sums);
    }
    std::hint::black_box(&sums);
    16
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn spin_avx2(rounds: u64) -> u64 {
    use std::arch::x86_64::*;
    let mut sums = [_mm256_set1_ps(1.0); 12];
    let (a, b) = (_mm256_set1_ps(0.999), _mm256_set1_ps(0.001));
    for _ in 0..rounds {
        for _ in 0..STEPS {
            super::simd::unrolled!([0 1 2 3 4 5 6 7 8 9 10 11] I < 12, {
                sums[I] = _mm256_fmadd_ps(sums[I], a, b);
            });
        }
        sums = std::hint::black_box(sums);
    }
    std::hint::black_box(&sums);
    8
}

/// Products of whole tiles; an instruction takes as long as those of a few dozen registers, so
/// that there are fewer of them.
///
/// # Safety
/// AMX must be available.
#[cfg(target_arch = "x86_64")]
unsafe fn spin_amx(rounds: u64) -> u64 {
    use super::amx;
    const FEWER: u64 = 64;
    const PRODUCTS_PER_TILE: u64 = 16 * 16 * 64;
    // SAFETY: the caller's promise.
    unsafe {
        amx::configure(amx::TILE_ROWS, amx::TILE_ROWS);
        for _ in 0..rounds * STEPS * 12 / FEWER / 4 {
            amx::multiply_add::<0, 4, 6>();
            amx::multiply_add::<1, 5, 6>();
            amx::multiply_add::<2, 4, 7>();
            amx::multiply_add::<3, 5, 7>();
        }
        amx::release();
    }
    PRODUCTS_PER_TILE / FEWER
}

/// An int8 loop: twelve chains of sums, to each of which `$products` products are added.
#[cfg(target_arch = "x86_64")]
macro_rules! spin_int8 {
    ($name:ident, $features:literal, $products:literal, $zero:ident, $one:ident, |$s:ident, $a:ident| $dot:expr) => {
        #[target_feature(enable = $features)]
        fn $name(rounds: u64) -> u64 {
            use std::arch::x86_64::*;
            let mut sums = [$zero(); 12];
            let $a = std::hint::black_box($one(1));
            for _ in 0..rounds {
                for _ in 0..STEPS {
                    super::simd::unrolled!([0 1 2 3 4 5 6 7 8 9 10 11] I < 12, {
                        let $s = sums[I];
                        sums[I] = $dot;
                    });
                }
                sums = std::hint::black_box(sums);
            }
            std::hint::black_box(&sums);
            $products
        }
    };
}

#[cfg(target_arch = "x86_64")]
spin_int8!(
    spin_avx512_vnni,
    "avx512f,avx512bw,avx512vl,avx512vnni",
    64,
    _mm512_setzero_si512,
    _mm512_set1_epi8,
    |sums, a| _mm512_dpbusd_epi32(sums, a, a)
);

#[cfg(target_arch = "x86_64")]
spin_int8!(
    spin_avx_vnni,
    "avx2,avxvnni",
    32,
    _mm256_setzero_si256,
    _mm256_set1_epi8,
    |sums, a| _mm256_dpbusd_avx_epi32(sums, a, a)
);

// The products of two steps, as the kernel adds them, not the same in every step, so that the compiler
// cannot take them out.
#[cfg(target_arch = "x86_64")]
spin_int8!(
    spin_int8_avx2,
    "avx2",
    64,
    _mm256_setzero_si256,
    _mm256_set1_epi8,
    |sums, a| {
        let first = _mm256_maddubs_epi16(sums, a);
        let pairs = _mm256_add_epi16(first, _mm256_maddubs_epi16(a, sums));
        _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, a))
    }
);
