//! Sinks: outputs for records, pictures, masks and video.
//!
//! A [`RecordSink`] takes records and needs no picture; [`ImagesSink`] and [`DisplayWindow`] take annotated
//! pictures, a [`VideoRecording`] annotated or clean ones, [`MasksSink`] the class of each pixel. Sinks know no threads; each is given one
//! of its own, behind an edge, by the application.

mod coco;
mod error;
mod expect;
mod files;
mod images;
mod jsonl;
mod masks;
mod mot;
#[cfg(feature = "mqtt")]
mod mqtt;
mod output;
#[cfg(feature = "recording")]
mod recording;
#[cfg(any(feature = "mqtt", feature = "webhook"))]
mod redacted_url;
#[cfg(feature = "window")]
mod scale;
#[cfg(any(feature = "mqtt", feature = "webhook"))]
mod send_queue;
#[cfg(feature = "web")]
mod web;
#[cfg(feature = "webhook")]
mod webhook;
#[cfg(feature = "window")]
mod window;
#[cfg(not(feature = "window"))]
#[path = "no_window.rs"]
mod window;

pub use coco::CocoSink;
pub use error::SinkError;
pub use expect::ExpectSink;
pub use images::{ImagesSink, PictureEncoding};
pub use jsonl::{JsonlSink, LineWriter};
pub use masks::MasksSink;
pub use mot::MotSink;
#[cfg(feature = "mqtt")]
pub use mqtt::{MqttClient, MqttFrames, MqttParams, MqttSink};
#[cfg(feature = "recording")]
pub use recording::{ClipRules, Clips, RetentionPolicy, Segments, VideoRecording};
#[cfg(feature = "web")]
pub use web::{Metrics, OverlayLayers, StreamViews, WebParams, WebServer};
#[cfg(feature = "webhook")]
pub use webhook::{WebhookClient, WebhookParams, WebhookSink};
pub use window::{DisplayWindow, WindowError};

use crate::records::{EndRecord, EventRecord, FrameRecord};

/// Takes the records of a stream.
pub trait RecordSink: Send {
    /// Takes one frame's record.
    ///
    /// # Errors
    /// When it cannot be kept; the sink is then not used again.
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError>;

    /// Takes an event that came without a frame: the source was lost.
    ///
    /// # Errors
    /// When it cannot be kept; the sink is then not used again.
    fn event(&mut self, event: &EventRecord) -> Result<(), SinkError> {
        let _ = event;
        Ok(())
    }

    /// Takes the last record and puts everything in its place.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn finish(&mut self, record: &EndRecord) -> Result<(), SinkError>;
}
