//! MQTT client with reconnection.
//!
//! Messages wait in a bounded queue; unacknowledged ones return to its front when the connection
//! breaks. Retained messages are published again on each new connection, as the broker may have lost
//! them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS, Transport,
};

use crate::sink::SinkError;
use url::Url;

use crate::sink::redacted_url::redacted_url;
use crate::sink::send_queue::SendQueue;

/// Most unacknowledged messages in flight.
const MAX_IN_FLIGHT: usize = 16;
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
    // The broker disconnects an older client of the same id.
    let id = format!("{}-{}", request.topic.replace('/', "-"), std::process::id());
    let mut options = MqttOptions::new(id, host.trim_matches(['[', ']']), port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_inflight(MAX_IN_FLIGHT as u16);
    options.set_max_packet_size(1 << 20, 16 << 20);
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

/// Unacknowledged messages with their packet ids.
type InFlight = VecDeque<(Option<u16>, MqttMessage)>;

/// Runs the client: reconnects until everything is sent.
async fn run_client(options: MqttOptions, shared: &ClientState) {
    let mut pause = RETRY_DELAYS.0;
    let mut is_lost = false;
    let mut ends_at = None;
    loop {
        let (client, mut events) = AsyncClient::new(options.clone(), MAX_IN_FLIGHT + 1);
        let in_flight = Mutex::default();
        let why = tokio::select! {
            why = connection(&client, &mut events, shared, &in_flight, &mut is_lost, &mut pause) => why,
            () = shutdown_timeout(shared, &mut ends_at) => Err("the broker is unreachable".to_owned()),
        };
        let unsent: InFlight = in_flight
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        shared
            .send_queue
            .put_back(unsent.into_iter().map(|(_, message)| message));
        let Err(why) = why else { return };
        if shared.send_queue.is_closed() && ends_at.is_some_and(|at| Instant::now() >= at) {
            let mut left = 0;
            while shared.send_queue.take().is_some() {
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
        let jitter = 0.5 + f64::from(Instant::now().elapsed().subsec_nanos() % 1000) / 2000.0;
        tokio::time::sleep(pause.mul_f64(jitter)).await;
        pause = (pause * 2).min(RETRY_DELAYS.1);
    }
}

/// Completes some time after the queue was closed.
async fn shutdown_timeout(shared: &ClientState, ends_at: &mut Option<Instant>) {
    while !shared.send_queue.is_closed() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let at = *ends_at.get_or_insert_with(|| Instant::now() + SHUTDOWN_TIMEOUT);
    tokio::time::sleep(at.saturating_duration_since(Instant::now())).await;
}

/// One connection. Returns `Ok` when the queue is closed and everything is acknowledged.
async fn connection(
    client: &AsyncClient,
    events: &mut EventLoop,
    shared: &ClientState,
    in_flight: &Mutex<InFlight>,
    is_lost: &mut bool,
    pause: &mut Duration,
) -> Result<(), String> {
    let error = |e: rumqttc::ConnectionError| {
        e.to_string()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    // The CONNACK comes first.
    events.poll().await.map_err(error)?;
    tracing::info!("{}: connected", shared.name);
    (*is_lost, *pause) = (false, RETRY_DELAYS.0);
    let lock = || in_flight.lock().unwrap_or_else(PoisonError::into_inner);
    let acknowledged = tokio::sync::Notify::new();
    let receiving = async {
        loop {
            match events.poll().await.map_err(error)? {
                Event::Outgoing(Outgoing::Publish(id)) => {
                    if let Some(sent) = lock().iter_mut().find(|(known, _)| known.is_none()) {
                        sent.0 = Some(id);
                    }
                }
                Event::Incoming(Packet::PubAck(ack)) => {
                    lock().retain(|(id, _)| *id != Some(ack.pkid));
                    acknowledged.notify_one();
                }
                Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
                _ => {}
            }
        }
    };
    let sending = async {
        let publish = |message: MqttMessage| {
            let MqttMessage {
                topic,
                payload,
                retain,
            } = message.clone();
            // The request channel holds all in-flight messages.
            let _ = client.try_publish(topic, QoS::AtLeastOnce, retain, payload);
            lock().push_back((None, message));
        };
        let mut retained: VecDeque<MqttMessage> = shared.retained().iter().cloned().collect();
        retained.push_front(shared.availability("online"));
        loop {
            let dropped = shared.send_queue.dropped();
            if dropped > 0 {
                tracing::warn!("{}: {dropped} messages were dropped", shared.name);
            }
            while lock().len() < MAX_IN_FLIGHT {
                match retained.pop_front().or_else(|| shared.send_queue.take()) {
                    Some(message) => publish(message),
                    None => break,
                }
            }
            if shared.send_queue.is_closed() && shared.send_queue.is_empty() && lock().is_empty() {
                break;
            }
            tokio::select! {
                () = shared.send_queue.changed() => {}
                () = acknowledged.notified() => {}
            }
        }
        publish(shared.availability("offline"));
        while !lock().is_empty() {
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
