//! Encoding: records a stream's pictures as video, clean or annotated.

use std::sync::Arc;
use std::time::Instant;

use super::render::AnalyzedFrame;
use crate::flow::{Latency, Receiver};
use crate::overlay::Overlay;
use crate::sink::{SinkError, VideoRecording};
use mobilens_image::{PixelFormat, Planar};

/// Encodes a stream's pictures.
pub struct EncodeStage {
    /// Where the encoded pictures go.
    pub recording: VideoRecording,
    /// How they are annotated; clean without.
    pub overlay: Option<Overlay>,
}

impl EncodeStage {
    /// Works until no more frames come; files are then complete.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(
        mut self,
        frames: &Receiver<Arc<AnalyzedFrame>>,
        latency: &Latency,
    ) -> Result<(), SinkError> {
        let mut planar = Planar::default();
        while let Some(frame) = frames.recv() {
            let began = Instant::now();
            let pictures = &frame.pictures;
            match &mut self.overlay {
                Some(overlay) => planar.take_rgb(&frame.annotated(overlay)),
                // These planes are what the encoder takes; other formats go through RGB.
                None if pictures.image().format() == PixelFormat::I420 => {
                    planar.take_image(pictures.image());
                }
                None => planar.take_rgb(&pictures.rgb()),
            }
            let at = frame.meta.pts.as_duration().as_micros();
            let at_us = i64::try_from(at).unwrap_or(i64::MAX);
            self.recording
                .picture(&planar, at_us, &frame.record.events)?;
            latency.record(began.elapsed());
        }
        self.recording.finish()
    }
}
