//! Sinks that listen or connect: web page, MQTT, webhook.

use std::net::SocketAddr;

use super::validator::Validator;
use crate::config::document::key_path;
use crate::config::environment::{expand_env, server_url};

impl Validator<'_> {
    /// Web pages: address and token.
    pub fn validate_web(&mut self) {
        for (i, sink) in self.config.sinks.iter().enumerate() {
            let Some(web) = &sink.web else { continue };
            let at = key_path!["web", "bind"];
            match web.bind.parse::<SocketAddr>() {
                Err(_) => {
                    let message = format!(
                        "expected an address and port like 127.0.0.1:8080; got {:?}",
                        web.bind
                    );
                    self.error_at_sink(i, &at, message);
                }
                Ok(address) if !address.ip().is_loopback() && web.token.is_none() => {
                    let message = "an address that is not loopback needs a token";
                    self.error_at_sink(i, &at, message);
                }
                Ok(_) => {}
            }
            if let Some(Err(message)) = web.token.as_deref().map(expand_env) {
                self.error_at_sink(i, &key_path!["web", "token"], message);
            }
        }
    }

    /// MQTT brokers and webhooks: URLs, environment variables and files.
    pub fn validate_servers(&mut self) {
        for (i, sink) in self.config.sinks.iter().enumerate() {
            if let Some(mqtt) = &sink.mqtt {
                if let Err(message) = server_url(&mqtt.url, &["mqtt", "mqtts"]) {
                    self.error_at_sink(i, &key_path!["mqtt", "url"], message);
                }
                if let Some(file) = mqtt.ca_file.as_ref().filter(|file| !file.is_file()) {
                    let message = format!("cannot read {}", file.display());
                    self.error_at_sink(i, &key_path!["mqtt", "ca_file"], message);
                }
            }
            let Some(webhook) = &sink.webhook else {
                continue;
            };
            if let Err(message) = server_url(&webhook.url, &["http", "https"]) {
                self.error_at_sink(i, &key_path!["webhook", "url"], message);
            }
            for (name, value) in &webhook.headers {
                if let Err(message) = expand_env(value) {
                    self.error_at_sink(i, &key_path!["webhook", "headers", name], message);
                }
            }
        }
    }
}
