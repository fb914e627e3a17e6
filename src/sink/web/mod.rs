//! Web server: live view, snapshots, events, metrics.
//!
//! | path | what |
//! |---|---|
//! | `/` | the page |
//! | `/live.mjpeg?stream=NAME&show=boxes,labels,zones,masks` | the picture, as fast as the watcher reads it |
//! | `/snapshot.jpg?stream=NAME&show=...` | the next picture |
//! | `/events` | all streams' records, as server-sent events |
//! | `/api/v1/...` | events of the store, with pictures and clips; `/api/v1/openapi.json` describes it |
//! | `/metrics` | counters and latency histograms, for Prometheus |
//! | `/healthz` | 200 while all streams give frames or reconnect, else 503, as JSON |
//!
//! Each set of layers has one slot with the newest picture; slow clients miss pictures and block nobody.
//! Pictures without clients are neither drawn nor encoded. The server has one thread, and up to four that ask the
//! event store and read files (`4-web-query`).
//!
//! | file | contents |
//! |---|---|
//! | `connections` | accepts connections, within limits |
//! | `guard` | what every request has to pass; login |
//! | `access` | the token, with `hosts`, `sessions` and `failures` |
//! | `routes` | what is served |
//! | `api` | events of the store; `no_api.rs` stands in for it in a build without that |
//! | `views` | pictures and records on their way from the pipeline |
//! | `metrics`, `counters` | what is counted of the streams, and of the server itself |

mod access;
mod address;
#[cfg(feature = "store")]
mod api;
#[cfg(not(feature = "store"))]
#[path = "no_api.rs"]
mod api;
mod connections;
mod counters;
mod failures;
mod guard;
mod hosts;
mod metrics;
mod routes;
mod sessions;
mod views;

use access::Access;
use connections::ConnectionLimits;
pub use metrics::Metrics;
use views::ServerState;
pub use views::{EventFiles, OverlayLayers, StreamViews};

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use futures_util::future::select;
use tokio::sync::oneshot;

use super::{RecordSink, SinkError};
use crate::flow::Health;
use crate::records::{EndRecord, EventRecord, FrameRecord, Record};

/// Threads that ask the event store and read files; more requests wait.
const BLOCKING_THREADS: usize = 4;

/// How a server is reached, and by whom.
#[derive(Clone, Debug, Default)]
pub struct WebParams {
    /// Address with a port (0: any that is free).
    pub bind: String,
    /// What clients must show; all are admitted without one.
    pub token: Option<String>,
    /// Host names that requests may be for, besides IP addresses, `localhost` and this machine's own;
    /// `*`: any.
    pub hosts: Vec<String>,
    /// Most pictures and record streams that are open at once.
    pub max_watchers: usize,
    /// Most connections in all; never more than half of the descriptors that the process may open.
    pub max_connections: usize,
    /// Most connections from one address.
    pub max_connections_per_address: usize,
    /// What `/healthz` tells.
    pub health: Health,
}

/// A server that listens.
pub struct WebServer {
    state: Arc<ServerState>,
    address: SocketAddr,
    begin: Mutex<Option<oneshot::Sender<()>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    /// Listens. Requests before [`begin`](Self::begin) wait.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the token is empty.
    pub fn start(params: &WebParams) -> Result<Self, SinkError> {
        let target = format!("http://{}", params.bind);
        let io = |e| SinkError::from_io(&target, e);
        let access = Access::new(params.token.as_deref(), &params.hosts);
        let access = access.map_err(|why| SinkError::Unrepresentable {
            target: target.clone(),
            why,
        })?;
        let listener = TcpListener::bind(&params.bind).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("4-web-query")
            .build()
            .map_err(io)?;
        let state = ServerState::new(access, params.health.clone(), params.max_watchers);
        let state = Arc::new(state);
        let limits = Arc::new(ConnectionLimits::new(
            params.max_connections,
            params.max_connections_per_address,
            Arc::clone(&state.counters),
        ));
        let app = routes::router(Arc::clone(&state));
        let (begin, begun) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let served = runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                if begun.await.is_err() {
                    return Ok(());
                }
                let server = std::pin::pin!(connections::serve(listener, app, limits));
                select(server, stopped).await;
                Ok::<(), std::io::Error>(())
            });
            if let Err(error) = served {
                tracing::warn!("the web server ended: {error}");
            }
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new()
            .name("4-web-server".to_owned())
            .spawn(serve)
            .map_err(io)?;
        Ok(Self {
            state,
            address,
            begin: Mutex::new(Some(begin)),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Adds a stream, or finds it; returns its views, and a sink for its records.
    pub fn add(&self, stream: &str) -> (Arc<StreamViews>, Box<dyn RecordSink>) {
        let views = self.state.add(stream);
        let records = WebRecordSink {
            state: Arc::clone(&self.state),
            views: Arc::clone(&views),
        };
        (views, Box::new(records))
    }

    /// Where the events and recordings of a stream are that was added.
    pub fn add_event_files(&self, files: &EventFiles) {
        self.state.add_event_files(files);
    }

    /// Where the events and recordings of all streams are from now on.
    pub fn set_event_files(&self, of_streams: &[EventFiles]) {
        self.state.set_event_files(of_streams);
    }

    /// Forgets all streams but these.
    pub fn retain(&self, streams: &[&str]) {
        self.state.retain(streams);
    }

    /// Starts to accept requests, once all streams are added.
    pub fn begin(&self) {
        let mut begin = self.begin.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(begin) = begin.take() {
            let _ = begin.send(());
            tracing::info!("watch at http://{}/", self.address);
        }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.begin = Mutex::default();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends records to the server's listeners.
struct WebRecordSink {
    state: Arc<ServerState>,
    views: Arc<StreamViews>,
}

impl RecordSink for WebRecordSink {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        self.views.metrics().count(record);
        let mut frame = record.clone();
        let events = std::mem::take(&mut frame.events);
        self.state.broadcast(&Record::Frame(frame));
        for event in events {
            self.state.broadcast(&Record::Event(event));
        }
        Ok(())
    }

    fn event(&mut self, event: &EventRecord) -> Result<(), SinkError> {
        self.views.metrics().count_event(event);
        self.state.broadcast(&Record::Event(event.clone()));
        Ok(())
    }

    fn finish(&mut self, record: &EndRecord) -> Result<(), SinkError> {
        self.state.broadcast(&Record::End(record.clone()));
        Ok(())
    }
}
