//! The network: loading, checking, running.

mod fuse;
mod graph;
mod import;
mod kernels;
mod network;
mod plan;
mod report;
mod rewrite;

pub use network::{KernelChoice, LoadOptions, Network, NnError, Session, TensorInfo};
pub use report::LayerReport;
