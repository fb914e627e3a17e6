//! Web: encodes the annotated pictures that somebody watches in a browser.

use std::collections::HashMap;
use std::sync::Arc;

use image::codecs::jpeg::JpegEncoder;

use super::render::AnalyzedFrame;
use crate::flow::Receiver;
use crate::overlay::{Drawing, Overlay, OverlayStyle};
use crate::sink::{OverlayLayers, StreamViews};

/// Makes the JPEGs of the web page: one for each combination of layers that is watched.
pub struct WebRenderer {
    /// Which combinations of layers are watched, and where their pictures go.
    pub views: Arc<StreamViews>,
    /// Quality of the JPEGs.
    pub quality: u8,
}

impl WebRenderer {
    /// Works until no more frames come.
    pub fn run(self, frames: &Receiver<Arc<AnalyzedFrame>>) {
        let mut overlays: HashMap<OverlayLayers, Overlay> = HashMap::new();
        let mut drawing = Arc::<Drawing>::default();
        while let Some(frame) = frames.recv() {
            let wanted = self.views.wanted();
            if !Arc::ptr_eq(&drawing, &frame.drawing) {
                overlays.clear();
                drawing = Arc::clone(&frame.drawing);
            }
            overlays.retain(|layers, _| wanted.contains(layers));
            for layers in wanted {
                let overlay = overlays
                    .entry(layers)
                    .or_insert_with(|| overlay(&drawing, layers));
                let picture = frame.annotated_by(overlay);
                let mut jpeg = Vec::new();
                let encoder = JpegEncoder::new_with_quality(&mut jpeg, self.quality);
                match picture.write_with_encoder(encoder) {
                    Ok(()) => self.views.publish(layers, &jpeg),
                    Err(error) => tracing::warn!("no picture for the web page: {error}"),
                }
            }
        }
    }
}

/// Draws these layers alone.
fn overlay(drawing: &Drawing, layers: OverlayLayers) -> Overlay {
    let style = &drawing.style;
    let style = OverlayStyle {
        hide_boxes: !layers.boxes,
        hide_labels: style.hide_labels || !layers.labels,
        hide_scores: style.hide_scores || !layers.labels,
        hide_zones: !layers.zones,
        hide_masks: !layers.masks,
        ..style.clone()
    };
    Overlay::new(style, Arc::clone(&drawing.labels))
}
