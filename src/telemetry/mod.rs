//! Drone telemetry: DJI's SRT subtitles, and the projection of pixels to the ground.

mod ground;
mod log;
mod srt;

pub use ground::GroundProjection;
pub use log::{TelemetryError, TelemetryLog};
