//! Webhooks, from the configuration.

use super::{secret, unrepresentable};
use crate::config::{WebhookConfig, server_url};
use crate::sink::{SinkError, WebhookClient, WebhookParams};

/// Starts the sender that all streams share.
pub fn start(config: &WebhookConfig) -> Result<WebhookClient, SinkError> {
    let url = server_url(&config.url, &["http", "https"]);
    let headers = config.headers.iter().map(|(name, value)| {
        let value = secret(Some(value), "webhook")?.unwrap_or_default();
        Ok((name.clone(), value))
    });
    WebhookClient::start(WebhookParams {
        url: url.map_err(|why| unrepresentable("webhook", why))?,
        headers: headers.collect::<Result<_, SinkError>>()?,
        buffer: config.buffer as usize,
        attempts: config.attempts,
    })
}
