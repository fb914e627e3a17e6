//! What a pipeline needs that was left out of this build.

use crate::config::{PipelineConfig, SinkConfig};
use crate::pipeline::options::MissingFeature;

/// Holds a pipeline against the features of this build. A camera that has a fallback, and a window,
/// are left to the run, which goes on without.
///
/// # Errors
/// The first source or sink that this build does not have.
pub fn ensure_built(config: &PipelineConfig) -> Result<(), MissingFeature> {
    let source = &config.source;
    let has_fallback = config.fallback.is_some();
    let sources = [
        (
            "source",
            "camera",
            source.camera.is_some() && !has_fallback,
            cfg!(feature = "camera"),
        ),
        (
            "source",
            "rtsp",
            source.rtsp.is_some() && !has_fallback,
            cfg!(feature = "rtsp"),
        ),
    ];
    let any = |is: fn(&SinkConfig) -> bool| config.sinks.iter().any(is);
    let recording = cfg!(feature = "recording");
    let sinks = [
        ("web", any(|s| s.web.is_some()), cfg!(feature = "web")),
        ("mqtt", any(|s| s.mqtt.is_some()), cfg!(feature = "mqtt")),
        (
            "webhook",
            any(|s| s.webhook.is_some()),
            cfg!(feature = "webhook"),
        ),
        ("video", any(|s| s.video.is_some()), recording),
        ("clips", any(|s| s.clips.is_some()), recording),
        ("store", any(|s| s.store.is_some()), cfg!(feature = "store")),
    ];
    let sinks = sinks.map(|(key, is_asked, is_built)| ("sink", key, is_asked, is_built));
    let missing = sources
        .into_iter()
        .chain(sinks)
        .find(|(_, _, is_asked, is_built)| *is_asked && !is_built);
    match missing {
        None => Ok(()),
        Some((kind, key, ..)) => Err(MissingFeature {
            kind,
            key,
            feature: match key {
                "video" | "clips" => "recording",
                key => key,
            },
        }),
    }
}
