//! A page to watch in a browser, and what other programs read from it.
//!
//! | path | what |
//! |---|---|
//! | `/` | the page |
//! | `/live.mjpeg?show=boxes,labels,zones,masks` | the picture, as fast as the watcher reads it |
//! | `/snapshot.jpg?show=...` | the next picture |
//! | `/events` | all records, as server-sent events |
//! | `/metrics` | counters and latency histograms, for Prometheus |
//! | `/healthz` | `ok` |
//!
//! Each kind of picture has one slot with the newest; a watcher that reads slowly misses pictures and
//! holds nobody up. What nobody watches is neither drawn nor encoded. The server has one thread.

mod hub;
mod metrics;
mod routes;

pub use hub::{Hub, Show};
pub use metrics::Metrics;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use super::{RecordSink, SinkError};
use crate::records::{EndRecord, EventRecord, FrameRecord, Record};

/// A server that listens.
pub struct WebServer {
    hub: Arc<Hub>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    /// Listens on `bind`, an address with a port (0: any that is free). With a `token`, whoever comes
    /// must have it. At most `most_watchers` pictures and record streams are open at once.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(
        bind: &str,
        token: Option<String>,
        most_watchers: usize,
        stream: &str,
        metrics: Metrics,
    ) -> Result<Self, SinkError> {
        let target = format!("http://{bind}");
        let io = |e| SinkError::from_io(&target, e);
        let listener = TcpListener::bind(bind).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(io)?;
        let hub = Arc::new(Hub::new(stream, token, most_watchers, metrics));
        let app = routes::router(Arc::clone(&hub));
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let served = runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let server = std::pin::pin!(axum::serve(listener, app).into_future());
                match select(server, stopped).await {
                    Either::Left((served, _)) => served,
                    Either::Right(_) => Ok(()),
                }
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
        tracing::info!("watch at http://{address}/");
        Ok(Self {
            hub,
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where pictures and records go.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The address, with the port that was free if any would do.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A sink for the records.
    pub fn records(&self) -> Box<dyn RecordSink> {
        Box::new(WebRecords(Arc::clone(&self.hub)))
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives records to whoever listens.
struct WebRecords(Arc<Hub>);

impl RecordSink for WebRecords {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        self.0.metrics().count(record);
        let mut frame = record.clone();
        let events = std::mem::take(&mut frame.events);
        self.0.say(&Record::Frame(frame));
        for event in events {
            self.0.say(&Record::Event(event));
        }
        Ok(())
    }

    fn event(&mut self, event: &EventRecord) -> Result<(), SinkError> {
        self.0.metrics().count_event(event);
        self.0.say(&Record::Event(event.clone()));
        Ok(())
    }

    fn finish(&mut self, record: &EndRecord) -> Result<(), SinkError> {
        self.0.say(&Record::End(record.clone()));
        Ok(())
    }
}
