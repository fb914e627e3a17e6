//! Draws what was seen, once for all who want to look at it.

use std::collections::HashMap;
use std::sync::Arc;

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;

use crate::flow::{Latency, Receiver, Sender};
use crate::frame::{FrameMeta, Packet};
use crate::overlay::{Overlay, OverlayStyle};
use crate::postprocess::{Labels, Prediction};
use crate::records::FrameRecord;
use crate::sink::{OverlayLayers, StreamViews};
use mobilens_image::rgb_from_image;

/// All that is known of a frame.
#[derive(Clone, Debug)]
pub struct AnalyzedFrame {
    /// What the network said.
    pub prediction: Prediction,
    /// What was made of it.
    pub record: Arc<FrameRecord>,
    /// Zones and lines with what they have counted.
    pub counters: Vec<(String, String)>,
}

/// A frame with everything drawn on it.
#[derive(Clone)]
pub struct RenderedFrame {
    /// Identity and time.
    pub meta: FrameMeta,
    /// The picture at its original size.
    pub picture: Arc<RgbImage>,
}

/// Turns frames into annotated pictures.
pub struct Renderer {
    /// How to draw.
    pub overlay: Overlay,
    /// Edges to those who look. One that closes is passed over.
    pub viewers: Vec<Sender<RenderedFrame>>,
    /// Time to convert and draw.
    pub latency: Latency,
}

impl Renderer {
    /// Works until no more frames come, or nobody looks any more.
    pub fn run(mut self, frames: &Receiver<Packet<AnalyzedFrame>>) {
        while let Some(packet) = frames.recv() {
            let picture = self.latency.time(|| {
                let size = packet.image.size();
                let mut picture = RgbImage::new(size.width, size.height);
                rgb_from_image(&packet.image, &mut picture);
                let AnalyzedFrame {
                    prediction,
                    record,
                    counters,
                } = &packet.payload;
                self.overlay.draw_mut(&mut picture, prediction);
                self.overlay.draw_tracks_mut(&mut picture, record, counters);
                picture
            });
            let drawn = RenderedFrame {
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

/// Draws for those who watch in a browser: each kind of picture once, and only what is watched.
pub struct WebRenderer {
    /// Who watches what.
    pub views: Arc<StreamViews>,
    /// How pictures are drawn when all of it is shown.
    pub style: OverlayStyle,
    /// Names of the categories.
    pub labels: Arc<Labels>,
    /// Quality of the JPEGs.
    pub quality: u8,
}

impl WebRenderer {
    /// Works until no more frames come.
    pub fn run(self, frames: &Receiver<Packet<AnalyzedFrame>>) {
        let mut overlays: HashMap<OverlayLayers, Overlay> = HashMap::new();
        while let Some(packet) = frames.recv() {
            let wanted = self.views.wanted();
            overlays.retain(|layers, _| wanted.contains(layers));
            if wanted.is_empty() {
                continue;
            }
            let size = packet.image.size();
            let mut clean = RgbImage::new(size.width, size.height);
            rgb_from_image(&packet.image, &mut clean);
            for layers in wanted {
                let overlay = overlays
                    .entry(layers)
                    .or_insert_with(|| self.overlay(layers));
                let mut picture = clean.clone();
                let AnalyzedFrame {
                    prediction,
                    record,
                    counters,
                } = &packet.payload;
                overlay.draw_mut(&mut picture, prediction);
                overlay.draw_tracks_mut(&mut picture, record, counters);
                let mut jpeg = Vec::new();
                let encoder = JpegEncoder::new_with_quality(&mut jpeg, self.quality);
                match picture.write_with_encoder(encoder) {
                    Ok(()) => self.views.publish(layers, &jpeg),
                    Err(error) => tracing::warn!("no picture for the web page: {error}"),
                }
            }
        }
    }

    fn overlay(&self, layers: OverlayLayers) -> Overlay {
        let style = OverlayStyle {
            hide_boxes: !layers.boxes,
            hide_labels: self.style.hide_labels || !layers.labels,
            hide_scores: self.style.hide_scores || !layers.labels,
            hide_zones: !layers.zones,
            hide_masks: !layers.masks,
            ..self.style.clone()
        };
        Overlay::new(style, Arc::clone(&self.labels))
    }
}
