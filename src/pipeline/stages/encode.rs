//! Records pictures, clean or with everything drawn on them.

use image::RgbImage;

use super::render::AnalyzedFrame;
use crate::flow::{Latency, Receiver};
use crate::frame::Packet;
use crate::overlay::Overlay;
use crate::sink::{SinkError, VideoRecording};
use mobilens_image::{Planar, rgb_from_image};

/// What records a stream's pictures.
pub struct EncodeStage {
    /// What is made of them.
    pub recording: VideoRecording,
    /// How they are drawn on; clean without.
    pub overlay: Option<Overlay>,
}

impl EncodeStage {
    /// Works until no more frames come; files are then whole.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(
        mut self,
        frames: &Receiver<Packet<AnalyzedFrame>>,
        latency: &Latency,
    ) -> Result<(), SinkError> {
        let mut planar = Planar::default();
        let mut rgb = RgbImage::new(0, 0);
        while let Some(packet) = frames.recv() {
            let began = std::time::Instant::now();
            let AnalyzedFrame {
                prediction,
                record,
                counters,
            } = &packet.payload;
            match &mut self.overlay {
                None => planar.take_image(&packet.image),
                Some(overlay) => {
                    let size = packet.image.size();
                    if (rgb.width(), rgb.height()) != (size.width, size.height) {
                        rgb = RgbImage::new(size.width, size.height);
                    }
                    rgb_from_image(&packet.image, &mut rgb);
                    overlay.draw_mut(&mut rgb, prediction);
                    overlay.draw_tracks_mut(&mut rgb, record, counters);
                    planar.take_rgb(&rgb);
                }
            }
            let at = packet.meta.pts.as_duration().as_micros();
            let at_us = i64::try_from(at).unwrap_or(i64::MAX);
            self.recording.picture(&planar, at_us, &record.events)?;
            latency.record(began.elapsed());
        }
        self.recording.finish()
    }
}
