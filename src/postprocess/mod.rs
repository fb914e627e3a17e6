//! From the network's raw outputs to results in pixels of the original frame.

mod detection;

pub use detection::{Detection, Labels, Prediction};
