//! Draws what was seen, once for all who want to look at it.

use std::sync::Arc;

use image::RgbImage;

use crate::flow::{Latency, Receiver, Sender};
use crate::frame::{FrameMeta, Packet, rgb_from_image};
use crate::overlay::Overlay;
use crate::postprocess::Prediction;
use crate::records::FrameRecord;

/// All that is known of a frame.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What the network said.
    pub prediction: Prediction,
    /// What was made of it.
    pub record: Arc<FrameRecord>,
    /// Zones and lines with what they have counted.
    pub board: Vec<(String, String)>,
}

/// A frame with everything drawn on it.
#[derive(Clone)]
pub struct Drawn {
    /// Identity and time.
    pub meta: FrameMeta,
    /// The picture at its original size.
    pub picture: Arc<RgbImage>,
}

/// Turns frames into annotated pictures.
pub struct Artist {
    /// How to draw.
    pub overlay: Overlay,
    /// Edges to those who look. One that closes is passed over.
    pub viewers: Vec<Sender<Drawn>>,
    /// Time to convert and draw.
    pub latency: Latency,
}

impl Artist {
    /// Works until no more frames come, or nobody looks any more.
    pub fn run(mut self, frames: &Receiver<Packet<Finding>>) {
        while let Some(packet) = frames.recv() {
            let picture = self.latency.time(|| {
                let size = packet.image.size();
                let mut picture = RgbImage::new(size.width, size.height);
                rgb_from_image(&packet.image, &mut picture);
                let Finding {
                    prediction,
                    record,
                    board,
                } = &packet.payload;
                self.overlay.draw_mut(&mut picture, prediction);
                self.overlay.draw_tracks_mut(&mut picture, record, board);
                picture
            });
            let drawn = Drawn {
                meta: packet.meta,
                picture: Arc::new(picture),
            };
            self.viewers
                .retain(|viewer| viewer.send(drawn.clone()).is_ok());
            if self.viewers.is_empty() {
                break;
            }
        }
    }
}
