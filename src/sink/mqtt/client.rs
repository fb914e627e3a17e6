//! MQTT client with reconnection.
//!
//! Messages wait in a bounded queue; unacknowledged ones return to its front when the connection
//! breaks. Retained messages are published again on each new connection, as the broker may have lost
//! them. What the broker refuses is dropped (see [`Deliveries`]).

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS,
    StateError, Transport, mqttbytes,
};

use crate::sink::SinkError;
use url::Url;

use super::deliveries::{Deliveries, MAX_IN_FLIGHT};
use crate::sink::redacted_url::redacted_url;
use crate::sink::send_queue::SendQueue;

/// Largest packet that is received, and that is sent.
const MAX_PACKET_BYTES: (usize, usize) = (1 << 20, 16 << 20);
/// Most bytes of a packet beside its topic and payload: fixed header, lengths, packet id.
const PACKET_OVERHEAD: usize = 16;
/// MQTT keep-alive interval.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// First and longest delay before a reconnection.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long the end of a run waits for unsent messages.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Connection parameters.
#[derive(Clone)]
pub struct MqttParams {
    /// `mqtt://USER:PASSWORD@HOST:PORT`, or `mqtts://` for TLS.
    pub url: Url,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Prefix of every topic.
    pub topic: String,
    /// Client identifier; `None`: the topic with a random suffix.
    pub client_id: Option<String>,
    /// Capacity of the send queue.
    pub buffer: usize,
}

/// An MQTT message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttMessage {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Retain flag: the broker delivers it to later subscribers.
    pub retain: bool,
}

/// An MQTT client that runs on its own thread.
pub struct MqttClient {
    state: Arc<ClientState>,
    thread: Option<JoinHandle<()>>,
}

struct ClientState {
    name: String,
    topic: String,
    send_queue: SendQueue<MqttMessage>,
    /// Published first on each connection.
    retained: Mutex<Vec<MqttMessage>>,
}

impl ClientState {
    fn availability(&self, word: &str) -> MqttMessage {
        MqttMessage {
            topic: format!("{}/availability", self.topic),
            payload: word.into(),
            retain: true,
        }
    }

    fn retained(&self) -> MutexGuard<'_, Vec<MqttMessage>> {
        self.retained.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `message` not published again on the next connection.
    fn forget_retained(&self, message: &MqttMessage) {
        self.retained().retain(|known| known != message);
    }
}

impl MqttClient {
    /// Starts to connect to the broker, which need not be reachable yet.
    ///
    /// # Errors
    /// When the certificates are invalid, or a thread cannot be created.
    pub fn start(request: &MqttParams) -> Result<Self, SinkError> {
        let name = redacted_url(&request.url);
        let fault = |why: String| SinkError::Unrepresentable {
            target: name.clone(),
            why,
        };
        let shared = Arc::new(ClientState {
            name: name.clone(),
            topic: request.topic.clone(),
            send_queue: SendQueue::new(request.buffer),
            retained: Mutex::default(),
        });
        let options = options(request, &shared).map_err(fault)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| fault(e.to_string()))?;
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("4-mqtt-client".to_owned())
                .spawn(move || {
                    runtime.block_on(run_client(options, &shared));
                    runtime.shutdown_background();
                })
                .map_err(|e| fault(e.to_string()))?
        };
        Ok(Self {
            state: shared,
            thread: Some(thread),
        })
    }

    /// Prefix of every topic.
    pub fn topic(&self) -> &str {
        &self.state.topic
    }

    /// Queues a message.
    pub fn publish(&self, message: MqttMessage) {
        self.state.send_queue.push(message);
    }

    /// Has what is queued sent; the time for that begins now.
    pub fn close(&self) {
        self.state.send_queue.close();
    }

    /// Publishes a retained message now and again on each new connection.
    pub fn publish_retained(&self, message: MqttMessage) {
        let mut retained = self.state.retained();
        retained.retain(|known| known.topic != message.topic);
        retained.push(message.clone());
        drop(retained);
        self.publish(message);
    }
}

impl Drop for MqttClient {
    fn drop(&mut self) {
        self.state.send_queue.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn options(request: &MqttParams, shared: &ClientState) -> Result<MqttOptions, String> {
    let is_tls = request.url.scheme() == "mqtts";
    let host = request.url.host_str().unwrap_or_default();
    let port = request
        .url
        .port()
        .unwrap_or(if is_tls { 8883 } else { 1883 });
    let id = request.client_id.clone();
    let id = id.unwrap_or_else(|| random_client_id(&request.topic));
    let mut options = MqttOptions::new(id, host.trim_matches(['[', ']']), port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_inflight(MAX_IN_FLIGHT as u16);
    options.set_max_packet_size(MAX_PACKET_BYTES.0, MAX_PACKET_BYTES.1);
    let will = shared.availability("offline");
    options.set_last_will(LastWill::new(
        will.topic,
        will.payload,
        QoS::AtLeastOnce,
        true,
    ));
    let (user, password) = crate::capture::credentials_of(&request.url);
    if !user.is_empty() {
        options.set_credentials(user, password);
    }
    if is_tls {
        // Where another part of the program chose one before, that one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        options.set_transport(match &request.ca {
            Some(ca) => Transport::tls(ca.clone(), None, None),
            // rumqttc panics where the system has no certificates.
            None => std::panic::catch_unwind(Transport::tls_with_default_config)
                .map_err(|_| "the system has no certificates; give ca_file".to_owned())?,
        });
    }
    Ok(options)
}

/// A client identifier that no other client has: the broker disconnects an older client of the same one.
/// A process id would not do, since it is 1 in every container.
fn random_client_id(topic: &str) -> String {
    // Its keys are random.
    let random = RandomState::new().hash_one(topic) as u32;
    format!("{}-{random:08x}", topic.replace('/', "-"))
}

/// Why a connection ended.
struct ConnectionLoss {
    why: String,
    /// Whether the broker closed it, as opposed to a network that failed or a broker that is silent.
    is_closed_by_broker: bool,
}

impl From<ConnectionError> for ConnectionLoss {
    fn from(error: ConnectionError) -> Self {
        let is_closed_by_broker = match &error {
            ConnectionError::MqttState(StateError::ConnectionAborted) => true,
            ConnectionError::Io(io)
            | ConnectionError::MqttState(
                StateError::Io(io) | StateError::Deserialization(mqttbytes::Error::Io(io)),
            ) => matches!(
                io.kind(),
                ErrorKind::BrokenPipe
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::ConnectionReset
                    | ErrorKind::UnexpectedEof
            ),
            _ => false,
        };
        let text = error.to_string();
        Self {
            why: text.split_whitespace().collect::<Vec<_>>().join(" "),
            is_closed_by_broker,
        }
    }
}

/// Runs the client: reconnects until everything is sent.
async fn run_client(options: MqttOptions, shared: &ClientState) {
    let send_queue = &shared.send_queue;
    let mut pause = RETRY_DELAYS.0;
    let mut is_lost = false;
    let deliveries = Mutex::new(Deliveries::default());
    loop {
        let (client, mut events) = AsyncClient::new(options.clone(), MAX_IN_FLIGHT + 1);
        let ended = tokio::select! {
            ended = connection(&client, &mut events, shared, &deliveries, &mut is_lost, &mut pause) => ended,
            () = shutdown_timeout(shared) => Err(ConnectionLoss {
                why: "the broker does not answer".to_owned(),
                is_closed_by_broker: false,
            }),
        };
        let Err(loss) = ended else { return };
        let why = loss.why;
        let undelivered = lock(&deliveries).connection_ended(loss.is_closed_by_broker);
        send_queue.put_back(undelivered.again.into_iter());
        if let Some(message) = undelivered.refused {
            tracing::warn!(
                "{}: the broker closes the connection at a message of {} bytes on {}; it is dropped",
                shared.name,
                message.payload.len(),
                message.topic
            );
            shared.forget_retained(&message);
        }
        if send_queue.time_left(SHUTDOWN_TIMEOUT) == Some(Duration::ZERO) {
            let mut left = 0;
            while send_queue.take().is_some() {
                left += 1;
            }
            if left > 0 {
                tracing::warn!("{}: {left} messages could not be sent: {why}", shared.name);
            }
            return;
        }
        if !is_lost {
            is_lost = true;
            tracing::warn!("{}: {why}; trying again", shared.name);
        }
        // At the end of the run there is no time for a long pause.
        let is_closed = send_queue.is_closed();
        if is_closed {
            pause = RETRY_DELAYS.0;
        }
        let jitter = 0.5 + (RandomState::new().hash_one(0) % 1000) as f64 / 2000.0;
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
            () = closed(shared), if !is_closed => {}
        }
        pause = (pause * 2).min(RETRY_DELAYS.1);
    }
}

fn lock(deliveries: &Mutex<Deliveries>) -> MutexGuard<'_, Deliveries> {
    deliveries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Completes when the queue is closed.
async fn closed(shared: &ClientState) {
    while !shared.send_queue.is_closed() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Completes some time after the queue was closed.
async fn shutdown_timeout(shared: &ClientState) {
    closed(shared).await;
    let left = shared.send_queue.time_left(SHUTDOWN_TIMEOUT);
    tokio::time::sleep(left.unwrap_or_default()).await;
}

/// One connection. Returns `Ok` when the queue is closed and everything is acknowledged.
async fn connection(
    client: &AsyncClient,
    events: &mut EventLoop,
    shared: &ClientState,
    deliveries: &Mutex<Deliveries>,
    is_lost: &mut bool,
    pause: &mut Duration,
) -> Result<(), ConnectionLoss> {
    // The CONNACK comes first.
    events.poll().await?;
    tracing::info!("{}: connected", shared.name);
    *is_lost = false;
    if !lock(deliveries).is_suspicious() {
        *pause = RETRY_DELAYS.0;
    }
    let acknowledged = tokio::sync::Notify::new();
    let receiving = async {
        loop {
            match events.poll().await? {
                Event::Outgoing(Outgoing::Publish(id)) => lock(deliveries).written(id),
                Event::Incoming(Packet::PubAck(ack)) => {
                    lock(deliveries).acknowledged(ack.pkid);
                    acknowledged.notify_one();
                }
                Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
                _ => {}
            }
        }
    };
    let sending = async {
        let publish = |message: MqttMessage, is_republished| {
            if lock(deliveries).is_refused(&message) {
                return;
            }
            let bytes = message.topic.len() + message.payload.len();
            let MqttMessage {
                topic,
                payload,
                retain,
            } = message.clone();
            // The request channel holds all in-flight messages, so only an invalid topic is an error.
            let is_sent = bytes + PACKET_OVERHEAD <= MAX_PACKET_BYTES.1
                && (client.try_publish(topic, QoS::AtLeastOnce, retain, payload)).is_ok();
            if is_sent {
                lock(deliveries).push(message, is_republished);
            } else {
                tracing::warn!(
                    "{}: a message of {bytes} bytes on {} is not valid in MQTT; it is dropped",
                    shared.name,
                    message.topic
                );
                shared.forget_retained(&message);
            }
        };
        let mut retained: VecDeque<MqttMessage> = shared.retained().iter().cloned().collect();
        retained.push_front(shared.availability("online"));
        loop {
            let dropped = shared.send_queue.dropped();
            if dropped > 0 {
                tracing::warn!("{}: {dropped} messages were dropped", shared.name);
            }
            while lock(deliveries).has_room() {
                if let Some(message) = retained.pop_front() {
                    publish(message, true);
                } else if let Some(message) = shared.send_queue.take() {
                    publish(message, false);
                } else {
                    break;
                }
            }
            let is_sent = shared.send_queue.is_empty() && lock(deliveries).is_empty();
            if shared.send_queue.is_closed() && is_sent {
                break;
            }
            tokio::select! {
                () = shared.send_queue.changed() => {}
                () = acknowledged.notified() => {}
            }
        }
        publish(shared.availability("offline"), true);
        while !lock(deliveries).is_empty() {
            acknowledged.notified().await;
        }
        let _ = client.try_disconnect();
        // The receiving side sees the disconnect.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = receiving => ended,
        () = sending => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_an_identifier_of_its_own() {
        let ids: std::collections::BTreeSet<String> =
            (0..100).map(|_| random_client_id("home/cameras")).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.starts_with("home-cameras-")));
    }
}
