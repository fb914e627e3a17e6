//! Messages on their way to the broker, and those that it refuses.
//!
//! MQTT 3.1.1 has no negative acknowledgement: a broker that takes exception to a message (its topic is
//! not allowed, it is too large) closes the connection. After that, messages are sent one at a time
//! until the one that was the oldest without an acknowledgement has it; if the broker closes the
//! connection again and again at the same one, that message is given up. Where it is a whole topic that
//! the broker refuses, its messages are dropped for a while, or nothing else would get through.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::client::MqttMessage;

/// Most unacknowledged messages in flight.
pub const MAX_IN_FLIGHT: usize = 16;
/// Connections that the broker closes at a message before it is given up.
const MAX_CLOSED: u32 = 3;
/// Messages of one topic that are refused in a row before the topic is: of a retained one, which is a
/// state and is much like the one before, and of any other.
const MAX_REFUSED: (u32, u32) = (1, 2);
/// How long messages of a refused topic are dropped before the next is tried.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Messages that were handed to the connection and are not acknowledged.
#[derive(Debug, Default)]
pub struct Deliveries {
    in_flight: VecDeque<InFlight>,
    /// The message at which the broker closed the last connection.
    suspect: Option<MqttMessage>,
    /// How many connections it closed at that message.
    closed: u32,
    /// Topics of which the broker refused the last message that was sent.
    refused: BTreeMap<String, RefusedTopic>,
}

#[derive(Debug)]
struct RefusedTopic {
    in_a_row: u32,
    last_at: Instant,
}

#[derive(Debug)]
struct InFlight {
    /// Packet id, once it is written to the connection.
    id: Option<u16>,
    message: MqttMessage,
    /// Whether each connection publishes it anew.
    is_republished: bool,
}

/// What is to be done after a connection has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// To be sent by the next connection, oldest first.
    pub again: Vec<MqttMessage>,
    /// The broker refuses it.
    pub refused: Option<MqttMessage>,
}

impl Deliveries {
    /// Whether another message may be sent now.
    pub fn has_room(&self) -> bool {
        let limit = match self.suspect {
            Some(_) => 1,
            None => MAX_IN_FLIGHT,
        };
        self.in_flight.len() < limit
    }

    /// Whether `message` is to be dropped, as the broker refuses its topic.
    pub fn is_refused(&self, message: &MqttMessage) -> bool {
        let limit = if message.retain {
            MAX_REFUSED.0
        } else {
            MAX_REFUSED.1
        };
        let refused = self.refused.get(&message.topic);
        refused
            .is_some_and(|topic| topic.in_a_row >= limit && topic.last_at.elapsed() < REFUSED_FOR)
    }

    /// Whether everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether the last connection was closed at a message that may be refused.
    pub fn is_suspicious(&self) -> bool {
        self.suspect.is_some()
    }

    /// Whether `message` is the one at which the broker closed the last connection, or a newer state of it.
    fn is_suspect(&self, message: &MqttMessage) -> bool {
        self.suspect.as_ref().is_some_and(|suspect| {
            let is_newer = suspect.retain && message.retain && suspect.topic == message.topic;
            suspect == message || is_newer
        })
    }

    /// A message was handed to the connection.
    pub fn push(&mut self, message: MqttMessage, is_republished: bool) {
        self.in_flight.push_back(InFlight {
            id: None,
            message,
            is_republished,
        });
    }

    /// The oldest message without a packet id was written to the connection as packet `id`.
    pub fn written(&mut self, id: u16) {
        if let Some(sent) = self.in_flight.iter_mut().find(|sent| sent.id.is_none()) {
            sent.id = Some(id);
        }
    }

    /// The broker acknowledged packet `id`.
    pub fn acknowledged(&mut self, id: u16) {
        let found = self.in_flight.iter().position(|sent| sent.id == Some(id));
        let Some(sent) = found.and_then(|at| self.in_flight.remove(at)) else {
            return;
        };
        self.refused.remove(&sent.message.topic);
        if self.is_suspect(&sent.message) {
            self.suspect = None;
        }
    }

    /// The connection has ended.
    pub fn connection_ended(&mut self, is_closed_by_broker: bool) -> Undelivered {
        let mut in_flight = std::mem::take(&mut self.in_flight);
        let oldest = in_flight.front().filter(|sent| sent.id.is_some());
        let mut refused = None;
        if let Some(oldest) = oldest.filter(|_| is_closed_by_broker) {
            if self.is_suspect(&oldest.message) {
                self.closed += 1;
            } else {
                self.suspect = Some(oldest.message.clone());
                self.closed = 1;
            }
            if self.closed >= MAX_CLOSED {
                self.suspect = None;
                refused = in_flight.pop_front().map(|sent| sent.message);
            }
        }
        if let Some(message) = &refused {
            let topic = self.refused.entry(message.topic.clone());
            let topic = topic.or_insert_with(|| RefusedTopic {
                in_a_row: 0,
                last_at: Instant::now(),
            });
            topic.in_a_row += 1;
            topic.last_at = Instant::now();
        }
        let again = in_flight.into_iter().filter(|sent| !sent.is_republished);
        Undelivered {
            again: again.map(|sent| sent.message).collect(),
            refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str) -> MqttMessage {
        MqttMessage {
            topic: topic.to_owned(),
            payload: Vec::new(),
            retain: false,
        }
    }

    /// Plays `queue` to a broker that closes the connection at `refused`, or without acknowledging
    /// anything if `is_hasty`; returns what was given up and the number of connections.
    fn play(mut queue: VecDeque<&str>, refused: &[&str], is_hasty: bool) -> (Vec<String>, usize) {
        let mut deliveries = Deliveries::default();
        let (mut given_up, mut connections) = (Vec::new(), 0);
        while !queue.is_empty() {
            connections += 1;
            let mut id = 0;
            let is_closed = loop {
                let mut batch = Vec::new();
                while deliveries.has_room()
                    && let Some(topic) = queue.pop_front()
                {
                    id += 1;
                    deliveries.push(message(topic), false);
                    deliveries.written(id);
                    batch.push((topic, id));
                }
                if batch.is_empty() {
                    break false;
                }
                let accepted = batch
                    .iter()
                    .take_while(|(topic, _)| !refused.contains(topic));
                let accepted = accepted.map(|(_, id)| *id).collect::<Vec<_>>();
                let is_closed = accepted.len() < batch.len();
                if !(is_closed && is_hasty) {
                    accepted.iter().for_each(|id| deliveries.acknowledged(*id));
                }
                if is_closed {
                    break true;
                }
            };
            let undelivered = deliveries.connection_ended(is_closed);
            given_up.extend(undelivered.refused.map(|message| message.topic));
            for message in undelivered.again.iter().rev() {
                let known = ["a", "b", "c", "d"];
                let topic = known.iter().find(|topic| **topic == message.topic);
                queue.push_front(topic.expect("one of them"));
            }
        }
        assert!(deliveries.is_empty());
        (given_up, connections)
    }

    #[test]
    fn only_the_refused_are_given_up_after_three_connections() {
        for is_hasty in [false, true] {
            let queue = || VecDeque::from(["a", "b", "c", "d"]);
            assert_eq!(play(queue(), &[], is_hasty), (vec![], 1));
            let (given_up, connections) = play(queue(), &["c"], is_hasty);
            assert_eq!(given_up, ["c"]);
            assert!((4..=6).contains(&connections), "{connections}");
            assert_eq!(play(queue(), &["b", "c"], is_hasty).0, ["b", "c"]);
            assert_eq!(play(queue(), &["a", "b", "c", "d"], is_hasty).0.len(), 4);
        }
    }

    #[test]
    fn a_refused_topic_is_left_out_until_a_message_is_acknowledged() {
        let refuse = |deliveries: &mut Deliveries, message: &MqttMessage| {
            for closed in 1..=MAX_CLOSED {
                deliveries.push(message.clone(), false);
                deliveries.written(1);
                let refused = deliveries.connection_ended(true).refused;
                assert_eq!(refused.is_some(), closed == MAX_CLOSED);
            }
        };
        let mut deliveries = Deliveries::default();
        let mut state = message("state");
        state.retain = true;
        refuse(&mut deliveries, &state);
        assert!(deliveries.is_refused(&state));
        // One large record says nothing of the next.
        let frame = message("frame");
        refuse(&mut deliveries, &frame);
        assert!(!deliveries.is_refused(&frame));
        refuse(&mut deliveries, &frame);
        assert!(deliveries.is_refused(&frame));
        deliveries.push(frame.clone(), false);
        deliveries.written(2);
        deliveries.acknowledged(2);
        assert!(!deliveries.is_refused(&frame));
    }

    #[test]
    fn a_state_that_changes_between_connections_is_refused_like_one_that_does_not() {
        let mut deliveries = Deliveries::default();
        for closed in 1..=MAX_CLOSED {
            let mut state = message("state");
            state.retain = true;
            state.payload = vec![closed as u8];
            deliveries.push(state, true);
            deliveries.written(1);
            let refused = deliveries.connection_ended(true).refused;
            assert_eq!(refused.is_some(), closed == MAX_CLOSED);
        }
    }

    #[test]
    fn a_broker_that_is_lost_or_silent_refuses_nothing() {
        let mut deliveries = Deliveries::default();
        for _ in 0..10 {
            deliveries.push(message("online"), true);
            deliveries.push(message("a"), false);
            deliveries.written(1);
            let undelivered = deliveries.connection_ended(false);
            assert_eq!(undelivered.refused, None);
            assert_eq!(undelivered.again, [message("a")]);
        }
        // Closed before anything was written.
        for _ in 0..10 {
            deliveries.push(message("a"), false);
            assert_eq!(deliveries.connection_ended(true).refused, None);
        }
    }
}
