//! Plain loops over slices that the compiler vectorises for the instruction set that a program runs on.

use super::isa::Isa;

/// A loop that is compiled once for each instruction set; `run` is to be marked `#[inline(always)]`.
pub(super) trait IsaLoop {
    /// What it computes.
    type Output;
    /// Runs it. `FMA`: the instruction set has fused multiplication and addition.
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// Runs the loop, compiled for the instruction set, which this CPU must support.
pub(super) fn run_on<L: IsaLoop>(isa: Isa, work: L) -> L::Output {
    match isa {
        // SAFETY: a program only has an instruction set that the CPU supports.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(work) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(work) },
        _ => work.run::<false>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
fn avx512<L: IsaLoop>(work: L) -> L::Output {
    work.run::<true>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<L: IsaLoop>(work: L) -> L::Output {
    work.run::<true>()
}

/// Lanes of a vector of plain values, which the compiler keeps in one or more registers.
pub(super) const LANES: usize = 16;

/// As many values as a vector has lanes.
pub(super) type Lanes = [f32; LANES];

/// `a * b + c`.
#[inline(always)]
pub(super) fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// All lanes as one value, in one fixed order: halves are put together until one lane is left.
#[inline(always)]
pub(super) fn fold(mut lanes: Lanes, f: impl Fn(f32, f32) -> f32) -> f32 {
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
    }
    lanes[0]
}

/// The sum of all lanes.
#[inline(always)]
pub(super) fn sum_of(lanes: Lanes) -> f32 {
    fold(lanes, |a, b| a + b)
}

/// The larger of the two; the second where one is no number.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// `e^x` with a relative error below 3e-7, for x up to 88; below -87 it is that of -87.
///
/// `e^x = 2^n e^r`, `n = round(x / ln 2)`, with the Taylor polynomial of degree 6 for `|r| <= ln(2) / 2`.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    // 1.5 * 2^23: a small number added to it is rounded to a whole one, in its low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.max(-87.0);
    let shifted = multiply_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FMA>(n, -LN2_LOW, multiply_add::<FMA>(n, -LN2_HIGH, x));
    let mut sum = 1.0 / 720.0;
    sum = multiply_add::<FMA>(sum, r, 1.0 / 120.0);
    sum = multiply_add::<FMA>(sum, r, 1.0 / 24.0);
    sum = multiply_add::<FMA>(sum, r, 1.0 / 6.0);
    sum = multiply_add::<FMA>(sum, r, 0.5);
    sum = multiply_add::<FMA>(sum, r, 1.0);
    sum = multiply_add::<FMA>(sum, r, 1.0);
    let power = (shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits());
    sum * f32::from_bits(power)
}
