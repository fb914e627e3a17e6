//! Sinks that talk over the network: web page, MQTT, webhook.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::schema::default_of::count;

/// A web page with the live picture and events; records, metrics and snapshots for other programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Address and port to listen on.
    pub bind: String,
    /// Access token of at least 8 characters; required for addresses other than loopback. `${NAME}` is
    /// replaced by that environment variable. Default: no token.
    #[schemars(
        regex(pattern = r"^.{8,}$|\$\{[A-Za-z0-9_]+\}"),
        extend("x-expected" = "a string of at least 8 characters")
    )]
    pub token: Option<String>,
    /// Host names, without port, by which browsers and programs address the page; those that need no
    /// entry are IP addresses, `localhost`, and this machine's own name, also with `.local`. `*` allows
    /// any name.
    pub hosts: Vec<String>,
    /// Most video and record streams that are open at the same time.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_watchers: u32,
    /// Most connections that are open at the same time; at most half of the limit of open files.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_connections: u32,
    /// Most connections from one IPv4 address or IPv6 /64 network, such as a reverse proxy's.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_connections_per_address: u32,
    /// JPEG quality.
    #[schemars(range(min = 1, max = 100))]
    pub quality: u8,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:8080".to_owned(),
            token: None,
            hosts: Vec::new(),
            max_watchers: 64,
            max_connections: 512,
            max_connections_per_address: 256,
            quality: 80,
        }
    }
}

/// Events, states and frames as messages to an MQTT broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// `mqtt://USER:PASSWORD@HOST:1883`, or `mqtts://` for TLS; `${NAME}` is replaced by that
    /// environment variable.
    #[schemars(length(min = 1), extend("x-expected" = "a URL"))]
    pub url: String,
    /// Prefix of every topic.
    #[serde(default = "mqtt_topic")]
    #[schemars(
        regex(pattern = "^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$"),
        extend("x-expected" = "a topic of letters, digits, \"_\", \".\", \"-\" and \"/\"")
    )]
    pub topic: String,
    /// Client identifier, which must be the broker's only one; `${NAME}` is replaced by that
    /// environment variable. Default: the topic with a random suffix.
    #[schemars(
        regex(pattern = "^[!-~]{1,256}$"),
        extend("x-expected" = "a client identifier of ASCII characters without spaces")
    )]
    pub client_id: Option<String>,
    /// Which frames are published.
    #[serde(default)]
    pub frames: MqttFramesConfig,
    /// Discovery prefix of Home Assistant; empty: no discovery.
    #[serde(default = "mqtt_discovery")]
    #[schemars(
        regex(pattern = "^[^+#]*$"),
        extend("x-expected" = "a topic without \"+\" and \"#\"")
    )]
    pub discovery: String,
    /// Messages that are queued while the broker is not connected; beyond, the oldest are dropped.
    #[serde(default = "count::<1000>")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub buffer: u32,
    /// CA certificates (PEM), relative to this YAML file. Default: the system's.
    #[schemars(length(min = 1), extend("x-expected" = "a path"))]
    pub ca_file: Option<PathBuf>,
}

fn mqtt_topic() -> String {
    "mobilens".to_owned()
}

fn mqtt_discovery() -> String {
    "homeassistant".to_owned()
}

/// Which frames are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MqttFramesConfig {
    /// Frames whose objects differ from those of the frame before.
    #[default]
    Changes,
    /// All frames.
    All,
    /// No frames.
    None,
}

/// Events as HTTP POST requests, one each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// URL; `${NAME}` is replaced by that environment variable.
    #[schemars(length(min = 1), extend("x-expected" = "a URL"))]
    pub url: String,
    /// Request headers, such as `Authorization`; `${NAME}` is replaced by that environment variable.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Kinds of events to send: `zone`, `line`, `loiter`, `source`, ...; empty: all.
    #[serde(default)]
    pub events: Vec<String>,
    /// Events that are queued while the server is not reachable; beyond, the oldest are dropped.
    #[serde(default = "count::<100>")]
    #[schemars(range(min = 1, max = 100_000))]
    pub buffer: u32,
    /// Attempts before an event is dropped; 8 take about a minute and a half.
    #[serde(default = "count::<8>")]
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
}
