//! MQTT sink: records, stream states, Home Assistant discovery.
//!
//! | topic, below the pipeline's own | what |
//! |---|---|
//! | `availability` | `online` or `offline` (also as the last will), retained |
//! | `STREAM/source` | `online` or `lost`, retained |
//! | `STREAM/state` | `{"person":1,"vehicle":2,"motion":"ON"}` when it changes, retained |
//! | `STREAM/frame` | frame records: when what is seen changes, or all |
//! | `STREAM/event` | event records |
//!
//! Home Assistant MQTT discovery announces sensors for counts of persons and vehicles, and for motion
//! where the pipeline detects it.

mod client;
mod deliveries;
mod state;
mod topic;

pub use client::{MqttClient, MqttMessage, MqttParams};

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{RecordSink, SinkError};
use crate::records::{EndRecord, EventRecord, FrameRecord, Record};
use state::{StreamState, VisibleObjects};
use topic::topic_level;

/// Which frame records are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttFrames {
    /// Those whose visible objects differ from the last.
    Changes,
    /// All.
    All,
    /// None.
    None,
}

/// Publishes the records of one stream.
pub struct MqttSink {
    client: Arc<MqttClient>,
    /// The stream's name as a level of a topic.
    stream: String,
    frames: MqttFrames,
    state: StreamState,
    seen: Option<VisibleObjects>,
}

impl MqttSink {
    /// A sink for `stream`. With a `discovery` prefix it is announced to Home Assistant; `has_motion`:
    /// whether motion is detected.
    pub fn new(
        client: Arc<MqttClient>,
        stream: &str,
        frames: MqttFrames,
        discovery: Option<&str>,
        has_motion: bool,
    ) -> Self {
        if let Some(prefix) = discovery {
            for message in discovery_messages(prefix, client.topic(), stream, has_motion) {
                client.publish_retained(message);
            }
        }
        let sink = Self {
            client,
            stream: topic_level(stream),
            frames,
            state: StreamState::new(has_motion),
            seen: None,
        };
        sink.publish_retained("source", b"online".to_vec());
        sink
    }

    fn topic(&self, leaf: &str) -> String {
        format!("{}/{}/{leaf}", self.client.topic(), self.stream)
    }

    fn publish_record(&self, leaf: &str, record: &Record) {
        let payload = serde_json::to_vec(record).expect("records are plain data with string keys");
        self.client.publish(MqttMessage {
            topic: self.topic(leaf),
            payload,
            retain: false,
        });
    }

    fn publish_retained(&self, leaf: &str, payload: Vec<u8>) {
        self.client.publish_retained(MqttMessage {
            topic: self.topic(leaf),
            payload,
            retain: true,
        });
    }
}

impl RecordSink for MqttSink {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        if self.state.update(record) {
            self.publish_retained("state", self.state.to_json().to_string().into_bytes());
        }
        let seen = VisibleObjects::of(record);
        let is_published = match self.frames {
            MqttFrames::None => false,
            MqttFrames::All => true,
            // A frame without inference did not change.
            MqttFrames::Changes => seen.is_some() && seen != self.seen,
        };
        if is_published {
            let mut frame = record.clone();
            frame.events.clear();
            self.publish_record("frame", &Record::Frame(frame));
        }
        if seen.is_some() {
            self.seen = seen;
        }
        for event in &record.events {
            self.event(event)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &EventRecord) -> Result<(), SinkError> {
        if event.kind == "source" {
            let payload = if event.name == "lost" {
                "lost"
            } else {
                "online"
            };
            self.publish_retained("source", payload.into());
        }
        self.publish_record("event", &Record::Event(event.clone()));
        Ok(())
    }

    fn finish(&mut self, _: &EndRecord) -> Result<(), SinkError> {
        self.publish_retained("source", b"ended".to_vec());
        Ok(())
    }
}

/// Home Assistant MQTT discovery messages of a stream.
fn discovery_messages(
    prefix: &str,
    topic: &str,
    stream: &str,
    has_motion: bool,
) -> Vec<MqttMessage> {
    let level = topic_level(stream);
    // Names that differ in other than ASCII characters must not become the same identifier.
    let suffix = if level != stream || !stream.is_ascii() {
        let digest = Sha256::digest(stream);
        format!(
            "_{:02x}{:02x}{:02x}{:02x}",
            digest[0], digest[1], digest[2], digest[3]
        )
    } else {
        String::new()
    };
    let id = |what: &str| {
        let name = format!("{topic}_{stream}{suffix}_{what}");
        name.replace(
            |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-',
            "_",
        )
    };
    let entity = |component: &str, what: &str, name: &str, more: Value| {
        let mut config = json!({
            "name": name,
            "unique_id": id(what),
            "state_topic": format!("{topic}/{level}/state"),
            "value_template": format!("{{{{ value_json.{what} }}}}"),
            "availability": [
                { "topic": format!("{topic}/availability") },
                {
                    "topic": format!("{topic}/{level}/source"),
                    "payload_available": "online",
                    "payload_not_available": "lost",
                },
            ],
            "availability_mode": "all",
            "device": {
                "identifiers": [id("stream")],
                "name": stream,
                "manufacturer": "MobiLens",
                "sw_version": env!("CARGO_PKG_VERSION"),
            },
        });
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        MqttMessage {
            topic: format!("{prefix}/{component}/{}/config", id(what)),
            payload: config.to_string().into_bytes(),
            retain: true,
        }
    };
    let count = |what, name, icon: &str| {
        let more = json!({ "state_class": "measurement", "icon": icon });
        entity("sensor", what, name, more)
    };
    let mut messages = vec![
        count("person", "Persons", "mdi:account"),
        count("vehicle", "Vehicles", "mdi:car"),
    ];
    if has_motion {
        let more = json!({ "device_class": "motion" });
        messages.push(entity("binary_sensor", "motion", "Motion", more));
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_topics_and_payloads() {
        let messages = discovery_messages("homeassistant", "mobilens", "gate", true);
        let topics: Vec<&str> = messages.iter().map(|m| m.topic.as_str()).collect();
        assert_eq!(
            topics,
            [
                "homeassistant/sensor/mobilens_gate_person/config",
                "homeassistant/sensor/mobilens_gate_vehicle/config",
                "homeassistant/binary_sensor/mobilens_gate_motion/config",
            ]
        );
        assert!(messages.iter().all(|m| m.retain));
        let config: Value = serde_json::from_slice(&messages[2].payload).expect("JSON");
        assert_eq!(config["value_template"], "{{ value_json.motion }}");
        assert_eq!(config["state_topic"], "mobilens/gate/state");
        assert_eq!(config["device_class"], "motion");
    }

    #[test]
    fn streams_with_other_characters_keep_topics_and_identifiers_of_their_own() {
        let messages = |stream| discovery_messages("homeassistant", "mobilens", stream, false);
        let names = ["前门", "后门", "a+b", "a#b", "a/b", "a_b"];
        let topics = names.map(|stream| messages(stream)[0].topic.clone());
        let different: std::collections::BTreeSet<&String> = topics.iter().collect();
        assert_eq!(different.len(), names.len(), "{topics:?}");
        assert!(topics.iter().all(|topic| !topic.contains(['+', '#'])));
        let config: Value = serde_json::from_slice(&messages("a+b")[0].payload).expect("JSON");
        assert_eq!(config["state_topic"], "mobilens/a%2Bb/state");
        assert_eq!(config["device"]["name"], "a+b");
    }
}
