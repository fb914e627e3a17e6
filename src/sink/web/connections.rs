//! Accepts connections, within limits: how many there are in all and from one client, how long a
//! request's head may take and how large it may be, how long a client may read nothing.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use super::address::{ClientKey, PeerAddress};
use super::counters::Counters;

/// A connection on which no whole request head arrives for so long is closed, the first as well as
/// those that wait for another request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request head in bytes; beyond, the answer is 431. Browsers send less than two kilobytes.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// A connection whose other end acknowledges nothing, or makes no room, for so long is closed.
#[cfg(target_os = "linux")]
const STALLED_MS: u32 = 20_000;
/// Pause when no connection can be accepted at all.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How many connections may be open.
pub struct ConnectionLimits {
    most: usize,
    most_per_client: usize,
    open: Mutex<Open>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_client: HashMap<ClientKey, usize>,
}

/// The place that a connection takes while it is open.
pub struct Place {
    limits: Arc<ConnectionLimits>,
    client: ClientKey,
}

impl ConnectionLimits {
    /// At most `most` connections in all, and `most_per_client` from one client. However many are
    /// asked for, half of the descriptors that the process may open are left for cameras,
    /// recordings and clips.
    pub fn new(most: usize, most_per_client: usize, counters: Arc<Counters>) -> Self {
        let half = descriptor_limit().map_or(most, |limit| limit / 2);
        if half < most {
            tracing::warn!(
                "at most {half} connections to the web page instead of {most}: the limit of open \
                 files (ulimit -n, LimitNOFILE) leaves no more"
            );
        }
        Self {
            most: most.min(half).max(1),
            most_per_client,
            open: Mutex::default(),
            counters,
        }
    }

    /// A place for a connection from `client`, if there is one.
    fn admit(self: &Arc<Self>, client: ClientKey) -> Option<Place> {
        let mut open = self.lock();
        if open.total >= self.most {
            drop(open);
            self.counters.connection_refused_in_all();
            return None;
        }
        let of_client = open.by_client.entry(client).or_default();
        if *of_client >= self.most_per_client {
            drop(open);
            self.counters.connection_refused_by_client();
            return None;
        }
        *of_client += 1;
        open.total += 1;
        self.counters.set_connections(open.total);
        Some(Place {
            limits: Arc::clone(self),
            client,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.limits.lock();
        open.total -= 1;
        self.limits.counters.set_connections(open.total);
        if let Some(of_client) = open.by_client.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

/// Accepts connections for ever and answers their requests by `app`.
pub async fn serve(listener: TcpListener, app: Router, limits: Arc<ConnectionLimits>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES);
    loop {
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The other end was faster.
            Err(error) if is_of_connection(&error) => continue,
            Err(error) => {
                tracing::warn!("the web page cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let address = address.ip().to_canonical();
        // A connection too many is closed at once, or those behind it would wait, too.
        let Some(place) = limits.admit(address.into()) else {
            continue;
        };
        limit_stalls(&socket);
        let app = app.clone().layer(Extension(PeerAddress(address)));
        let connection = http.serve_connection(TokioIo::new(socket), TowerToHyperService::new(app));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%address, "connection closed: {error}");
            }
            drop(place);
        });
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

/// Has the system close a connection whose other end has vanished, or reads nothing.
#[cfg(target_os = "linux")]
fn limit_stalls(socket: &TcpStream) {
    use rustix::net::sockopt::{set_socket_keepalive, set_tcp_user_timeout};
    // Without them the connection takes its place for longer, which the limits allow for.
    let _ = set_socket_keepalive(socket, true);
    let _ = set_tcp_user_timeout(socket, STALLED_MS);
}

#[cfg(not(target_os = "linux"))]
fn limit_stalls(_: &TcpStream) {}

/// How many descriptors the process may have open.
#[cfg(unix)]
fn descriptor_limit() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.and_then(|limit| usize::try_from(limit).ok())
}

#[cfg(not(unix))]
fn descriptor_limit() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn client(n: u8) -> ClientKey {
        IpAddr::from(Ipv4Addr::new(192, 0, 2, n)).into()
    }

    #[test]
    fn one_client_leaves_places_for_the_others() {
        let limits = Arc::new(ConnectionLimits::new(3, 2, Arc::default()));
        let first = limits.admit(client(1)).expect("a place");
        let _second = limits.admit(client(1)).expect("a place");
        assert!(limits.admit(client(1)).is_none(), "a third of one client");
        let _other = limits.admit(client(2)).expect("a place");
        assert!(limits.admit(client(3)).is_none(), "a fourth in all");
        drop(first);
        assert!(limits.admit(client(3)).is_some(), "a place became free");
        assert!(limits.admit(client(1)).is_some(), "and another");
        let kept = limits.lock().by_client.len();
        assert_eq!(kept, 2, "clients that left are forgotten");
    }

    #[test]
    #[cfg(unix)]
    fn half_of_the_descriptors_are_left() {
        let limits = ConnectionLimits::new(usize::MAX, usize::MAX, Arc::default());
        let limit = descriptor_limit().unwrap_or(usize::MAX);
        assert!(limits.most <= limit / 2 || limit == usize::MAX);
    }
}
