//! What the server itself counts: connections, and what it refused.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Refusals of one kind are logged at most this often; all are counted.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Counters of a web server.
#[derive(Default)]
pub struct Counters {
    connections: AtomicUsize,
    refused_in_all: Counter,
    refused_by_client: Counter,
    wrong_token: Counter,
    rate_limited: Counter,
    host: Counter,
    origin: Counter,
}

/// A count, and when it was last logged.
#[derive(Default)]
struct Counter {
    count: AtomicU64,
    logged: Mutex<Option<Instant>>,
}

impl Counter {
    fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one; whether to log it.
    fn add_and_log(&self) -> bool {
        self.add();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL);
        if is_due {
            *logged = Some(Instant::now());
        }
        is_due
    }

    fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn set_connections(&self, open: usize) {
        self.connections.store(open, Ordering::Relaxed);
    }

    pub(super) fn connection_refused_in_all(&self) {
        if self.refused_in_all.add_and_log() {
            tracing::warn!(
                "connections to the web page are refused: all are in use (max_connections)"
            );
        }
    }

    pub(super) fn connection_refused_by_client(&self) {
        if self.refused_by_client.add_and_log() {
            tracing::warn!(
                "connections to the web page are refused: one address has as many as it may \
                 (max_connections_per_address)"
            );
        }
    }

    pub(super) fn wrong_token(&self) {
        self.wrong_token.add();
    }

    pub(super) fn rate_limited(&self) {
        self.rate_limited.add();
    }

    /// Counts a request for a host that is not allowed; whether to log it.
    pub(super) fn host_refused(&self) -> bool {
        self.host.add_and_log()
    }

    /// Counts a request from a page of another origin; whether to log it.
    pub(super) fn origin_refused(&self) -> bool {
        self.origin.add_and_log()
    }

    /// In Prometheus' text format.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        let connections = self.connections.load(Ordering::Relaxed);
        let _ = writeln!(
            text,
            "# HELP mobilens_web_connections Open connections to the web server.\n\
             # TYPE mobilens_web_connections gauge\n\
             mobilens_web_connections {connections}"
        );
        let mut family = |name: &str, help: &str, reasons: [(&str, &Counter); 2]| {
            let name = format!("mobilens_web_{name}_total");
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
            for (reason, counter) in reasons {
                let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {}", counter.get());
            }
        };
        family(
            "connections_refused",
            "Connections closed because there were too many, in all or of one address.",
            [
                ("total", &self.refused_in_all),
                ("address", &self.refused_by_client),
            ],
        );
        family(
            "auth_failures",
            "Requests and logins with a wrong token, or refused after too many of those.",
            [
                ("wrong_token", &self.wrong_token),
                ("rate_limited", &self.rate_limited),
            ],
        );
        family(
            "requests_refused",
            "Requests for a host that is not allowed, or from a page of another origin.",
            [("host", &self.host), ("origin", &self.origin)],
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_counted_and_little_is_logged() {
        let counters = Counters::default();
        assert!(counters.host_refused());
        assert!(!counters.host_refused());
        counters.wrong_token();
        counters.set_connections(3);
        let text = counters.render();
        for line in [
            "mobilens_web_connections 3",
            "mobilens_web_requests_refused_total{reason=\"host\"} 2",
            "mobilens_web_requests_refused_total{reason=\"origin\"} 0",
            "mobilens_web_auth_failures_total{reason=\"wrong_token\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
    }
}
