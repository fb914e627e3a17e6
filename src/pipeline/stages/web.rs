//! Web: encodes the annotated pictures that somebody watches in a browser.

use std::collections::HashMap;
use std::sync::Arc;

use image::codecs::jpeg::JpegEncoder;

use super::render::AnalyzedFrame;
use crate::flow::Receiver;
use crate::overlay::{Overlay, OverlayStyle};
use crate::postprocess::Labels;
use crate::sink::{OverlayLayers, StreamViews};

/// Makes the JPEGs of the web page: one for each combination of layers that is watched.
pub struct WebRenderer {
    /// Which combinations of layers are watched, and where their pictures go.
    pub views: Arc<StreamViews>,
    /// The style with all layers shown.
    pub style: OverlayStyle,
    /// Names of the categories.
    pub labels: Arc<Labels>,
    /// Quality of the JPEGs.
    pub quality: u8,
}

impl WebRenderer {
    /// Works until no more frames come.
    pub fn run(self, frames: &Receiver<Arc<AnalyzedFrame>>) {
        let mut overlays: HashMap<OverlayLayers, Overlay> = HashMap::new();
        while let Some(frame) = frames.recv() {
            let wanted = self.views.wanted();
            overlays.retain(|layers, _| wanted.contains(layers));
            for layers in wanted {
                let overlay = overlays
                    .entry(layers)
                    .or_insert_with(|| self.overlay(layers));
                let picture = frame.annotated(overlay);
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
