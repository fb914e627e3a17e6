//! What tells the sinks of a stream apart, so that a reload closes and opens those that changed.

use std::collections::BTreeMap;

#[cfg(feature = "recording")]
use super::recording;
use crate::config::{LoadedPipeline, SinkConfig};
use crate::overlay::Overlay;
#[cfg(feature = "mqtt")]
use crate::pipeline::build::gating::compares_pictures;
use crate::pipeline::build::overlay::drawing;
use crate::pipeline::stages::sink_edges::SinkKey;

/// The keys of the pipeline's sinks, each with the sink's configuration; the window has none.
pub fn sink_keys(pipeline: &LoadedPipeline) -> BTreeMap<SinkKey, &SinkConfig> {
    let overlay = drawing(pipeline).overlay();
    let sinks = pipeline.config.sinks.iter().zip(&pipeline.shared);
    let keys =
        sinks.filter_map(|(sink, shared)| Some((key(pipeline, sink, *shared, &overlay)?, sink)));
    #[cfg(feature = "recording")]
    let keys = keys.chain(recording::keys(pipeline));
    keys.collect()
}

/// The key of a sink that is no recording, which are told apart by how they are encoded.
pub fn key(
    pipeline: &LoadedPipeline,
    sink: &SinkConfig,
    is_shared: bool,
    overlay: &Overlay,
) -> Option<SinkKey> {
    if sink.window.is_some() || sink.video.is_some() || sink.clips.is_some() {
        return None;
    }
    // What else it is opened with.
    let mut more = format!("shared: {is_shared}");
    if sink.masks.is_some() {
        more += &format!(" {:?}", overlay.class_colours());
    }
    #[cfg(feature = "mqtt")]
    if sink.mqtt.is_some() {
        more += &format!(" motion: {}", compares_pictures(pipeline));
    }
    #[cfg(not(feature = "mqtt"))]
    let _ = pipeline;
    Some(key_of(&[sink], &more))
}

/// The key of sinks that are opened with `more`.
pub fn key_of(sinks: &[&SinkConfig], more: &str) -> SinkKey {
    let configs = serde_json::to_string(sinks).expect("a configuration is plain data");
    format!("{configs} {more}").into()
}
