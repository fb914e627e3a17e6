//! Records and states for other programs, through an MQTT broker.
//!
//! | topic, below the pipeline's own | what |
//! |---|---|
//! | `availability` | `online` or `offline` (also as the last will), kept |
//! | `STREAM/source` | `online` or `lost`, kept |
//! | `STREAM/state` | `{"person":1,"vehicle":2,"motion":"ON"}` when it changes, kept |
//! | `STREAM/frame` | frame records: when what is seen changes, or all |
//! | `STREAM/event` | event records |
//!
//! Home Assistant finds the streams by itself (MQTT discovery): counts of persons and vehicles, and
//! motion where the pipeline compares pictures.

mod client;
mod state;

pub use client::{Message, MqttClient, MqttRequest, broker_name};

use std::sync::Arc;

use serde_json::{Value, json};

use super::{RecordSink, SinkError};
use crate::records::{EndRecord, EventRecord, FrameRecord, Record};
use state::{Seen, State};

/// Which frames are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttFrames {
    /// Those in which something else is seen than before.
    Changes,
    /// All.
    All,
    /// None.
    None,
}

/// Tells a broker of one stream.
pub struct MqttSink {
    client: Arc<MqttClient>,
    stream: String,
    frames: MqttFrames,
    state: State,
    seen: Option<Seen>,
}

impl MqttSink {
    /// For `stream`. With a `discovery` prefix Home Assistant is told of it; `has_motion` says whether
    /// pictures are compared.
    pub fn new(
        client: Arc<MqttClient>,
        stream: &str,
        frames: MqttFrames,
        discovery: Option<&str>,
        has_motion: bool,
    ) -> Self {
        if let Some(prefix) = discovery {
            for message in discovery_messages(prefix, client.topic(), stream, has_motion) {
                client.greet(message);
            }
        }
        let sink = Self {
            client,
            stream: stream.to_owned(),
            frames,
            state: State::new(has_motion),
            seen: None,
        };
        sink.keep("source", b"online".to_vec());
        sink
    }

    fn topic(&self, leaf: &str) -> String {
        format!("{}/{}/{leaf}", self.client.topic(), self.stream)
    }

    fn say(&self, leaf: &str, record: &Record) {
        let payload = serde_json::to_vec(record).expect("records are plain data with string keys");
        self.client.publish(Message {
            topic: self.topic(leaf),
            payload,
            retain: false,
        });
    }

    fn keep(&self, leaf: &str, payload: Vec<u8>) {
        self.client.greet(Message {
            topic: self.topic(leaf),
            payload,
            retain: true,
        });
    }
}

impl RecordSink for MqttSink {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        if self.state.update(record) {
            self.keep("state", self.state.to_json().to_string().into_bytes());
        }
        let seen = Seen::of(record);
        let is_told = match self.frames {
            MqttFrames::None => false,
            MqttFrames::All => true,
            // What nobody looked at did not change.
            MqttFrames::Changes => seen.is_some() && seen != self.seen,
        };
        if is_told {
            let mut frame = record.clone();
            frame.events.clear();
            self.say("frame", &Record::Frame(frame));
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
            let word = if event.name == "lost" {
                "lost"
            } else {
                "online"
            };
            self.keep("source", word.into());
        }
        self.say("event", &Record::Event(event.clone()));
        Ok(())
    }

    fn finish(&mut self, _: &EndRecord) -> Result<(), SinkError> {
        self.keep("source", b"ended".to_vec());
        Ok(())
    }
}

/// What makes Home Assistant show a stream (its MQTT integration, "MQTT discovery").
fn discovery_messages(prefix: &str, topic: &str, stream: &str, has_motion: bool) -> Vec<Message> {
    let id = |what: &str| {
        let name = format!("{topic}_{stream}_{what}");
        name.replace(
            |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-',
            "_",
        )
    };
    let entity = |component: &str, what: &str, name: &str, more: Value| {
        let mut config = json!({
            "name": name,
            "unique_id": id(what),
            "state_topic": format!("{topic}/{stream}/state"),
            "value_template": format!("{{{{ value_json.{what} }}}}"),
            "availability": [
                { "topic": format!("{topic}/availability") },
                {
                    "topic": format!("{topic}/{stream}/source"),
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
        Message {
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
    fn home_assistant_is_told_where_to_look() {
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
}
