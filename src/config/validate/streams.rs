//! Sinks of several streams, seen together.

use std::collections::BTreeSet;

use super::paths::path_of_sink;
use super::servers::{SAME_CLIENT, mqtt_client};
use crate::config::diagnostic::Diagnostic;
use crate::config::document::{Document, key_path};
use crate::config::loaded::LoadedPipeline;
use crate::config::schema::SinkConfig;

/// Errors that only show when all streams are seen together.
pub fn validate_streams(
    documents: &[Document<'_>],
    pipelines: &[LoadedPipeline],
    errors: &mut Vec<Diagnostic>,
) {
    let mut windows = 0;
    let mut written = BTreeSet::new();
    let mut clients = BTreeSet::new();
    for (document, pipeline) in documents.iter().zip(pipelines) {
        let sinks = pipeline.config.sinks.iter().zip(&pipeline.shared);
        for (i, (sink, is_shared)) in sinks.enumerate() {
            let mut error = |kind: &str, message: &str| {
                errors.push(document.error_at_key(&key_path!["sinks", i, kind], message));
            };
            if *is_shared {
                if let Some(kind) = single_stream_kind(sink) {
                    error(
                        kind,
                        "cannot be shared: move it into the stream's own `sinks`",
                    );
                }
                continue;
            }
            if sink.window.is_some() {
                windows += 1;
                if windows == 2 {
                    error("window", "expected one window; this is the second");
                }
            }
            if let Some(Ok(client)) = sink.mqtt.as_ref().and_then(mqtt_client)
                && !clients.insert(client)
            {
                error("mqtt", SAME_CLIENT);
            }
            if let Some((kind, name, path)) = path_of_sink(sink)
                && name == "path"
                && !written.insert(path.to_owned())
            {
                let path = path.display();
                error(kind, &format!("another stream already writes to {path}"));
            }
        }
    }
}

/// The kind of a sink that cannot take several streams.
fn single_stream_kind(sink: &SinkConfig) -> Option<&'static str> {
    let kinds = [
        ("window", sink.window.is_some()),
        ("coco", sink.coco.is_some()),
        ("mot", sink.mot.is_some()),
    ];
    kinds.iter().find(|(_, is)| *is).map(|(kind, _)| *kind)
}
