//! The style of the overlay, from the configuration.

use crate::config::LoadedPipeline;
use std::sync::Arc;

use crate::overlay::{Drawing, OverlayStyle};
use crate::postprocess::Labels;

use super::zones::polygon;

/// How results are drawn, with the names of the labels.
pub fn drawing(pipeline: &LoadedPipeline) -> Drawing {
    let labels = Arc::new(pipeline.labels());
    Drawing {
        style: overlay_style(pipeline, &labels),
        labels,
    }
}

/// How results are drawn.
fn overlay_style(pipeline: &LoadedPipeline, labels: &Labels) -> OverlayStyle {
    let overlay = &pipeline.config.overlay;
    OverlayStyle {
        line_px: overlay.line_px,
        text_px: overlay.text_px,
        hide_labels: !overlay.labels,
        hide_scores: !overlay.scores,
        alpha: overlay.alpha,
        hide_edges: !overlay.edges,
        hide_legend: !overlay.legend,
        zones: pipeline
            .config
            .zones
            .keys()
            .filter_map(|zone| polygon(pipeline, zone))
            .collect(),
        lines: pipeline
            .config
            .lines
            .values()
            .map(|line| (line.from, line.to))
            .collect(),
        trail_ms: overlay.trail_ms as f64,
        tracks: pipeline.config.track.is_some(),
        hide_boxes: false,
        hide_zones: false,
        hide_masks: false,
        colours: overlay
            .colours
            .iter()
            .flat_map(|(label, colour)| {
                // Of several models more than one may have the label.
                let ids = labels.iter().filter(move |(_, name)| *name == label);
                ids.map(|(id, _)| (id, colour.rgb()))
            })
            .collect(),
    }
}
