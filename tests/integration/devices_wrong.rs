//! `mobilens devices --network`, against what answers wrongly.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::devices::{device_url, devices, good, streams};
use crate::support::onvif::{Reply, discover, envelope, http, loopback, probe_match, serve, soap};
use crate::support::{PATIENCE, complaints, stderr};

/// Answers of cameras that are broken, or none.
fn hostile(elsewhere: SocketAddr) -> Vec<(&'static str, Reply)> {
    let ok = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let services = envelope("<GetServicesResponse><Service>");
    let cut = services.split_at(services.len() - 40).0.to_owned();
    let laughs = "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
    let redirect = format!("Location: http://{elsewhere}/\r\n");
    vec![
        ("not XML", http("200 OK", "", &cut)),
        (
            "not XML",
            http(
                "200 OK",
                "Content-Type: application/json\r\n",
                "{\"cameras\": []}",
            ),
        ),
        (
            "an HTML page",
            http(
                "200 OK",
                "Content-Type: text/html\r\n",
                "<!DOCTYPE html><title>Log in</title>",
            ),
        ),
        (
            "HTTP status 404",
            http("404 Not Found", "", "<!DOCTYPE html><title>404</title>"),
        ),
        ("HTTP status 302", http("302 Found", &redirect, "")),
        ("empty", http("200 OK", "", "")),
        ("<Hello>", soap("<Hello/>")),
        ("no SOAP message but <rss>", http("200 OK", "", "<rss/>")),
        ("without a body", soap("")),
        ("no media service", soap("<GetServicesResponse/>")),
        (
            "the camera reports: \u{fffd}[31mno",
            http(
                "500 Error",
                "",
                &envelope(
                    "<env:Fault><env:Reason><env:Text>\u{9b}[31mno</env:Text></env:Reason></env:Fault>",
                ),
            ),
        ),
        (
            "not XML",
            http("200 OK", "", &format!("{laughs}{}", envelope("<a>&b;</a>"))),
        ),
        ("larger than", http("200 OK", "", &"a".repeat(10 << 20))),
        ("larger than", Reply::Flood(ok.clone(), b' ')),
        (
            "too many attributes",
            soap(&format!(
                "<a {}/>",
                (0..9000)
                    .map(|i| format!("a{i}=''"))
                    .collect::<Vec<_>>()
                    .join(" ")
            )),
        ),
        ("", Reply::Bytes(Vec::new())),
        ("", Reply::Bytes(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec())),
        ("", Reply::Flood(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), b'a')),
        (
            "",
            Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<a".to_vec()),
        ),
        ("no answer in time", Reply::Hold(Vec::new())),
        ("no answer in time", Reply::Drip(ok)),
    ]
}

#[test]
fn a_wrong_answer_is_one_line_whichever_operation_it_is_to() {
    let (elsewhere, visits) = serve(good);
    let threads: Vec<_> = hostile(elsewhere)
        .into_iter()
        .flat_map(|(words, reply)| {
            ["GetServices", "GetProfiles", "GetStreamUri"]
                .map(|operation| (words, reply.clone(), operation))
        })
        .filter(|(words, _, operation)| {
            !words.contains("media service") || *operation == "GetServices"
        })
        .collect();
    // A few at a time: some take as long as the program waits.
    let queue = std::sync::Mutex::new(threads.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let Some((words, reply, operation)) = queue.lock().expect("no panic").next()
                    else {
                        return;
                    };
                    check_hostile(words, reply, operation);
                }
            });
        }
    });
    assert_eq!(visits.try_iter().count(), 0, "a redirect was followed");
}

fn check_hostile(words: &str, reply: Reply, operation: &'static str) {
    let shown: String = format!("{reply:?}").chars().take(80).collect();
    let what = format!("{operation}: {shown}");
    let (address, _requests) = serve(move |request| match request.operation() {
        name if name == operation => reply.clone(),
        "GetCapabilities" if operation == "GetServices" => reply.clone(),
        _ => good(request),
    });
    let device = device_url(address);
    let output = devices(&["--json", "--address", &device]);
    assert_eq!(output.status.code(), Some(1), "{what}: {}", stderr(&output));
    assert!(streams(&output).is_empty(), "{what}");
    let lines = complaints(&output);
    assert_eq!(lines.len(), 1, "{what}: {lines:?}");
    assert!(
        lines[0].starts_with(&format!("mobilens: {device}: ")),
        "{what}: {lines:?}"
    );
    assert!(lines[0].contains(words), "{what}: {lines:?}");
    assert!(
        lines[0].chars().count() < 400 && !lines[0].contains(char::is_control),
        "{what}: {lines:?}"
    );
}

#[test]
fn a_wrong_answer_to_the_probe_is_one_line() {
    let of_printer = String::from_utf8(probe_match("a", "http://127.0.0.1/"))
        .expect("text")
        .replace("dn:NetworkVideoTransmitter", "wsdp:Device")
        .replace("onvif://", "ldap://");
    let whole = probe_match("a", "http://127.0.0.1/");
    for (words, datagram) in [
        ("the answer is empty", Vec::new()),
        ("not XML", vec![0x80; 1000]),
        ("not XML", whole[..whole.len() / 2].to_vec()),
        ("HTML", b"<html></html>".to_vec()),
        ("<Hello>", envelope("<Hello/>").into_bytes()),
        (
            "no HTTP address",
            probe_match("a", "ftp://127.0.0.1/ nonsense"),
        ),
        ("did not answer within 1 s", of_printer.into_bytes()),
    ] {
        let probe = discover(loopback(), vec![datagram]);
        let output = devices(&["--json", "--seconds", "1", "--address", &probe.to_string()]);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{words}: {}",
            stderr(&output)
        );
        let lines = complaints(&output);
        assert_eq!(lines.len(), 1, "{words}: {lines:?}");
        assert!(
            lines[0].contains("127.0.0.1") && lines[0].contains(words),
            "{words}: {lines:?}"
        );
    }
}

#[test]
fn a_flood_of_answers_ends() {
    let socket = loopback();
    let target = socket.local_addr().expect("its address");
    std::thread::spawn(move || {
        let mut probe = vec![0; 65_535];
        let Ok((_, from)) = socket.recv_from(&mut probe) else {
            return;
        };
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && socket.send_to(&[b'<'; 60_000], from).is_ok() {
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    let output = devices(&["--seconds", "1", "--address", &target.to_string()]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(complaints(&output).len(), 1, "{}", stderr(&output));
}
