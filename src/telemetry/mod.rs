//! Where a drone was and where its camera looked, and what that says of the ground.

mod ground;
mod log;
mod srt;

pub use ground::{GeoPoint, Locator};
pub use log::{Telemetry, TelemetryError, TelemetryLog};
