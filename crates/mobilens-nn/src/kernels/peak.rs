//! Peak FMA throughput of one core, for the benches to measure the kernels against.

use std::time::Instant;

use super::isa::Isa;

/// FMAs in each dependency chain between two `black_box` calls, which go through memory.
const STEPS: u64 = 1024;

/// Peak throughput of one core in GMAC/s (1e9 multiply-accumulates a second), measured.
pub fn peak_gmacs(isa: Isa) -> f64 {
    const ROUNDS: u64 = 10_000;
    const FMAS_PER_ROUND: u64 = 12 * STEPS;
    let run = || {
        let start = Instant::now();
        // SAFETY: the instruction set is there, else the plain loop is taken.
        let lanes = unsafe { spin(isa, ROUNDS) };
        (ROUNDS * FMAS_PER_ROUND * lanes) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(|_| run()).fold(0.0, f64::max)
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
