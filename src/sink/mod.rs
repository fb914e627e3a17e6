//! Sinks: outputs for records, pictures, masks and video.
//!
//! A [`RecordSink`] takes records and needs no picture; [`ImagesSink`] and [`DisplayWindow`] take annotated
//! pictures, a [`VideoRecording`] annotated or clean ones, a [`StoreSink`] records with the clean ones, [`MasksSink`] the class of each pixel. Sinks know no threads; each is given one
//! of its own, behind an edge, by the application.

mod coco;
mod durable;
mod error;
mod expect;
mod files;
mod images;
mod jsonl;
mod lines;
mod masks;
mod mot;
#[cfg(feature = "mqtt")]
mod mqtt;
mod on_error;
mod output;
#[cfg(any(feature = "recording", feature = "store"))]
mod recorded_files;
#[cfg(feature = "recording")]
mod recording;
#[cfg(any(feature = "mqtt", feature = "webhook"))]
mod redacted_url;
#[cfg(feature = "window")]
mod scale;
#[cfg(any(feature = "mqtt", feature = "webhook"))]
mod send_queue;
#[cfg(feature = "store")]
mod store;
mod wall_clock;
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
pub use files::write_whole;
pub use images::{ImagesSink, PictureEncoding};
pub use jsonl::JsonlSink;
pub use lines::{LineParams, LineWriter, Rotation};
pub use masks::MasksSink;
pub use mot::MotSink;
#[cfg(feature = "mqtt")]
pub use mqtt::{MqttClient, MqttFrames, MqttParams, MqttSink};
pub use on_error::{ErrorGuard, OnError, SinkEvent, SinkReports};
#[cfg(any(feature = "recording", feature = "store"))]
pub use recorded_files::{FileReports, RecordedFile};
#[cfg(feature = "recording")]
pub use recording::{ClipRules, Clips, RetentionPolicy, Segments, VideoRecording};
#[cfg(feature = "store")]
pub use store::{FLUSH_INTERVAL as STORE_FLUSH_INTERVAL, StoreParams, StoreSink};
#[cfg(feature = "web")]
pub use web::{EventFiles, Metrics, OverlayLayers, StreamViews, WebParams, WebServer};
#[cfg(feature = "webhook")]
pub use webhook::{WebhookClient, WebhookParams, WebhookSink};
pub use window::{DisplayWindow, WindowError};

use crate::records::{EndRecord, EventRecord, FrameRecord};

/// Takes the records of a stream.
pub trait RecordSink: Send {
    /// Takes one frame's record.
    ///
    /// # Errors
    /// When it cannot be kept. The sink is then not used again, unless it is reopened.
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError>;

    /// Takes an event that came without a frame: the source was lost.
    ///
    /// # Errors
    /// When it cannot be kept. The sink is then not used again, unless it is reopened.
    fn event(&mut self, event: &EventRecord) -> Result<(), SinkError> {
        let _ = event;
        Ok(())
    }

    /// Takes the last record and puts everything in its place.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn finish(&mut self, record: &EndRecord) -> Result<(), SinkError>;

    /// Makes ready for another attempt at what could not be kept; what was kept before stays.
    ///
    /// # Errors
    /// When it cannot be kept yet.
    fn reopen(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
