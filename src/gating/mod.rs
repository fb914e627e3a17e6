//! Where to look: what can be said of a frame before any network has seen it.
//!
//! On a small luma plane: whether anything changed since somebody last looked, where, whether this
//! is another scene, and how the camera moved. From that follows the [`crate::frame::InferencePlan`] that
//! a frame is given: all of it, parts of it, or nothing. It is decided in the order of the frames,
//! at capture, so that it does not depend on how many workers there are.

mod camera;
mod change;
mod luma;
mod params;
mod parts;
mod plan;

pub use camera::CameraMotion;
pub use change::ChangeDetector;
pub use luma::LumaPlane;
pub use params::{GatingParams, InferenceInterval, MotionGate, RegionParams, TileParams};
pub use parts::{SeenPart, merge_boxes, tiles_of};
pub use plan::{Feedback, Gating};
