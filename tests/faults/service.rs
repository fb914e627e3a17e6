//! The program under a service manager: readiness, watchdog, health.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::access::Page;
use crate::support::{Process, file, free_port, mobilens, until};

/// What the service manager hears.
struct Manager {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
    heard: RefCell<Vec<String>>,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        Self {
            dir,
            socket,
            heard: RefCell::default(),
        }
    }

    /// Has `command` started as a service whose watchdog has a limit of `seconds`.
    fn manage<'c>(&self, command: &'c mut Command, seconds: u64) -> &'c mut Command {
        command
            .env("NOTIFY_SOCKET", self.dir.path().join("notify"))
            .env("WATCHDOG_USEC", (seconds * 1_000_000).to_string())
            .env_remove("WATCHDOG_PID")
    }

    /// Whether another message with this line comes within `limit`.
    fn hears(&self, line: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.socket.set_read_timeout(Some(left)).expect("a socket");
            let mut message = [0; 4096];
            if let Ok(length) = self.socket.recv(&mut message) {
                let message = String::from_utf8_lossy(&message[..length]).into_owned();
                self.heard
                    .borrow_mut()
                    .extend(message.lines().map(str::to_owned));
                if message.lines().any(|l| l == line) {
                    return true;
                }
            }
        }
    }

    fn waits_for(&self, line: &str) {
        until(line, || {
            let has_come = self.heard.borrow().iter().any(|heard| heard == line);
            has_come || self.hears(line, Duration::from_secs(1))
        });
    }
}

#[test]
fn a_service_says_that_it_is_ready_goes_on_and_ends() {
    let manager = Manager::new();
    let mut command = mobilens();
    command
        .args([
            "pipelines/web_security.yaml",
            "--set",
            "sinks.0={web: {bind: '127.0.0.1:0'}}",
        ])
        .args(["--set", "source.camera={device: /dev/nowhere}"])
        .args(["--output", "/dev/null"])
        .stderr(Stdio::null());
    let mut service = Process::start(manager.manage(&mut command, 20));
    manager.waits_for("READY=1");
    manager.waits_for("STATUS=Streams: 1 running");
    for _ in 0..3 {
        until("the watchdog's sign", || {
            manager.hears("WATCHDOG=1", Duration::from_secs(1))
        });
    }
    service.interrupt();
    manager.waits_for("STOPPING=1");
    assert_eq!(service.ended().code(), Some(0));
}

#[test]
fn the_watchdog_hears_nothing_while_a_stage_is_stuck() {
    let manager = Manager::new();
    let mut command = mobilens();
    // Records for a reader who does not read: the clip is no camera, so nothing may be dropped.
    command
        .args(["pipelines/ssd_replay.yaml", "--headless", "--pace", "fast"])
        .args(["--set", "source.video.loop=true"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut service = Process::start(manager.manage(&mut command, 4));
    manager.waits_for("READY=1");
    manager.waits_for("WATCHDOG=1");
    let mut said = BufReader::new(service.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("stuck: ") {
        line.clear();
        assert!(said.read_line(&mut line).expect("text") > 0, "it ended");
    }
    assert!(line.contains("2-publish"), "{line}");
    until("silence", || {
        !manager.hears("WATCHDOG=1", Duration::from_secs(4))
    });
    // Once the records are read, it goes on.
    let mut records = service.stdout.take().expect("piped");
    std::thread::spawn(move || std::io::copy(&mut records, &mut std::io::sink()));
    until("the watchdog's sign", || {
        manager.hears("WATCHDOG=1", Duration::from_secs(1))
    });
    service.interrupt();
    let _ = said.read_to_string(&mut line);
    assert_eq!(service.ended().code(), Some(0));
}

/// Status and body of `/healthz`.
fn health(page: &Page) -> (bool, Value) {
    let answer = page.get("/healthz", "");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(head.contains("application/json"), "{head}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    let is_ok = head.starts_with("HTTP/1.1 200");
    assert!(is_ok || head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(is_ok, body["status"] == "ok", "{body}");
    (is_ok, body)
}

#[test]
fn a_stream_without_frames_is_unhealthy_until_they_come_again() {
    let (stdin, mut feed) = std::io::pipe().expect("a pipe");
    // Without a header the source could not be opened.
    feed.write_all(b"YUV4MPEG2 W64 H48 F25:1 C420jpeg\n")
        .expect("there is room");
    let page = Page::of(
        mobilens()
            .args([
                "pipelines/web_security.yaml",
                "--set",
                "sinks.0={web: {bind: '127.0.0.1:0'}}",
            ])
            .args([
                "--input",
                "-",
                "--pace",
                "realtime",
                "--output",
                "/dev/null",
            ])
            .stdin(stdin),
    );
    let frame = [&b"FRAME\n"[..], &[128; 64 * 48 * 3 / 2]].concat();
    let mut frame = || feed.write_all(&frame).expect("it reads");
    until("a healthy stream", || {
        frame();
        health(&page).0
    });
    // The pipe stays open and nothing comes.
    until("an unhealthy stream", || !health(&page).0);
    let (_, body) = health(&page);
    assert_eq!(body["streams"][0]["status"], "unhealthy", "{body}");
    until("a healthy stream again", || {
        frame();
        health(&page).0
    });
}

#[test]
fn a_camera_that_is_away_and_tried_again_is_healthy() {
    let url = format!("rtsp://127.0.0.1:{}/cam", free_port());
    let source = format!("source={{rtsp: {{url: '{url}', reconnect: always}}}}");
    let page = Page::of(
        mobilens()
            .args(["pipelines/web_security.yaml", "--set", &source])
            .args([
                "--set",
                "sinks.0={web: {bind: '127.0.0.1:0'}}",
                "--output",
                "/dev/null",
            ]),
    );
    until("attempts to reconnect", || {
        let (is_ok, body) = health(&page);
        is_ok && body["streams"][0]["source"] == "reconnecting"
    });
    page.end();
}

#[test]
fn a_stream_that_has_ended_beside_others_is_unhealthy() {
    let dir = tempfile::tempdir().expect("a folder");
    let pipeline = dir.path().join("two.yaml");
    let (clip, model) = (
        file("assets/street.mp4"),
        file("models/ssdlite_mobilenet_v2_coco.yaml"),
    );
    let (clip, model) = (clip.display(), model.display());
    let text = format!(
        "model: {model}\n\
         streams:\n\
         - {{stream: gate, source: {{video: {{path: {clip}, pace: live, loop: true}}}}}}\n\
         - {{stream: yard, source: {{video: {{path: {clip}, pace: fast}}}}}}\n\
         sinks:\n\
         - web: {{bind: '127.0.0.1:0'}}\n"
    );
    std::fs::write(&pipeline, text).expect("it is written");
    let page = Page::of(mobilens().arg(&pipeline).args(["--output", "/dev/null"]));
    until("the end of one stream", || {
        let (is_ok, body) = health(&page);
        let of = |name: &str| {
            let streams = body["streams"].as_array().expect("streams");
            let stream = streams
                .iter()
                .find(|s| s["stream"] == name)
                .expect("a stream");
            (stream["status"] == "ok", stream["source"] == "ended")
        };
        !is_ok && of("gate") == (true, false) && of("yard") == (false, true)
    });
    page.end();
}
