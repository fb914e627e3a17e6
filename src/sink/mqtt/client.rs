//! A connection to a broker that comes and goes.
//!
//! Messages wait in a bounded box, and leave it one by one; what the broker has not acknowledged when
//! the connection breaks goes back to the front of it. On each connection the greeting is said first:
//! what the broker should keep, and may have lost.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS, Transport,
};
use url::Url;

use crate::sink::SinkError;
use crate::sink::outbox::Outbox;

/// Messages on their way that are not acknowledged.
const WINDOW: usize = 16;
/// How long a connection may be silent.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The first pause before a broker is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long the end of a run waits for what is not sent yet.
const FAREWELL: Duration = Duration::from_secs(3);

/// Which broker, and what it keeps of us.
#[derive(Clone)]
pub struct MqttRequest {
    /// `mqtt://USER:PASSWORD@HOST:PORT`, or `mqtts://` for TLS.
    pub url: Url,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Begins every topic.
    pub topic: String,
    /// Messages that may wait.
    pub buffer: usize,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it belongs.
    pub topic: String,
    /// What it says.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it for those who come later.
    pub retain: bool,
}

/// A connection to a broker, kept up by a thread.
pub struct MqttClient {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    name: String,
    topic: String,
    outbox: Outbox<Message>,
    /// Said first on each connection.
    greeting: Mutex<Vec<Message>>,
}

impl Shared {
    fn availability(&self, word: &str) -> Message {
        Message {
            topic: format!("{}/availability", self.topic),
            payload: word.into(),
            retain: true,
        }
    }

    fn greeting(&self) -> MutexGuard<'_, Vec<Message>> {
        self.greeting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MqttClient {
    /// Begins to look for the broker, which need not be there yet.
    ///
    /// # Errors
    /// When the certificates are none, or the system has no thread to give.
    pub fn start(request: &MqttRequest) -> Result<Self, SinkError> {
        let name = broker_name(&request.url);
        let fault = |why: String| SinkError::Unrepresentable {
            target: name.clone(),
            why,
        };
        let shared = Arc::new(Shared {
            name: name.clone(),
            topic: request.topic.clone(),
            outbox: Outbox::new(request.buffer),
            greeting: Mutex::default(),
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
                    runtime.block_on(drive(options, &shared));
                    runtime.shutdown_background();
                })
                .map_err(|e| fault(e.to_string()))?
        };
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Begins every topic.
    pub fn topic(&self) -> &str {
        &self.shared.topic
    }

    /// Has a message sent.
    pub fn publish(&self, message: Message) {
        self.shared.outbox.push(message);
    }

    /// Has a message sent now, and first on each new connection.
    pub fn greet(&self, message: Message) {
        let mut greeting = self.shared.greeting();
        greeting.retain(|known| known.topic != message.topic);
        greeting.push(message.clone());
        drop(greeting);
        self.publish(message);
    }
}

impl Drop for MqttClient {
    fn drop(&mut self) {
        self.shared.outbox.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A broker's name without secrets.
pub fn broker_name(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{}", url.scheme(), port.unwrap_or_default())
}

fn options(request: &MqttRequest, shared: &Shared) -> Result<MqttOptions, String> {
    let is_tls = request.url.scheme() == "mqtts";
    let host = request.url.host_str().unwrap_or_default();
    let port = request
        .url
        .port()
        .unwrap_or(if is_tls { 8883 } else { 1883 });
    // Two of one name push each other out.
    let id = format!("{}-{}", request.topic.replace('/', "-"), std::process::id());
    let mut options = MqttOptions::new(id, host.trim_matches(['[', ']']), port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_inflight(WINDOW as u16);
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

/// What is on its way, with the packet ids that it got.
type OnTheWay = VecDeque<(Option<u16>, Message)>;

/// Keeps the connection up until all is said.
async fn drive(options: MqttOptions, shared: &Shared) {
    let mut pause = PAUSES.0;
    let mut is_lost = false;
    let mut ends_at = None;
    loop {
        let (client, mut events) = AsyncClient::new(options.clone(), WINDOW + 1);
        let on_the_way = Mutex::default();
        let why = tokio::select! {
            why = connection(&client, &mut events, shared, &on_the_way, &mut is_lost, &mut pause) => why,
            () = farewell(shared, &mut ends_at) => Err("the broker is not there".to_owned()),
        };
        let unsent: OnTheWay = on_the_way
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        shared
            .outbox
            .put_back(unsent.into_iter().map(|(_, message)| message));
        let Err(why) = why else { return };
        if shared.outbox.is_closed() && ends_at.is_some_and(|at| Instant::now() >= at) {
            let mut left = 0;
            while shared.outbox.take().is_some() {
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
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Passes some time after the outbox was closed.
async fn farewell(shared: &Shared, ends_at: &mut Option<Instant>) {
    while !shared.outbox.is_closed() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let at = *ends_at.get_or_insert_with(|| Instant::now() + FAREWELL);
    tokio::time::sleep(at.saturating_duration_since(Instant::now())).await;
}

/// One connection. Ends well when all was said and nothing more comes.
async fn connection(
    client: &AsyncClient,
    events: &mut EventLoop,
    shared: &Shared,
    on_the_way: &Mutex<OnTheWay>,
    is_lost: &mut bool,
    pause: &mut Duration,
) -> Result<(), String> {
    let error = |e: rumqttc::ConnectionError| {
        e.to_string()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    // The answer to the connection comes first.
    events.poll().await.map_err(error)?;
    tracing::info!("{}: connected", shared.name);
    (*is_lost, *pause) = (false, PAUSES.0);
    let lock = || on_the_way.lock().unwrap_or_else(PoisonError::into_inner);
    let acknowledged = tokio::sync::Notify::new();
    let listening = async {
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
    let speaking = async {
        let publish = |message: Message| {
            let Message {
                topic,
                payload,
                retain,
            } = message.clone();
            // There is room for a whole window.
            let _ = client.try_publish(topic, QoS::AtLeastOnce, retain, payload);
            lock().push_back((None, message));
        };
        let mut greeting: VecDeque<Message> = shared.greeting().iter().cloned().collect();
        greeting.push_front(shared.availability("online"));
        loop {
            let dropped = shared.outbox.dropped();
            if dropped > 0 {
                tracing::warn!("{}: {dropped} messages were dropped", shared.name);
            }
            while lock().len() < WINDOW {
                match greeting.pop_front().or_else(|| shared.outbox.take()) {
                    Some(message) => publish(message),
                    None => break,
                }
            }
            if shared.outbox.is_closed() && shared.outbox.is_empty() && lock().is_empty() {
                break;
            }
            tokio::select! {
                () = shared.outbox.changed() => {}
                () = acknowledged.notified() => {}
            }
        }
        publish(shared.availability("offline"));
        while !lock().is_empty() {
            acknowledged.notified().await;
        }
        let _ = client.try_disconnect();
        // The listener sees it go.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = listening => ended,
        () = speaking => Ok(()),
    }
}
