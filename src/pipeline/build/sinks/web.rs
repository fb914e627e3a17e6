//! The web page, from the configuration.

use std::sync::Arc;

use super::secret;
use crate::config::{LoadedPipeline, WebConfig};
use crate::pipeline::build::overlay::overlay_style;
use crate::pipeline::stages::web::WebRenderer;
use crate::postprocess::Labels;
use crate::sink::{RecordSink, SinkError, WebServer};

/// Starts the server that all streams share.
pub fn start_server(spec: &WebConfig) -> Result<WebServer, SinkError> {
    let bind = &spec.bind;
    let token = secret(spec.token.as_deref(), &format!("http://{bind}"))?;
    WebServer::start(bind, token, spec.max_watchers as usize)
}

/// Registers a stream; its renderer and the sink for its records.
pub fn add_stream(
    server: &WebServer,
    config: &WebConfig,
    pipeline: &LoadedPipeline,
    labels: &Arc<Labels>,
) -> (WebRenderer, Box<dyn RecordSink>) {
    let (views, records) = server.add(&pipeline.stream);
    let renderer = WebRenderer {
        views,
        style: overlay_style(pipeline, labels),
        labels: Arc::clone(labels),
        quality: config.quality,
    };
    (renderer, records)
}
