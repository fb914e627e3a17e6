//! The network: loading, checking, running.

mod draft;
mod error;
mod fuse;
mod graph;
mod import;
pub mod kernels;
mod network;
mod plan;
mod prune;
mod report;
mod rewrite;

pub use error::NnError;
pub use network::{
    InputLayout, KeptClasses, KernelChoice, LoadOptions, Network, PrunedClasses, Session,
    TensorInfo,
};
pub use report::LayerReport;
