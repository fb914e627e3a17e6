//! The web page, from the configuration.

use super::secret;
use crate::config::{SinkConfig, WebConfig};
use crate::flow::Health;
use crate::pipeline::stages::web::WebRenderer;
use crate::sink::{EventFiles, RecordSink, SinkError, WebParams, WebServer};

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

/// Where the events and recordings of a stream with these sinks are.
pub fn event_files(sinks: &[SinkConfig]) -> EventFiles {
    let mut stores = sinks.iter().filter_map(|sink| sink.store.as_ref());
    let video = sinks.iter().filter_map(|sink| sink.video.as_ref());
    let clips = sinks.iter().filter_map(|sink| sink.clips.as_ref());
    let video = video.map(|video| video.dir.clone());
    EventFiles {
        store: stores.next().map(|store| store.path.clone()),
        media_dirs: video.chain(clips.map(|clips| clips.dir.clone())).collect(),
    }
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
