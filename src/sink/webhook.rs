//! Webhook sink: one POST per event, with retries.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ureq::Agent;
use url::Url;

use super::redacted_url::redacted_url;
use super::send_queue::SendQueue;
use super::{RecordSink, SinkError};
use crate::records::{EndRecord, EventRecord, FrameRecord, Record};

/// Time limit of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest delay before a retry.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long the end of a run waits for unsent events.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Parameters of a webhook.
#[derive(Clone)]
pub struct WebhookParams {
    /// The address.
    pub url: Url,
    /// Headers beside the content type.
    pub headers: Vec<(String, String)>,
    /// Events that may wait.
    pub buffer: usize,
    /// Attempts per event.
    pub attempts: u32,
}

/// Sends what it is given, on a thread of its own.
pub struct WebhookClient {
    send_queue: Arc<SendQueue<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl WebhookClient {
    /// Begins to wait for events.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(request: WebhookParams) -> Result<Self, SinkError> {
        let name = redacted_url(&request.url);
        let send_queue = Arc::new(SendQueue::new(request.buffer));
        let sender = Sender {
            agent: Agent::new_with_config(
                Agent::config_builder()
                    .timeout_global(Some(REQUEST_TIMEOUT))
                    .http_status_as_error(false)
                    .user_agent(concat!("mobilens/", env!("CARGO_PKG_VERSION")))
                    .build(),
            ),
            request,
            name: name.clone(),
            send_queue: Arc::clone(&send_queue),
        };
        let io = |e| SinkError::from_io(&name, e);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(io)?;
        let thread = std::thread::Builder::new()
            .name("4-webhook-post".to_owned())
            .spawn(move || sender.run(&runtime))
            .map_err(io)?;
        Ok(Self {
            send_queue,
            thread: Some(thread),
        })
    }
}

impl Drop for WebhookClient {
    fn drop(&mut self) {
        self.send_queue.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Result of one attempt.
enum Delivery {
    Accepted,
    /// Not retried.
    Rejected(String),
    Unavailable(String),
}

struct Sender {
    agent: Agent,
    request: WebhookParams,
    name: String,
    send_queue: Arc<SendQueue<Vec<u8>>>,
}

impl Sender {
    fn run(self, runtime: &tokio::runtime::Runtime) {
        let mut ends_at = None;
        loop {
            let Some(event) = self.send_queue.take() else {
                if self.send_queue.is_closed() {
                    return;
                }
                runtime.block_on(self.send_queue.changed());
                continue;
            };
            self.deliver(&event, &mut ends_at);
            let dropped = self.send_queue.dropped();
            if dropped > 0 {
                tracing::warn!("{}: {dropped} events were dropped", self.name);
            }
        }
    }

    fn deliver(&self, event: &[u8], ends_at: &mut Option<Instant>) {
        let mut pause = RETRY_DELAYS.0;
        for attempt in 1.. {
            let why = match self.post(event) {
                Delivery::Accepted => return,
                Delivery::Rejected(why) => {
                    tracing::warn!("{}: {why}; the event is dropped", self.name);
                    return;
                }
                Delivery::Unavailable(why) => why,
            };
            if self.send_queue.is_closed() {
                ends_at.get_or_insert_with(|| Instant::now() + SHUTDOWN_TIMEOUT);
            }
            let is_over = ends_at.is_some_and(|at| Instant::now() + pause >= at);
            if attempt >= self.request.attempts || is_over {
                tracing::warn!("{}: {why}; the event is dropped", self.name);
                return;
            }
            tracing::debug!("{}: {why}; trying again", self.name);
            let until = Instant::now() + pause;
            // Closing ends a long pause, not the tries.
            while Instant::now() < until && !(self.send_queue.is_closed() && ends_at.is_none()) {
                let slice = Duration::from_millis(100).min(until - Instant::now());
                std::thread::sleep(slice);
            }
            pause = (pause * 2).min(RETRY_DELAYS.1);
        }
    }

    fn post(&self, event: &[u8]) -> Delivery {
        let mut request = self
            .agent
            .post(self.request.url.as_str())
            .header("Content-Type", "application/json");
        for (name, value) in &self.request.headers {
            request = request.header(name, value);
        }
        match request.send(event) {
            Ok(answer) => match answer.status().as_u16() {
                200..=299 => Delivery::Accepted,
                status @ (408 | 425 | 429 | 500..) => {
                    Delivery::Unavailable(format!("HTTP status {status}"))
                }
                status => Delivery::Rejected(format!("HTTP status {status}")),
            },
            Err(ureq::Error::BadUri(why)) => Delivery::Rejected(why),
            Err(error) => Delivery::Unavailable(error.to_string()),
        }
    }
}

/// Posts the events of one stream.
pub struct WebhookSink {
    webhook: Arc<WebhookClient>,
    /// Event kinds to post; all if empty.
    kinds: Vec<String>,
}

impl WebhookSink {
    /// Posts events of `kinds`; all if empty.
    pub fn new(webhook: Arc<WebhookClient>, kinds: Vec<String>) -> Self {
        Self { webhook, kinds }
    }
}

impl RecordSink for WebhookSink {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        record.events.iter().try_for_each(|event| self.event(event))
    }

    fn event(&mut self, event: &EventRecord) -> Result<(), SinkError> {
        if self.kinds.is_empty() || self.kinds.contains(&event.kind) {
            let body = serde_json::to_vec(&Record::Event(event.clone()));
            let body = body.expect("records are plain data with string keys");
            self.webhook.send_queue.push(body);
        }
        Ok(())
    }

    fn finish(&mut self, _: &EndRecord) -> Result<(), SinkError> {
        Ok(())
    }
}
