//! Webhooks, against a server that has its moods.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use crate::support::{self, PATIENCE, complaints, mobilens, run, stderr};
use serde_json::Value;

/// Answers each request with what `answers` gives; says what was asked: headers and body.
fn server(
    mut answer: impl FnMut() -> &'static str + Send + 'static,
) -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://{}/hook",
        listener.local_addr().expect("its address")
    );
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let answer = answer();
            if answer.is_empty() {
                continue;
            }
            if let Some(request) = read(&socket) {
                let mut socket = socket;
                let _ = write!(
                    socket,
                    "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                if sender.send(request).is_err() {
                    break;
                }
            }
        }
    });
    (url, asked)
}

fn read(socket: &TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(socket);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, serde_json::from_slice(&body).ok()?))
}

#[test]
fn events_are_posted_and_tried_again() {
    // Gone, overloaded, then well.
    let mut moods = vec!["", "503 Overloaded"].into_iter();
    let (url, asked) = server(move || moods.next().unwrap_or("200 OK"));
    let sink = format!(
        "sinks.0={{webhook: {{url: \"{url}\", events: [zone], \
         headers: {{Authorization: \"Bearer ${{MOBILENS_HOOK}}\"}}}}}}"
    );
    let output = mobilens()
        .args([
            "pipelines/ssd_counting.yaml",
            "--headless",
            "--set",
            &sink,
            "--pace",
            "realtime",
        ])
        .args(["--output", "-"])
        .env("MOBILENS_HOOK", "open sesame")
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said: Vec<Value> = support::records(&output.stdout)
        .into_iter()
        .filter(|record| record["kind"] == "zone")
        .collect();
    assert!(said.len() > 2, "{}", said.len());
    let next = || asked.recv_timeout(PATIENCE).expect("another event");
    let (head, again) = next();
    assert!(head.contains("Bearer open sesame"), "{head}");
    assert_eq!(again, said[0], "the refused one");
    let got: Vec<Value> = said.iter().map(|_| next().1).collect();
    assert_eq!(got, said, "all of them, in their order");
    assert!(asked.try_recv().is_err(), "one was sent twice");
}

#[test]
fn what_is_refused_is_dropped_and_said_and_holds_nobody_up() {
    let (url, _asked) = server(|| "410 Gone");
    let sink = format!("sinks.0={{webhook: {{url: \"{url}\"}}}}");
    let output = run(&[
        "pipelines/ssd_counting.yaml",
        "--headless",
        "--pace",
        "fast",
        "--frames",
        "100",
        "--set",
        &sink,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("HTTP status 410"),
        "{}",
        stderr(&output)
    );
    // Nobody there at all: the run ends soon after its last frame.
    let sink = "sinks.0={webhook: {url: \"http://127.0.0.1:1/\"}}";
    let output = run(&[
        "pipelines/ssd_counting.yaml",
        "--headless",
        "--pace",
        "fast",
        "--frames",
        "100",
        "--set",
        sink,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("could not be sent"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (sink, words) in [
        (
            "{url: \"ftp://host\"}",
            "expected http://HOST or https://HOST",
        ),
        (
            "{url: \"http://host\", headers: {A: \"${MOBILENS_NOT_SET}\"}}",
            "environment variable MOBILENS_NOT_SET is not set",
        ),
    ] {
        let sink = format!("sinks.0={{webhook: {sink}}}");
        let output = run(&["pipelines/ssd_counting.yaml", "--headless", "--set", &sink]);
        assert_eq!(output.status.code(), Some(2), "{sink}");
        assert!(
            complaints(&output)[0].contains(words),
            "{:?}",
            complaints(&output)
        );
    }
}
