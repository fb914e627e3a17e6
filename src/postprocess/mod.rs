//! From the network's raw outputs to results in pixels of the original frame.
//!
//! Model space ends here: [`SsdDecoder`] takes the raw heads and the transform that preprocessing
//! wrote down, and gives [`Detection`]s in frame pixels.

mod anchors;
mod detection;
mod nms;
mod ssd;

pub use anchors::AnchorSpec;
pub use detection::{Detection, Labels, Prediction};
pub use ssd::{Activation, BoxCoding, SsdDecoder, SsdSpec, WantedClass};
