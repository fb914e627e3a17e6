//! Draws what was seen, once for all who want to look at it.

use std::collections::HashMap;
use std::sync::Arc;

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;

use super::rules::polygon;
use crate::config::PipelineConfig;
use crate::flow::{Latency, Receiver, Sender};
use crate::frame::{FrameMeta, Packet, rgb_from_image};
use crate::overlay::{Overlay, OverlayStyle};
use crate::postprocess::{Labels, Prediction};
use crate::records::FrameRecord;
use crate::sink::{Hub, Show};

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

/// Draws for those who watch in a browser: each kind of picture once, and only what is watched.
pub struct WebArtist {
    /// Who watches what.
    pub hub: Arc<Hub>,
    /// How pictures are drawn when all of it is shown.
    pub style: OverlayStyle,
    /// Names of the categories.
    pub labels: Arc<Labels>,
    /// Quality of the JPEGs.
    pub quality: u8,
}

impl WebArtist {
    /// Works until no more frames come.
    pub fn run(self, frames: &Receiver<Packet<Finding>>) {
        let mut overlays: HashMap<Show, Overlay> = HashMap::new();
        while let Some(packet) = frames.recv() {
            let wanted = self.hub.wanted();
            overlays.retain(|show, _| wanted.contains(show));
            if wanted.is_empty() {
                continue;
            }
            let size = packet.image.size();
            let mut clean = RgbImage::new(size.width, size.height);
            rgb_from_image(&packet.image, &mut clean);
            for show in wanted {
                let overlay = overlays.entry(show).or_insert_with(|| self.overlay(show));
                let mut picture = clean.clone();
                let Finding {
                    prediction,
                    record,
                    board,
                } = &packet.payload;
                overlay.draw_mut(&mut picture, prediction);
                overlay.draw_tracks_mut(&mut picture, record, board);
                let mut jpeg = Vec::new();
                let encoder = JpegEncoder::new_with_quality(&mut jpeg, self.quality);
                match picture.write_with_encoder(encoder) {
                    Ok(()) => self.hub.show(show, &jpeg),
                    Err(error) => tracing::warn!("no picture for the web page: {error}"),
                }
            }
        }
    }

    fn overlay(&self, show: Show) -> Overlay {
        let style = OverlayStyle {
            hide_boxes: !show.boxes,
            hide_labels: self.style.hide_labels || !show.labels,
            hide_scores: self.style.hide_scores || !show.labels,
            hide_zones: !show.zones,
            hide_masks: !show.masks,
            ..self.style.clone()
        };
        Overlay::new(style, Arc::clone(&self.labels))
    }
}

/// How results are drawn.
pub fn overlay_style(config: &PipelineConfig, labels: &Labels) -> OverlayStyle {
    let overlay = &config.spec.overlay;
    OverlayStyle {
        line_px: overlay.line_px,
        text_px: overlay.text_px,
        hide_labels: overlay.labels == Some(false),
        hide_scores: overlay.scores == Some(false),
        alpha: overlay.alpha,
        hide_edges: overlay.edges == Some(false),
        hide_legend: overlay.legend == Some(false),
        zones: config
            .spec
            .zones
            .keys()
            .filter_map(|zone| polygon(config, zone))
            .collect(),
        lines: config
            .spec
            .lines
            .values()
            .map(|line| (line.from, line.to))
            .collect(),
        trail_ms: overlay.trail_ms.map(|ms| ms as f64),
        tracks: config.spec.track.is_some(),
        hide_boxes: false,
        hide_zones: false,
        hide_masks: false,
        colours: overlay
            .colours
            .iter()
            .filter_map(|(label, colour)| Some((labels.id(label)?, colour.rgb())))
            .collect(),
    }
}
