//! From the network's raw outputs to results in pixels of the original frame.
//!
//! Model space ends here: [`SsdDecoder`] takes the raw heads and the transform that preprocessing
//! wrote down, and gives [`Detection`]s in frame pixels; [`DeepLabDecoder`] gives a [`ClassMask`] of
//! the frame's own size.

mod anchors;
mod deeplab;
mod detection;
mod mask;
mod nms;
mod safe_ground;
mod smooth;
mod ssd;

pub use anchors::AnchorParams;
pub use deeplab::{DeepLabDecoder, DeepLabParams};
pub use detection::{Detection, Labels, Prediction, Segmentation};
pub use mask::{ClassMask, UNKNOWN};
pub use safe_ground::{SafeGround, SafeGroundFinder};
pub use smooth::Smoother;
pub use ssd::{Activation, BoxCoding, SsdDecoder, SsdParams, WantedClass};
