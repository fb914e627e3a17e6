//! Threads and edges; knows no pixels.

mod stop;

pub use stop::{StopReason, StopSignal};
