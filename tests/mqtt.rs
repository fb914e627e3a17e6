//! MQTT through mosquitto, with its own subscriber.
#![allow(clippy::print_stderr, reason = "tests say what they skip")]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{complaints, mobilens, run, stderr};

/// A process, ended when the test is.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Starts a broker; `None`, said aloud, where mosquitto is not installed.
fn broker(dir: &Path, port: u16, more: &str) -> Option<Process> {
    let config = dir.join(format!("mosquitto-{port}.conf"));
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\n{more}\n");
    std::fs::write(&config, text).expect("room");
    let names = ["mosquitto", "/usr/sbin/mosquitto"];
    let child = names.iter().find_map(|name| {
        let mut command = Command::new(name);
        command.arg("-c").arg(&config);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()
    });
    let Some(child) = child else {
        assert!(
            std::env::var_os("MOBILENS_CI").is_none(),
            "mosquitto is not installed"
        );
        eprintln!("SKIPPED: mosquitto is not installed");
        return None;
    };
    let child = Process(child);
    let patience = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < patience, "the broker does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(child)
}

/// Everything that the broker is told from now on, and what it keeps.
fn subscribe(port: u16) -> (Process, Receiver<(String, String)>) {
    let mut child = Command::new("mosquitto_sub")
        .args(["-p", &port.to_string(), "-v", "-q", "1", "-t", "#"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto-clients is installed");
    let lines = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, messages) = channel();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if let Some((topic, payload)) = line.split_once(' ')
                && sender.send((topic.to_owned(), payload.to_owned())).is_err()
            {
                break;
            }
        }
    });
    // A subscriber that is not there yet misses what is not kept.
    std::thread::sleep(Duration::from_millis(300));
    (Process(child), messages)
}

/// Plays the clip for ever as a camera would, and tells the broker.
fn watch(port: u16, sink: &str) -> Process {
    let sink = format!("sinks.0={{mqtt: {{url: \"mqtt://127.0.0.1:{port}\"{sink}}}}}");
    let child = mobilens()
        .args([
            "pipelines/ssd_counting.yaml",
            "--headless",
            "--output",
            "/dev/null",
        ])
        .args([
            "--set",
            &sink,
            "--set",
            "source.video.loop=true",
            "--set",
            "stream=gate",
        ])
        .args(["--set", "gating.motion_gate={}"])
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    Process(child)
}

fn next(messages: &Receiver<(String, String)>, is: impl Fn(&str, &str) -> bool) -> String {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let left = patience.saturating_duration_since(Instant::now());
        let (topic, payload) = messages
            .recv_timeout(left)
            .expect("the message that is waited for");
        if is(&topic, &payload) {
            return payload;
        }
    }
}

#[test]
fn a_subscriber_sees_what_the_pipeline_sees() {
    let dir = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let Some(_broker) = broker(dir.path(), port, "") else {
        return;
    };
    let (_subscriber, messages) = subscribe(port);
    let mut running = watch(port, "");
    next(&messages, |topic, payload| {
        topic == "mobilens/availability" && payload == "online"
    });
    let found = next(&messages, |topic, _| {
        topic == "homeassistant/binary_sensor/mobilens_gate_motion/config"
    });
    let found: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found["state_topic"], "mobilens/gate/state");
    let state = next(&messages, |topic, payload| {
        topic == "mobilens/gate/state" && !payload.contains("\"vehicle\":0")
    });
    let state: Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!(state["motion"], "ON");
    let frame = next(&messages, |topic, _| topic == "mobilens/gate/frame");
    let frame: Value = serde_json::from_str(&frame).expect("JSON");
    assert_eq!(frame["stream"], "gate");
    let event = next(&messages, |topic, _| topic == "mobilens/gate/event");
    let event: Value = serde_json::from_str(&event).expect("JSON");
    assert_eq!(event["type"], "event");
    // One that comes later finds what is kept.
    for wanted in [
        "homeassistant/sensor/mobilens_gate_person/config",
        "mobilens/gate/source",
        "mobilens/gate/state",
    ] {
        let (_late, kept) = subscribe(port);
        next(&kept, |topic, _| topic == wanted);
    }
    // Ended as it should be, and as it should not.
    let told = Command::new("kill")
        .args(["-INT", &running.0.id().to_string()])
        .status();
    assert!(told.expect("kill starts").success());
    next(&messages, |topic, payload| {
        topic == "mobilens/availability" && payload == "offline"
    });
    assert_eq!(running.0.wait().expect("ends").code(), Some(0));
    let running = watch(port, "");
    next(&messages, |topic, payload| {
        topic == "mobilens/availability" && payload == "online"
    });
    drop(running);
    next(&messages, |topic, payload| {
        topic == "mobilens/availability" && payload == "offline"
    });
}

#[test]
fn what_was_said_while_the_broker_was_away_arrives() {
    let dir = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let Some(first) = broker(dir.path(), port, "") else {
        return;
    };
    let (_subscriber, messages) = subscribe(port);
    let _running = watch(port, ", frames: all, buffer: 10000");
    let number = |payload: &str| -> u64 {
        let record: Value = serde_json::from_str(payload).expect("JSON");
        record["frame"].as_u64().expect("a number")
    };
    let is_frame = |topic: &str, _: &str| topic == "mobilens/gate/frame";
    for _ in 0..10 {
        next(&messages, is_frame);
    }
    drop(first);
    let mut seen = BTreeSet::new();
    while let Ok((topic, payload)) = messages.recv_timeout(Duration::from_millis(500)) {
        if is_frame(&topic, "") {
            seen.insert(number(&payload));
        }
    }
    let last_before = seen.last().copied().unwrap_or(0);
    std::thread::sleep(Duration::from_secs(2));
    let _second = broker(dir.path(), port, "").expect("it was there before");
    let (_again, messages) = subscribe(port);
    // Two seconds of the clip, and some, were seen in the meantime.
    let mut after = BTreeSet::new();
    while after.last().is_none_or(|last| *last < last_before + 80) {
        after.insert(number(&next(&messages, is_frame)));
    }
    // The subscriber may come after the first of them; the rest is there without a gap.
    let first = *after.first().expect("frames");
    let gaps: Vec<u64> = (first..last_before + 80)
        .filter(|n| !after.contains(n))
        .collect();
    assert!(gaps.is_empty(), "{gaps:?}");
    assert!(first <= last_before + 40, "{first} after {last_before}");
}

#[test]
fn a_broker_with_a_certificate_is_trusted_where_it_is_known() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir.path())
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: openssl is not installed");
        return;
    }
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (plain, tls) = (free_port(), free_port());
    let more = format!(
        "listener {tls} 127.0.0.1\nallow_anonymous true\ncertfile {}\nkeyfile {}\nuser root",
        path("cert.pem"),
        path("key.pem")
    );
    let Some(_broker) = broker(dir.path(), plain, &more) else {
        return;
    };
    let (_subscriber, messages) = subscribe(plain);
    let sink = |ca: &str| format!("sinks.0={{mqtt: {{url: \"mqtts://localhost:{tls}\"{ca}}}}}");
    let run_with = |ca: &str| {
        run(&[
            "pipelines/ssd_counting.yaml",
            "--headless",
            "--output",
            "/dev/null",
            "--set",
            &sink(ca),
            "--set",
            "stream=gate",
            "--frames",
            "40",
        ])
    };
    let unknown = run_with("");
    assert_eq!(unknown.status.code(), Some(0), "{}", stderr(&unknown));
    assert!(
        stderr(&unknown).contains("could not be sent"),
        "{}",
        stderr(&unknown)
    );
    let known = run_with(&format!(", ca_file: {}", path("cert.pem")));
    assert!(stderr(&known).contains("connected"), "{}", stderr(&known));
    next(&messages, |topic, payload| {
        topic == "mobilens/availability" && payload == "online"
    });
    next(&messages, |topic, _| topic == "mobilens/gate/frame");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (sink, words) in [
        (
            "{url: \"http://a:secret@host\"}",
            "expected mqtt://HOST or mqtts://HOST",
        ),
        (
            "{url: \"mqtt://u:${MOBILENS_NOT_SET}@host\"}",
            "environment variable MOBILENS_NOT_SET is not set",
        ),
        ("{url: \"mqtt://host\", topic: \"a/#\"}", "expected a topic"),
        (
            "{url: \"mqtt://host\", ca_file: nowhere.pem}",
            "cannot read",
        ),
    ] {
        let sink = format!("sinks.0={{mqtt: {sink}}}");
        let output = run(&["pipelines/ssd_counting.yaml", "--headless", "--set", &sink]);
        assert_eq!(output.status.code(), Some(2), "{sink}");
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains(words) && !said[0].contains("secret"),
            "{said:?}"
        );
    }
}
