//! The network: loading, checking, running.

mod network;

pub use network::{KernelChoice, LoadOptions, Network, NnError, Session, TensorInfo};
