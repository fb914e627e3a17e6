//! Server names for messages.

use url::Url;

/// A URL without credentials, path and query.
pub fn redacted_url(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{}", url.scheme(), port.unwrap_or_default())
}
