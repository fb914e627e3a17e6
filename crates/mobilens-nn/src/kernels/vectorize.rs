//! Plain loops that the compiler vectorises for the instruction set that a program runs on.

use super::isa::Isa;

/// A loop over slices, to be marked `#[inline(always)]`.
pub(super) trait Loop {
    /// Runs it.
    fn run(self);
}

/// Runs the loop, compiled for the instruction set.
pub(super) fn vectorized(isa: Isa, work: impl Loop) {
    match isa {
        // SAFETY: a program only has an instruction set that the CPU supports.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(work) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(work) },
        _ => work.run(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
fn avx512(work: impl Loop) {
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(work: impl Loop) {
    work.run();
}
