//! MQTT through mosquitto, with its own subscriber.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::support::{
    PATIENCE, Process, complaints, free_port, mobilens, run, skip, stderr, until,
};
use serde_json::Value;

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
        skip("mosquitto is not installed");
        return None;
    };
    let child = Process::from(child);
    until("a broker that listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    Some(child)
}

/// What tells a subscriber that its subscription is in force.
const READY: &str = "test/ready";

/// Everything that the broker is told from now on, and what it retains. `more` are arguments of
/// `mosquitto_sub`.
fn subscribe(port: u16, more: &[&str]) -> (Process, Receiver<(String, String)>) {
    let port = port.to_string();
    // A retained message comes as soon as the subscription is in force.
    let published = Command::new("mosquitto_pub")
        .args(["-p", &port, "-q", "1", "-r", "-t", READY, "-m", "yes"])
        .status();
    assert!(
        published.is_ok_and(|status| status.success()),
        "mosquitto-clients is not installed"
    );
    let mut subscriber = Process::start(
        Command::new("mosquitto_sub")
            .args(["-p", &port, "-v", "-q", "1", "-t", "#"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let lines = subscriber.lines();
    let (sender, messages) = channel();
    let (is_ready, ready) = channel();
    std::thread::spawn(move || {
        for line in lines {
            let Some((topic, payload)) = line.split_once(' ') else {
                continue;
            };
            if topic == READY {
                let _ = is_ready.send(());
            } else if sender.send((topic.to_owned(), payload.to_owned())).is_err() {
                break;
            }
        }
    });
    ready.recv_timeout(PATIENCE).expect("a subscription");
    (subscriber, messages)
}

/// Plays the clip for ever as a camera would, tells the broker, and writes `records` to a file.
fn watch(port: u16, sink: &str, records: &Path) -> Process {
    let sink = format!("sinks.0={{mqtt: {{url: \"mqtt://127.0.0.1:{port}\"{sink}}}}}");
    Process::start(
        mobilens()
            .args(["pipelines/ssd_counting.yaml", "--headless", "--output"])
            .arg(records)
            .args([
                "--set",
                &sink,
                "--set",
                "source.video.loop=true",
                "--set",
                "stream=gate",
            ])
            .args(["--set", "gating.motion_gate={}"])
            .stderr(Stdio::null()),
    )
}

fn next(messages: &Receiver<(String, String)>, is: impl Fn(&str, &str) -> bool) -> String {
    let patience = Instant::now() + PATIENCE;
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
    let (_subscriber, messages) = subscribe(port, &[]);
    let mut running = watch(port, "", Path::new("/dev/null"));
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
        let (_late, kept) = subscribe(port, &[]);
        next(&kept, |topic, _| topic == wanted);
    }
    // Ended as it should be, and as it should not.
    running.interrupt();
    next(&messages, |topic, payload| {
        topic == "mobilens/availability" && payload == "offline"
    });
    assert_eq!(running.ended().code(), Some(0));
    let running = watch(port, "", Path::new("/dev/null"));
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
    // A broker that remembers its subscribers, so that none comes back too late for a message.
    let remembers = format!(
        "persistence true\npersistence_location {}/\nmax_queued_messages 0\nuser root",
        dir.path().display()
    );
    let Some(mut first) = broker(dir.path(), port, &remembers) else {
        return;
    };
    let (_subscriber, messages) = subscribe(port, &["-c", "-i", "subscriber"]);
    let file = dir.path().join("records.jsonl");
    let _running = watch(port, ", frames: all, buffer: 10000", &file);
    let number = |payload: &str| -> u64 {
        let record: Value = serde_json::from_str(payload).expect("JSON");
        record["frame"].as_u64().expect("a number")
    };
    let next_frame = || {
        let is_frame = |topic: &str, _: &str| topic == "mobilens/gate/frame";
        number(&next(&messages, is_frame))
    };
    let mut seen = BTreeSet::new();
    while seen.len() < 10 {
        seen.insert(next_frame());
    }
    let written = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let is_frame = |line: &&str| line.contains("\"type\":\"frame\"");
        text.lines().filter(is_frame).count()
    };
    // Ended as a service manager would, for two seconds of the clip.
    first.terminate();
    first.ended();
    let before = written();
    until("records without a broker", || written() >= before + 50);
    let _second = broker(dir.path(), port, &remembers).expect("it was there before");
    let last = before as u64 + 80;
    while !seen.contains(&last) {
        seen.insert(next_frame());
    }
    let gaps: Vec<u64> = (0..last).filter(|n| !seen.contains(n)).collect();
    assert!(gaps.is_empty(), "{gaps:?}");
}

#[test]
#[ignore = "takes long; CI runs it"]
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
        skip("openssl is not installed");
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
    let (_subscriber, messages) = subscribe(plain, &[]);
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
