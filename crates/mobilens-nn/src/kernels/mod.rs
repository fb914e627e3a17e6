//! Float32 kernels for what MobileNets consist of, and the program that runs them.
//!
//! The only module with `unsafe` code: vector instructions and threads that write disjoint parts
//! of one arena need it. [`Program::new`] checks every size and place that the unsafe parts rely
//! on, so nothing that a network file says can make them leave their memory.
//!
//! # Measured
//!
//! SSDLite MobileNetV2 at 300x300, one core of an AMD EPYC (Zen 4) whose peak is 58.6 GMAC/s with
//! AVX2 and AVX-512 alike; all products of the network at that rate are 12.8 ms
//! (`mobilens bench MODEL --layers`, `cargo bench --bench kernels`):
//!
//! | step | AVX-512 ms | AVX2 ms |
//! |---|---|---|
//! | plain tract | 41.8 | 41.8 |
//! | products tile by tile, depthwise pixel by pixel, chains strip by strip | 32.1 | |
//! | products sweep a run of pixels in one call; depthwise in tiles of pixels | 15.8 | 17.5 |
//! | depthwise 3x3 slides along a row, each value read once | 14.8 | 16.5 |
//! | only the six classes of a street | 12.5 | |
//!
//! Share of the core's peak, each shape by itself:
//!
//! | layer | AVX-512 before, after | AVX2 before, after |
//! |---|---|---|
//! | pointwise, 19x19 and 10x10 pixels | 96, 98 to 100 % | 90, 90 to 96 % |
//! | pointwise, 75x75, 24 channels to 144 | 86, 86 % | 75, 75 % |
//! | pointwise, 150x150, 16 channels to 96 (the store of 8.6 MB bounds it) | 65, 52 to 65 % | 62, 64 % |
//! | first 3x3, stride 2 | 82, 84 % | 72, 72 % |
//! | depthwise 3x3, stride 1 | 35 to 56, 81 to 87 % | 31 to 45, 47 to 59 % |
//! | depthwise 3x3, stride 2 | 31 to 39, 45 to 59 % | 29 to 31, 40 % |
//! | depthwise 5x5 | 51, 54 % | 51, 53 % |
//! | inverted residual 38x38, 32 to 192, in one chain | 85, 94 % | 76, 79 % |
//!
//! What did not help, within 1 %: one base and equal steps instead of a pointer a pixel; asking
//! for weights 16 to 128 lines ahead (in place of the processor's own guess); strips of 256 to 512
//! KB (96 and 700 KB cost 3 %); groups of 8 or 32 depthwise rows instead of 16; clamping as
//! integers. Plain Rust is kept for machines without these instructions and as a yardstick; built
//! for SSE2 it takes 66 ms, more than tract, which therefore is chosen there.

#![expect(
    unsafe_code,
    reason = "vector instructions, and threads that share one arena"
)]

mod activation;
mod arena;
mod buffer;
mod chain;
mod depthwise;
#[cfg(target_arch = "x86_64")]
mod depthwise_avx2;
#[cfg(target_arch = "x86_64")]
mod depthwise_avx512;
mod isa;
mod peak;
mod product;
#[cfg(target_arch = "x86_64")]
mod product_avx2;
#[cfg(target_arch = "x86_64")]
mod product_avx512;
mod product_portable;
mod program;
mod registers;
mod rows;
mod simple;
mod slide;
#[cfg(test)]
mod tests;
mod workers;

pub use activation::Activation;
pub use arena::{Arena, Slot};
pub use buffer::Buffer;
pub use chain::{Chain, Link, MOST_LINKS, Shape, Weights};
pub use depthwise::{MOST_TAPS, PackedDepthwise, Window};
pub use isa::Isa;
pub use peak::peak_gmacs;
pub use product::{PANEL, PackedProduct};
pub use program::{Program, Step};
use rows::Rows;
pub use simple::{Binary, Operand, Resize, Simple, Unary};
pub use workers::Team;
