//! How good results are: segmentation against masks or COCO's polygons.

mod confusion;
mod instances;
mod truth;

pub use confusion::Confusion;
pub use instances::Instances;
pub use truth::{EvalError, IGNORED, MaskFolder, Truth};
