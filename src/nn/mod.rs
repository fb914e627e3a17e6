//! The network: loading, checking, running.

mod draft;
mod fuse;
mod graph;
mod import;
pub mod kernels;
mod network;
mod plan;
mod prune;
mod report;
mod rewrite;

pub use network::{
    KeptClasses, KernelChoice, LoadOptions, Network, NnError, PrunedClasses, Session, TensorInfo,
};
pub use report::LayerReport;
