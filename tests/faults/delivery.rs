//! Webhook receivers and MQTT brokers that redirect, hang or refuse.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::{Process, complaints, file, mobilens, run, stderr, until};

/// Listens on a free port and hands each connection to `serve`, on a thread of its own.
fn listen(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(socket));
        }
    });
    address
}

/// Accepts connections, takes what is sent and never answers.
fn hanging() -> String {
    listen(|mut socket| {
        let _ = std::io::copy(&mut socket, &mut std::io::sink());
    })
}

/// Reads a request's head; sends it and answers with `answer`.
fn receiver(answer: String) -> (String, Receiver<String>) {
    let (sender, heads) = channel();
    let address = listen(move |mut socket| {
        let mut reader = BufReader::new(socket.try_clone().expect("a handle"));
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let mut line = String::new();
            if !reader.read_line(&mut line).is_ok_and(|n| n > 0) {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            head += &line;
        }
        let _ = reader.read_exact(&mut vec![0; length]);
        let _ = sender.send(head);
        let _ = write!(
            socket,
            "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    });
    (address, heads)
}

/// Plays the counting clip with ten zones, for many events, and tells `sinks`.
fn watch(sinks: &[String]) -> Command {
    let mut command = mobilens();
    command.args(["pipelines/ssd_counting.yaml", "--headless"]);
    for i in 0..10 {
        let zone = format!("zones.z{i}={{polygon: [[0, 0], [1, 0], [1, 1], [0, 1]]}}");
        command.args(["--set", &zone]);
    }
    for (i, sink) in sinks.iter().enumerate() {
        command.args(["--set", &format!("sinks.{i}={sink}")]);
    }
    command
}

/// Plays the clip's beginning only, as fast as it goes.
fn replay(sinks: &[String]) -> Command {
    let mut command = watch(sinks);
    command.args(["--pace", "fast", "--frames", "40"]);
    command
}

/// Runs `command` to its end, within the limit for hangs; returns what it says on standard error.
fn said_by(mut command: Command) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let said = dir.path().join("stderr");
    let stderr = std::fs::File::create(&said).expect("room");
    let mut running = Process::start(command.stdout(Stdio::null()).stderr(stderr));
    let status = running.ended();
    let said = std::fs::read_to_string(&said).expect("text");
    assert_eq!(status.code(), Some(0), "{said}");
    said
}

fn count(said: &str, words: &str) -> usize {
    said.lines().filter(|line| line.contains(words)).count()
}

#[test]
fn a_redirect_is_a_refusal_and_no_other_server_sees_the_headers() {
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        let (elsewhere, seen) = receiver("200 OK".to_owned());
        let location = format!("{status}\r\nLocation: http://{elsewhere}/steal?token=hidden");
        let (address, heads) = receiver(location);
        let sink = format!(
            "{{webhook: {{url: \"http://{address}/hook\", headers: {{X-Api-Key: open-sesame}}}}}}"
        );
        let said = said_by(replay(&[sink]));
        assert!(
            heads
                .iter()
                .next()
                .is_some_and(|head| head.contains("open-sesame"))
        );
        assert!(
            seen.try_recv().is_err(),
            "{status}: another server was asked"
        );
        let words = format!(
            "HTTP status {}, a redirect to http://{elsewhere}; redirects are not followed",
            &status[..3]
        );
        assert!(said.contains(&words), "{said}");
        assert!(!said.contains("hidden"), "{said}");
    }
}

#[test]
fn a_receiver_that_hangs_holds_the_end_up_once_for_all_events() {
    // One that trickles never lets a read time out.
    let trickling = listen(|mut socket| {
        let _ = write!(socket, "HTTP/1.1 200 OK\r\nX-Padding: ");
        while socket.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let hook = |address: &str| format!("{{webhook: {{url: \"http://{address}/\"}}}}");
    let said = said_by(replay(&[hook(&hanging()), hook(&trickling)]));
    assert_eq!(count(&said, "events could not be sent"), 2, "{said}");
}

#[test]
fn a_web_proxy_that_hangs_holds_the_end_up_once_for_all_events() {
    let (address, heads) = receiver("200 OK".to_owned());
    let sink = format!("{{webhook: {{url: \"http://{address}/\"}}}}");
    let mut command = replay(&[sink]);
    command.env("ALL_PROXY", format!("http://{}", hanging()));
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    let said = said_by(command);
    assert_eq!(count(&said, "events could not be sent"), 1, "{said}");
    assert!(heads.try_recv().is_err(), "the proxy was left out");
}

/// What a scripted broker does with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Acknowledge,
    CloseConnection,
    Nothing,
}

/// What a scripted broker is told.
#[derive(Debug)]
enum Told {
    Connect { client_id: String },
    Publish { topic: String },
}

/// Reads an MQTT packet: its first byte, and what follows its length.
fn read_packet(socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut byte = [0];
    socket.read_exact(&mut byte).ok()?;
    let (first, mut length, mut shift) = (byte[0], 0, 0);
    loop {
        socket.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 127) << shift;
        shift += 7;
        if byte[0] < 128 {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).ok()?;
    Some((first, body))
}

/// The text at `at` that is preceded by its length.
fn text_at(body: &[u8], at: usize) -> String {
    let length = usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    String::from_utf8(body[at + 2..at + 2 + length].to_vec()).expect("UTF-8")
}

/// A broker that answers a message by its topic.
fn broker(answer: impl Fn(&str) -> Answer + Clone + Send + 'static) -> (String, Receiver<Told>) {
    let (sender, told) = channel();
    let address = listen(move |mut socket| {
        while let Some((first, body)) = read_packet(&mut socket) {
            let reply = match first >> 4 {
                1 => {
                    let client_id = text_at(&body, 10);
                    let _ = sender.send(Told::Connect { client_id });
                    vec![0x20, 2, 0, 0]
                }
                3 => {
                    let topic = text_at(&body, 0);
                    let id = 2 + topic.len();
                    let answer = answer(&topic);
                    let _ = sender.send(Told::Publish { topic });
                    match answer {
                        Answer::Acknowledge => vec![0x40, 2, body[id], body[id + 1]],
                        Answer::CloseConnection => return,
                        Answer::Nothing => Vec::new(),
                    }
                }
                12 => vec![0xD0, 0],
                _ => return,
            };
            if socket.write_all(&reply).is_err() {
                return;
            }
        }
    });
    (address, told)
}

/// How often each topic was published.
fn topics(told: &Receiver<Told>) -> BTreeMap<String, usize> {
    let mut topics = BTreeMap::new();
    for told in told.try_iter() {
        if let Told::Publish { topic } = told {
            *topics.entry(topic).or_default() += 1;
        }
    }
    topics
}

#[test]
fn a_broker_that_hangs_does_not_hold_the_end_up() {
    let (silent, told) = broker(|_| Answer::Nothing);
    let sink = |address: &str| format!("{{mqtt: {{url: \"mqtt://{address}\", frames: all}}}}");
    let said = said_by(replay(&[sink(&hanging()), sink(&silent)]));
    assert_eq!(count(&said, "messages could not be sent"), 2, "{said}");
    assert!(topics(&told).contains_key("mobilens/availability"));
}

#[test]
fn a_message_that_the_broker_refuses_is_dropped_and_all_others_arrive() {
    let (address, told) = broker(|topic| match topic {
        "mobilens/ssd_counting/state" | "mobilens/availability" => Answer::CloseConnection,
        _ => Answer::Acknowledge,
    });
    let dir = tempfile::tempdir().expect("a folder");
    let said = dir.path().join("stderr");
    // It goes on, as the end of a run would give up what is left anyway.
    let mut command = watch(&[format!(
        "{{mqtt: {{url: \"mqtt://{address}\", frames: all}}}}"
    )]);
    command.args([
        "--set",
        "source.video.loop=true",
        "--set",
        "gating.motion_gate={}",
    ]);
    command.stderr(std::fs::File::create(&said).expect("room"));
    let mut running = Process::start(command.stdout(Stdio::null()));
    let mut seen = BTreeMap::<String, usize>::new();
    until("frames after the refused messages", || {
        for (topic, n) in topics(&told) {
            *seen.entry(topic).or_default() += n;
        }
        seen.get("mobilens/ssd_counting/frame")
            .is_some_and(|n| *n > 5)
    });
    running.interrupt();
    assert_eq!(running.ended().code(), Some(0));
    let said = std::fs::read_to_string(&said).expect("text");
    for topic in ["mobilens/availability", "mobilens/ssd_counting/state"] {
        let words = format!("on {topic}; it is dropped");
        assert!(count(&said, &words) > 0, "{said}");
    }
    // Three times a minute at most, not with each connection.
    let tried = seen["mobilens/availability"];
    assert!((3..=9).contains(&tried), "{seen:?}");
}

/// The counting pipeline as the file `NAME.yaml`, which names its stream.
fn pipeline_named(name: &str, dir: &Path) -> String {
    let text = std::fs::read_to_string(file("pipelines/ssd_counting.yaml")).expect("it is there");
    let root = file("").display().to_string();
    let path = dir.join(format!("{name}.yaml"));
    std::fs::write(&path, text.replace("../", &root)).expect("room");
    path.display().to_string()
}

#[test]
fn a_stream_whose_name_holds_wildcards_is_published_under_an_encoded_topic() {
    let dir = tempfile::tempdir().expect("a folder");
    let (address, told) = broker(|_| Answer::Acknowledge);
    let sink = format!(
        "sinks.0={{mqtt: {{url: \"mqtt://{address}\", frames: all, client_id: front-door}}}}"
    );
    let output = run(&[
        &pipeline_named("front+back #1", dir.path()),
        "--headless",
        "--pace",
        "fast",
        "--frames",
        "20",
        "--set",
        &sink,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        !stderr(&output).contains("could not be sent"),
        "{}",
        stderr(&output)
    );
    match told.try_recv() {
        Ok(Told::Connect { client_id }) => assert_eq!(client_id, "front-door"),
        other => panic!("{other:?}"),
    }
    let topics = topics(&told);
    assert_eq!(topics["mobilens/front%2Bback %231/frame"], 20, "{topics:?}");
    assert!(
        topics.keys().all(|topic| !topic.contains(['+', '#'])),
        "{topics:?}"
    );
}

#[test]
fn two_sinks_with_one_client_identifier_are_refused() {
    let sink = |more: &str| {
        format!("{{mqtt: {{url: \"mqtt://127.0.0.1:1\", client_id: one, topic: {more}}}}}")
    };
    let output = run(&[
        "check",
        "pipelines/ssd_counting.yaml",
        "--set",
        &format!("sinks.0={}", sink("a")),
        "--set",
        &format!("sinks.1={}", sink("b")),
    ]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let said = complaints(&output);
    assert!(
        said.len() == 1 && said[0].contains("already uses this client identifier"),
        "{said:?}"
    );
}
