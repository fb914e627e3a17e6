//! Sinks that listen or connect: web page, MQTT, webhook.

use std::net::SocketAddr;

use super::validator::Validator;
use crate::config::document::key_path;
use crate::config::environment::{expand_env, server_url};
use crate::config::schema::MqttConfig;

/// What is wrong where two sinks are one client to the broker.
pub(super) const SAME_CLIENT: &str = "another sink already uses this client identifier; the broker would disconnect one for the other";

/// The broker's URL and the client identifier of a sink that has one, or what is wrong with it.
pub(super) fn mqtt_client(mqtt: &MqttConfig) -> Option<Result<(&str, String), String>> {
    let client_id = match expand_env(mqtt.client_id.as_ref()?) {
        Ok(client_id) if client_id.is_empty() => Err("the client identifier is empty".to_owned()),
        other => other,
    };
    Some(client_id.map(|client_id| (mqtt.url.as_str(), client_id)))
}

/// Shortest token of a web page.
const MIN_TOKEN_LENGTH: usize = 8;

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
            let token = web.token.as_deref().map(expand_env);
            if let Some(Err(message)) = token.map(|token| token.and_then(check_token)) {
                self.error_at_sink(i, &key_path!["web", "token"], message);
            }
            for (n, host) in web.hosts.iter().enumerate() {
                if !is_host_name(host) {
                    let message =
                        format!("expected a host name without port, or \"*\"; got {host:?}");
                    self.error_at_sink(i, &key_path!["web", "hosts", n], message);
                }
            }
            if web.token.is_none() && web.hosts.iter().any(|host| host == "*") {
                let message = "any host needs a token: without one, name the hosts";
                self.error_at_sink(i, &key_path!["web", "hosts"], message);
            }
        }
    }

    /// MQTT brokers and webhooks: URLs, environment variables and files.
    pub fn validate_servers(&mut self) {
        let mut clients = Vec::new();
        for (i, sink) in self.config.sinks.iter().enumerate() {
            if let Some(mqtt) = &sink.mqtt {
                if let Some(Err(message)) = mqtt_client(mqtt) {
                    self.error_at_sink(i, &key_path!["mqtt", "client_id"], message);
                } else if let Some(Ok(client)) = mqtt_client(mqtt) {
                    if clients.contains(&client) {
                        self.error_at_sink(i, &key_path!["mqtt", "client_id"], SAME_CLIENT);
                    }
                    clients.push(client);
                }
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

fn is_host_name(host: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    host == "*" || !host.is_empty() && host.chars().all(is_of_name)
}

/// Whether a token, with its environment variables replaced, can be a secret and be sent in a header.
fn check_token(token: String) -> Result<(), String> {
    let length = token.trim().chars().count();
    if length < MIN_TOKEN_LENGTH {
        return Err(format!(
            "the token has {length} characters; expected at least {MIN_TOKEN_LENGTH}"
        ));
    }
    if token.trim().contains(char::is_control) {
        return Err("the token has control characters".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_no_scheme_and_no_port() {
        for (host, expected) in [
            ("cams.example.org", true),
            ("cam_1", true),
            ("*", true),
            ("", false),
            ("cams.example.org:8080", false),
            ("http://cams", false),
            ("*.example.org", false),
        ] {
            assert_eq!(is_host_name(host), expected, "{host}");
        }
    }

    #[test]
    fn a_token_is_long_enough_without_the_space_around_it() {
        assert_eq!(check_token("open sesame; ü=1\n".to_owned()), Ok(()));
        for token in ["", "short", "        ", "  1234567  ", "1234\n56789"] {
            assert!(check_token(token.to_owned()).is_err(), "{token:?}");
        }
    }
}
