//! Gating: decides before inference on which frames and regions the network runs.
//!
//! From a small luma plane it detects changes since the last inference, scene cuts and the camera's
//! motion, and gives each frame an [`InferencePlan`](crate::frame::InferencePlan): the whole frame,
//! crops of it, or nothing, and with [`LookPlanner`] the input sizes. This happens at capture, in frame order, so
//! that the result does not depend on the number of workers.

mod camera_motion;
mod change_detector;
mod crops;
mod feedback;
mod input_sizes;
mod look_costs;
mod looks;
mod luma_plane;
mod params;
mod plan;
mod rhythm;
mod tiles;

pub use camera_motion::CameraMotion;
pub use change_detector::ChangeDetector;
pub use crops::{enlarged_crop, tiles_of};
pub use feedback::Feedback;
pub use input_sizes::{InputScale, InputSizes, feature_maps_beside};
pub use look_costs::LookCosts;
pub use looks::{LookParams, LookPlanner, SceneHints, look_scales};
pub use luma_plane::LumaPlane;
pub use params::{
    GatingParams, InferenceInterval, MotionGate, RecordedPlan, RegionParams, TileParams,
};
pub use plan::Gating;
pub use rhythm::{Every, Rhythm};
