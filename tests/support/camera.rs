//! A network camera: GStreamer's RTSP server plays one.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::print_stderr, reason = "tests say what they skip")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::file;

/// A server, ended when the test is.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub port: u16,
}

impl Server {
    /// Serves the bundled clip; `None`, said aloud, where the server is not installed.
    pub fn start(port: Option<u16>, login: &[&str]) -> Option<Self> {
        Self::of("assets/street.mp4", port, login)
    }

    /// Serves `clip`.
    pub fn of(clip: &str, port: Option<u16>, login: &[&str]) -> Option<Self> {
        let port = port.unwrap_or_else(free_port);
        let mut child = Command::new("/usr/bin/python3")
            .arg(file("tests/rtsp_server.py"))
            .arg(file(clip))
            .arg(port.to_string())
            .args(login)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok();
        let said = child.as_mut().and_then(|child| {
            let mut line = String::new();
            BufReader::new(child.stdout.take()?)
                .read_line(&mut line)
                .ok()?;
            Some(line)
        });
        match (child, said.as_deref()) {
            (Some(child), Some("ready\n")) => Some(Self { child, port }),
            (child, _) => {
                if let Some(mut child) = child {
                    let _ = child.kill();
                    let _ = child.wait();
                }
                assert!(
                    std::env::var_os("MOBILENS_CI").is_none(),
                    "GStreamer's RTSP server is not installed"
                );
                eprintln!("SKIPPED: GStreamer's RTSP server is not installed");
                None
            }
        }
    }

    /// Its address, with what stands before the host.
    pub fn url(&self, login: &str) -> String {
        format!("rtsp://{login}127.0.0.1:{}/cam", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}
