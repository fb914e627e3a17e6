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
    if sink.window.is_some() || is_recording(sink) {
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
    if sink.store.is_some() {
        // It is told of the files of these.
        more += &format!(" recordings: {}", of_kind(pipeline, is_recording));
    }
    Some(key_of(&[sink], &more))
}

/// The key of sinks that are opened with `more`.
pub fn key_of(sinks: &[&SinkConfig], more: &str) -> SinkKey {
    format!("{} {more}", text_of(sinks)).into()
}

/// The key of recordings that are encoded together; they tell the event stores of their files.
#[cfg(feature = "recording")]
pub fn recordings_key(pipeline: &LoadedPipeline, sinks: &[&SinkConfig]) -> SinkKey {
    let stores = of_kind(pipeline, |sink| sink.store.is_some());
    key_of(sinks, &format!("stores: {stores}"))
}

fn is_recording(sink: &SinkConfig) -> bool {
    sink.video.is_some() || sink.clips.is_some()
}

/// The sinks of the pipeline that are of a kind.
fn of_kind(pipeline: &LoadedPipeline, is_meant: impl Fn(&SinkConfig) -> bool) -> String {
    let sinks = pipeline.config.sinks.iter();
    text_of(&sinks.filter(|sink| is_meant(sink)).collect::<Vec<_>>())
}

fn text_of(sinks: &[&SinkConfig]) -> String {
    serde_json::to_string(sinks).expect("a configuration is plain data")
}
