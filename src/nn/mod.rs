//! The network: loading, checking, running.

mod network;

pub use network::{KernelChoice, Layout, LoadOptions, Network, NnError, Session, TensorInfo};
