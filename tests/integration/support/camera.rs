//! A network camera: GStreamer's RTSP server plays one.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::{Process, file, free_port, skip};

/// A server, ended when the test is.
pub struct Server {
    _process: Process,
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
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(file("tests/rtsp_server.py"))
            .arg(file(clip))
            .arg(port.to_string())
            .args(login)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let Ok(mut child) = command.spawn().map(Process::from) else {
            skip("Python is not installed");
            return None;
        };
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        if line != "ready\n" {
            skip("GStreamer's RTSP server is not installed");
            return None;
        }
        Some(Self {
            _process: child,
            port,
        })
    }

    /// Its address, with what stands before the host.
    pub fn url(&self, login: &str) -> String {
        format!("rtsp://{login}127.0.0.1:{}/cam", self.port)
    }
}
