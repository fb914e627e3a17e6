//! Frames as they travel through the pipeline: image, identity, time and telemetry.
//!
//! Identity (stream and frame number) and time (media time and the instant of capture) are set
//! once, at capture, and stay with the frame in its [`FrameMeta`]. A [`Packet`] carries them, the
//! [`Image`](mobilens_image::Image) as it was captured, and what the last stage made of it.
//! A [`StreamMessage`] is a packet, events of the source, or both: the unit on the edges from capture
//! to the records.

mod inference_plan;
mod message;
mod meta;
mod telemetry;

pub use inference_plan::{InferencePlan, Look, Region};
pub use message::{SourceEvent, StreamMessage};
pub use meta::{FrameMeta, MediaTime, Packet};
pub use telemetry::{GeoPoint, Telemetry};
