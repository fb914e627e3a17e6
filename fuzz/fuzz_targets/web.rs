//! Requests to the web page's server, each on a connection of its own.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mobilens::flow::Health;
use mobilens::sink::{WebParams, WebServer};

/// Longest wait for more of an answer: some have no end.
const PAUSE: Duration = Duration::from_millis(20);

/// A server that runs as long as the process, and its port.
fn start() -> (WebServer, u16) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let params = WebParams {
        bind: format!("127.0.0.1:{port}"),
        token: Some("fuzzing-token".to_owned()),
        hosts: vec!["*".to_owned()],
        max_watchers: 64,
        max_connections: 512,
        max_connections_per_address: 512,
        health: Health::default(),
    };
    let server = WebServer::start(&params).expect("a server");
    server.add("one");
    server.begin();
    (server, port)
}

fuzz_target!(init: mobilens_fuzz::abort_on_panics_of_our_own(), |input: &[u8]| {
    static SERVER: OnceLock<(WebServer, u16)> = OnceLock::new();
    let (_, port) = SERVER.get_or_init(start);
    let Ok(mut client) = TcpStream::connect(("127.0.0.1", *port)) else {
        return;
    };
    let _ = client.set_read_timeout(Some(PAUSE));
    if client.write_all(input).is_err() || client.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut buffer = [0; 4096];
    for _ in 0..16 {
        if !matches!(client.read(&mut buffer), Ok(1..)) {
            break;
        }
    }
});
