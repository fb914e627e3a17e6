//! Webhook sink: one POST per event, with retries.
//!
//! Redirects are not followed: the headers may be secrets, which no other server may see, and the body
//! would be lost where a redirect turns the POST into a GET.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
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
/// How long the end of a run waits for unsent events, all in all.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

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
    state: Arc<ClientState>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

struct ClientState {
    name: String,
    send_queue: SendQueue<Vec<u8>>,
    /// Whether the thread has an event in hand that is neither delivered nor given up.
    is_sending: AtomicBool,
    /// Why the last attempt failed.
    last_error: Mutex<Option<String>>,
}

impl WebhookClient {
    /// Begins to wait for events.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(request: WebhookParams) -> Result<Self, SinkError> {
        let name = redacted_url(&request.url);
        let state = Arc::new(ClientState {
            name: name.clone(),
            send_queue: SendQueue::new(request.buffer),
            is_sending: AtomicBool::new(false),
            last_error: Mutex::default(),
        });
        let sender = Sender {
            agent: Agent::new_with_config(
                Agent::config_builder()
                    .http_status_as_error(false)
                    .max_redirects(0)
                    .user_agent(concat!("mobilens/", env!("CARGO_PKG_VERSION")))
                    .build(),
            ),
            request,
            state: Arc::clone(&state),
        };
        let io = |e| SinkError::from_io(&name, e);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(io)?;
        let (is_running, ended) = bounded(0);
        std::thread::Builder::new()
            .name("4-webhook-post".to_owned())
            .spawn(move || {
                sender.run(&runtime);
                drop(is_running);
            })
            .map_err(io)?;
        Ok(Self { state, ended })
    }

    /// Has what is queued sent; the time for that begins now.
    pub fn close(&self) {
        self.state.send_queue.close();
    }
}

impl Drop for WebhookClient {
    fn drop(&mut self) {
        let state = &self.state;
        state.send_queue.close();
        let left = state.send_queue.time_left(SHUTDOWN_TIMEOUT);
        // A request that hangs ends with its own time limit; nobody waits for that.
        let _ = self.ended.recv_timeout(left.unwrap_or_default());
        let mut unsent = u64::from(state.is_sending.load(Ordering::Acquire));
        while state.send_queue.take().is_some() {
            unsent += 1;
        }
        if unsent > 0 {
            let why = state.last_error().take();
            let why = why.unwrap_or_else(|| "no answer".to_owned());
            tracing::warn!("{}: {unsent} events could not be sent: {why}", state.name);
        }
    }
}

impl ClientState {
    fn last_error(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
    state: Arc<ClientState>,
}

impl Sender {
    fn run(self, runtime: &tokio::runtime::Runtime) {
        let ClientState {
            name,
            send_queue,
            is_sending,
            ..
        } = &*self.state;
        loop {
            is_sending.store(true, Ordering::Release);
            let Some(event) = send_queue.take() else {
                is_sending.store(false, Ordering::Release);
                if send_queue.is_closed() {
                    return;
                }
                runtime.block_on(send_queue.changed());
                continue;
            };
            if !self.deliver(&event) {
                // Whoever waits for the end counts it, and what is still queued.
                return;
            }
            let dropped = send_queue.dropped();
            if dropped > 0 {
                tracing::warn!("{name}: {dropped} events were dropped");
            }
        }
    }

    /// Delivers an event, or gives it up after all attempts; `false` if the end of the run leaves no
    /// time for another one.
    fn deliver(&self, event: &[u8]) -> bool {
        let ClientState {
            name, send_queue, ..
        } = &*self.state;
        let mut pause = RETRY_DELAYS.0;
        let mut is_ending = send_queue.is_closed();
        for attempt in 1.. {
            let time_left = send_queue.time_left(SHUTDOWN_TIMEOUT);
            let timeout = time_left.map_or(REQUEST_TIMEOUT, |left| left.min(REQUEST_TIMEOUT));
            if timeout.is_zero() {
                return false;
            }
            let why = match self.post(event, timeout) {
                Delivery::Accepted => {
                    *self.state.last_error() = None;
                    return true;
                }
                Delivery::Rejected(why) => {
                    tracing::warn!("{name}: {why}; the event is dropped");
                    return true;
                }
                Delivery::Unavailable(why) => why,
            };
            *self.state.last_error() = Some(why.clone());
            if attempt >= self.request.attempts {
                tracing::warn!("{name}: {why}; the event is dropped");
                return true;
            }
            if !is_ending && send_queue.is_closed() {
                (is_ending, pause) = (true, RETRY_DELAYS.0);
            }
            let time_left = send_queue.time_left(SHUTDOWN_TIMEOUT);
            if time_left.is_some_and(|left| left <= pause) {
                return false;
            }
            tracing::debug!("{name}: {why}; trying again");
            let until = Instant::now() + pause;
            // Closing ends a long pause, not the attempts.
            while Instant::now() < until && (is_ending || !send_queue.is_closed()) {
                let slice = Duration::from_millis(100).min(until - Instant::now());
                std::thread::sleep(slice);
            }
            pause = (pause * 2).min(RETRY_DELAYS.1);
        }
        true
    }

    fn post(&self, event: &[u8], timeout: Duration) -> Delivery {
        let mut request = self
            .agent
            .post(self.request.url.as_str())
            .config()
            .timeout_global(Some(timeout))
            .build()
            .header("Content-Type", "application/json");
        for (name, value) in &self.request.headers {
            request = request.header(name, value);
        }
        match request.send(event) {
            Ok(answer) => match answer.status().as_u16() {
                200..=299 => Delivery::Accepted,
                status @ 300..=399 => {
                    let location = answer.headers().get("Location");
                    let location = location.and_then(|value| value.to_str().ok());
                    Delivery::Rejected(redirect_message(&self.request.url, status, location))
                }
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

/// What is wrong where a server redirects to `location`, of which only the server is named: the rest
/// may hold a secret.
fn redirect_message(url: &Url, status: u16, location: Option<&str>) -> String {
    let target = location.and_then(|location| url.join(location).ok());
    let target = target.map(|target| format!(" to {}", redacted_url(&target)));
    let target = target.unwrap_or_default();
    format!(
        "HTTP status {status}, a redirect{target}; redirects are not followed: set `url` to the final address"
    )
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
            self.webhook.state.send_queue.push(body);
        }
        Ok(())
    }

    fn finish(&mut self, _: &EndRecord) -> Result<(), SinkError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_the_server_and_no_secret() {
        let url = Url::parse("https://user:key@host.example/hook").expect("a URL");
        for (location, expected) in [
            (
                Some("http://a:b@other.example:81/x?token=c"),
                " to http://other.example:81;",
            ),
            (Some("/elsewhere?token=c"), " to https://host.example;"),
            (None, "a redirect;"),
        ] {
            let message = redirect_message(&url, 307, location);
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("token"), "{message}");
        }
    }
}
