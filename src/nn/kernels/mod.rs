//! Float32 kernels for what MobileNets consist of, and the program that runs them.
//!
//! The only module with `unsafe` code: vector instructions and threads that write disjoint parts
//! of one arena need it. [`Program::new`] checks every size and place that the unsafe parts rely
//! on, so nothing that a network file says can make them leave their memory.

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
