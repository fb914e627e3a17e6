//! Events for a web server: one POST each, tried again while the server is away.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ureq::Agent;
use url::Url;

use super::mqtt::broker_name;
use super::outbox::Outbox;
use super::{RecordSink, SinkError};
use crate::records::{EndRecord, EventRecord, FrameRecord, Record};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause before a server is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long the end of a run waits for what is not sent yet.
const FAREWELL: Duration = Duration::from_secs(3);

/// Where events go.
#[derive(Clone)]
pub struct WebhookRequest {
    /// The address.
    pub url: Url,
    /// Headers beside the content type.
    pub headers: Vec<(String, String)>,
    /// Events that may wait.
    pub buffer: usize,
    /// How often an event is tried.
    pub attempts: u32,
}

/// Sends what it is given, on a thread of its own.
pub struct Webhook {
    outbox: Arc<Outbox<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Webhook {
    /// Begins to wait for events.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(request: WebhookRequest) -> Result<Self, SinkError> {
        let name = broker_name(&request.url);
        let outbox = Arc::new(Outbox::new(request.buffer));
        let sender = Sender {
            agent: Agent::new_with_config(
                Agent::config_builder()
                    .timeout_global(Some(PATIENCE))
                    .http_status_as_error(false)
                    .user_agent(concat!("mobilens/", env!("CARGO_PKG_VERSION")))
                    .build(),
            ),
            request,
            name: name.clone(),
            outbox: Arc::clone(&outbox),
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
            outbox,
            thread: Some(thread),
        })
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.outbox.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What became of one try.
enum Answer {
    Taken,
    /// It makes no sense to try that again.
    Refused(String),
    Away(String),
}

struct Sender {
    agent: Agent,
    request: WebhookRequest,
    name: String,
    outbox: Arc<Outbox<Vec<u8>>>,
}

impl Sender {
    fn run(self, runtime: &tokio::runtime::Runtime) {
        let mut ends_at = None;
        loop {
            let Some(event) = self.outbox.take() else {
                if self.outbox.is_closed() {
                    return;
                }
                runtime.block_on(self.outbox.changed());
                continue;
            };
            self.deliver(&event, &mut ends_at);
            let dropped = self.outbox.dropped();
            if dropped > 0 {
                tracing::warn!("{}: {dropped} events were dropped", self.name);
            }
        }
    }

    fn deliver(&self, event: &[u8], ends_at: &mut Option<Instant>) {
        let mut pause = PAUSES.0;
        for attempt in 1.. {
            let why = match self.post(event) {
                Answer::Taken => return,
                Answer::Refused(why) => {
                    tracing::warn!("{}: {why}; the event is dropped", self.name);
                    return;
                }
                Answer::Away(why) => why,
            };
            if self.outbox.is_closed() {
                ends_at.get_or_insert_with(|| Instant::now() + FAREWELL);
            }
            let is_over = ends_at.is_some_and(|at| Instant::now() + pause >= at);
            if attempt >= self.request.attempts || is_over {
                tracing::warn!("{}: {why}; the event is dropped", self.name);
                return;
            }
            tracing::debug!("{}: {why}; trying again", self.name);
            let until = Instant::now() + pause;
            // Closing ends a long pause, not the tries.
            while Instant::now() < until && !(self.outbox.is_closed() && ends_at.is_none()) {
                let slice = Duration::from_millis(100).min(until - Instant::now());
                std::thread::sleep(slice);
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn post(&self, event: &[u8]) -> Answer {
        let mut request = self
            .agent
            .post(self.request.url.as_str())
            .header("Content-Type", "application/json");
        for (name, value) in &self.request.headers {
            request = request.header(name, value);
        }
        match request.send(event) {
            Ok(answer) => match answer.status().as_u16() {
                200..=299 => Answer::Taken,
                status @ (408 | 425 | 429 | 500..) => Answer::Away(format!("it answers {status}")),
                status => Answer::Refused(format!("it answers {status}")),
            },
            Err(ureq::Error::BadUri(why)) => Answer::Refused(why),
            Err(error) => Answer::Away(error.to_string()),
        }
    }
}

/// Tells a web server of one stream's events.
pub struct WebhookSink {
    webhook: Arc<Webhook>,
    /// The kinds that are told; all if there are none.
    kinds: Vec<String>,
}

impl WebhookSink {
    /// Tells of events of `kinds`, of all if none are named.
    pub fn new(webhook: Arc<Webhook>, kinds: Vec<String>) -> Self {
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
            self.webhook.outbox.push(body);
        }
        Ok(())
    }

    fn finish(&mut self, _: &EndRecord) -> Result<(), SinkError> {
        Ok(())
    }
}
