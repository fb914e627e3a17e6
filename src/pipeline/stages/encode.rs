//! Encoding: records a stream's pictures as video, clean or annotated.

use std::time::{Duration, Instant};

use super::sink_edges::RecordedFrame;
use crate::flow::{Latency, Received, Receiver};
use crate::overlay::CurrentOverlay;
use crate::sink::{SinkError, VideoRecording};
use mobilens_image::{PixelFormat, Planar};

/// How often the folders are looked after while no frame comes.
const IDLE: Duration = Duration::from_secs(60);

/// Encodes a stream's pictures.
pub struct EncodeStage {
    /// Where the encoded pictures go.
    pub recording: VideoRecording,
    /// Whether they are annotated.
    pub is_annotated: bool,
}

impl EncodeStage {
    /// Works until no more frames come; files are then complete.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(
        mut self,
        frames: &Receiver<RecordedFrame>,
        latency: &Latency,
    ) -> Result<(), SinkError> {
        let mut planar = Planar::default();
        let mut overlay = self.is_annotated.then(CurrentOverlay::default);
        loop {
            let recorded = match frames.recv_timeout(IDLE) {
                Received::Item(recorded) => recorded,
                Received::Nothing => {
                    self.recording.sweep();
                    continue;
                }
                Received::Closed => break,
            };
            let frame = recorded.frame;
            let began = Instant::now();
            let pictures = &frame.pictures;
            match &mut overlay {
                Some(overlay) => planar.take_rgb(&frame.annotated(overlay)),
                // These planes are what the encoder takes; other formats go through RGB.
                None if pictures.image().format() == PixelFormat::I420 => {
                    planar.take_image(pictures.image());
                }
                None => planar.take_rgb(&pictures.rgb()),
            }
            let at = frame.meta.pts.as_duration().as_micros();
            let at_us = i64::try_from(at).unwrap_or(i64::MAX);
            let mut events = recorded.missed.take(frame.record.frame);
            events.extend_from_slice(&frame.record.events);
            self.recording.picture(&planar, at_us, &events)?;
            latency.record(began.elapsed());
        }
        self.recording.finish()
    }
}
