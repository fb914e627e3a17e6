//! Instruction sets (ISA) of the kernels, and their detection at run time.

use super::isa_bf16::Bf16Isa;

/// An instruction set that kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust, vectorised by the compiler for whatever the build targets.
    Portable,
    /// AVX2 with FMA: 8 floats a register, 16 registers.
    Avx2,
    /// AVX-512 F and VL: 16 floats a register, 32 registers.
    Avx512,
}

impl Isa {
    /// The fastest that this CPU supports.
    pub fn best() -> Self {
        [Self::Avx512, Self::Avx2]
            .into_iter()
            .find(|isa| isa.available())
            .unwrap_or(Self::Portable)
    }

    /// Whether this CPU supports it.
    pub fn available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && Self::Avx2.available()
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// An instruction set that int8 kernels are written for. All give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int8Isa {
    /// Plain Rust, vectorised by the compiler for whatever the build targets.
    Portable,
    /// AVX2: sums of pairs of 16-bit products, exact.
    Avx2,
    /// AVX-VNNI: `vpdpbusd` on 32-byte registers.
    AvxVnni,
    /// AVX-512 F, BW, VL and VNNI: `vpdpbusd` on 64-byte registers.
    Avx512Vnni,
    /// AMX with 8-bit products: `tdpbusd` on tile registers in dense convolutions, else
    /// `Avx512Vnni`.
    Avx512Amx,
}

impl Int8Isa {
    /// All of them, the slowest first.
    pub const ALL: [Self; 5] = [
        Self::Portable,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Avx512Amx,
    ];

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
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Amx => Self::Avx512Vnni.available() && super::amx::available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::AvxVnni | Self::Avx512Vnni | Self::Avx512Amx => false,
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512Vnni => "avx512vnni",
            Self::Avx512Amx => "amx_int8",
        }
    }

    /// The instruction set of what does not use the tile registers of AMX.
    pub(super) fn without_amx(self) -> Self {
        match self {
            Self::Avx512Amx => Self::Avx512Vnni,
            other => other,
        }
    }
}

/// The instruction sets of a program: one for float32, one for int8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsaSet {
    /// Of the float32 kernels.
    pub float: Isa,
    /// Of the int8 kernels.
    pub int8: Int8Isa,
    /// Of the bfloat16 kernels.
    pub bf16: Bf16Isa,
}

impl IsaSet {
    /// The fastest that this CPU supports.
    pub fn best() -> Self {
        Self {
            float: Isa::best(),
            int8: Int8Isa::best(),
            bf16: Bf16Isa::best(),
        }
    }

    /// Whether this CPU supports both.
    pub fn available(self) -> bool {
        self.float.available() && self.int8.available() && self.bf16.available()
    }
}

impl From<Isa> for IsaSet {
    /// The int8 kernels of the same generation, without VNNI for AVX2.
    fn from(float: Isa) -> Self {
        let int8 = match float {
            Isa::Portable => Int8Isa::Portable,
            Isa::Avx512 if Int8Isa::Avx512Amx.available() => Int8Isa::Avx512Amx,
            Isa::Avx512 if Int8Isa::Avx512Vnni.available() => Int8Isa::Avx512Vnni,
            Isa::Avx2 | Isa::Avx512 => Int8Isa::Avx2,
        };
        let bf16 = match float {
            Isa::Avx512 => Bf16Isa::best(),
            Isa::Portable | Isa::Avx2 => Bf16Isa::Portable,
        };
        Self { float, int8, bf16 }
    }
}
