//! The web page, from the configuration.

use super::secret;
use crate::config::WebConfig;
use crate::flow::Health;
use crate::pipeline::stages::web::WebRenderer;
use crate::sink::{RecordSink, SinkError, WebParams, WebServer};

/// Starts the server that all streams share; it tells of `health`.
pub fn start_server(config: &WebConfig, health: Health) -> Result<WebServer, SinkError> {
    let token = secret(config.token.as_deref(), &format!("http://{}", config.bind))?;
    WebServer::start(&WebParams {
        bind: config.bind.clone(),
        token,
        hosts: config.hosts.clone(),
        max_watchers: config.max_watchers as usize,
        max_connections: config.max_connections as usize,
        max_connections_per_address: config.max_connections_per_address as usize,
        health,
    })
}

/// Registers a stream; its renderer and the sink for its records.
pub fn add_stream(
    server: &WebServer,
    config: &WebConfig,
    stream: &str,
) -> (WebRenderer, Box<dyn RecordSink>) {
    let (views, records) = server.add(stream);
    let renderer = WebRenderer {
        views,
        quality: config.quality,
    };
    (renderer, records)
}
