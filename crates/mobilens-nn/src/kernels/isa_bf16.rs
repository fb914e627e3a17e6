//! Instruction sets of the bfloat16 kernels.

/// An instruction set that bfloat16 kernels are written for.
///
/// They do not agree to the last bit: `vdpbf16ps` takes subnormal numbers for zeros and rounds
/// each step of its sum of two products in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bf16Isa {
    /// Plain Rust, vectorised by the compiler for whatever the build targets.
    Portable,
    /// AVX-512 F, BW, VL and BF16: `vdpbf16ps`, 32 products an instruction.
    Avx512Bf16,
    /// AMX-BF16 for dense convolutions, AVX-512 BF16 for the others.
    AmxBf16,
}

impl Bf16Isa {
    /// All of them, the slowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx512Bf16, Self::AmxBf16];

    /// The fastest that this CPU supports.
    pub fn best() -> Self {
        let mut all = Self::ALL.into_iter().rev();
        all.find(|isa| isa.available()).unwrap_or(Self::Portable)
    }

    /// Whether this CPU supports it.
    pub fn available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bf16")
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "x86_64")]
            Self::AmxBf16 => Self::Avx512Bf16.available() && super::gemm_bf16_amx::available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512Bf16 | Self::AmxBf16 => false,
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx512Bf16 => "avx512bf16",
            Self::AmxBf16 => "amxbf16",
        }
    }
}
