//! The web page's server, asked by real clients: raw sockets here, a browser in `tests/page.sh`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;

use crate::support::{PATIENCE, Process, complaints, mobilens, run, until};

/// A run that listens on a free port; ended when the test is.
pub struct Running {
    pub process: Process,
    pub address: SocketAddr,
}

impl Running {
    /// Plays the bundled clip for ever with `sink` as the web sink's settings.
    pub fn start(sink: &str, more: &[&str]) -> Self {
        let sink = format!("sinks.0={{web: {{bind: \"127.0.0.1:0\"{sink}}}}}");
        let mut process = Process::start(
            mobilens()
                .args([
                    "pipelines/web_security.yaml",
                    "--set",
                    &sink,
                    "--output",
                    "/dev/null",
                ])
                // No camera: the bundled clip is played for ever, as a camera would give it.
                .args(["--set", "source.camera={device: /dev/nowhere}"])
                .args(more)
                .env("MOBILENS_TEST_TOKEN", "open sesame; ü=1")
                .stdout(Stdio::null())
                .stderr(Stdio::piped()),
        );
        let mut said = BufReader::new(process.stderr.take().expect("piped"));
        let address = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).expect("text") > 0, "it ended");
            if let Some((_, rest)) = line.split_once("http://") {
                let address = rest.trim().trim_end_matches('/').to_owned();
                break address.parse().expect("an address");
            }
        };
        // Nobody waits for a reader of what it says.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { process, address }
    }

    pub fn ask(&self, request: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket.write_all(request.as_bytes()).expect("it reads");
        socket
    }

    /// The whole answer to a request that ends.
    pub fn answer(&self, path: &str, headers: &str) -> String {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        let mut bytes = Vec::new();
        self.ask(&request)
            .read_to_end(&mut bytes)
            .expect("an answer");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Asks for moving pictures; whether there was a place to watch.
    fn watch(&self) -> Option<TcpStream> {
        let mut socket = self.ask("GET /live.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n");
        match &status(&mut socket) {
            b"HTTP/1.1 200" => Some(socket),
            b"HTTP/1.1 503" => None,
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }

    /// Waits until so many more frames have been through the pipeline.
    pub fn goes_on(&self, frames: f64) {
        let before = self.metric(EMITTED);
        until("more frames", || self.metric(EMITTED) >= before + frames);
    }

    /// The value of a metric, which is there once the stream runs.
    fn metric(&self, line: &str) -> f64 {
        let mut value = None;
        until(line, || {
            let text = self.answer("/metrics", "");
            let found = text.lines().find_map(|l| l.strip_prefix(line));
            value = found.map(|text| text.trim().parse().expect("a number"));
            value.is_some()
        });
        value.expect("found")
    }
}

/// The beginning of an answer.
fn status(socket: &mut TcpStream) -> [u8; 12] {
    let mut status = [0; 12];
    socket.read_exact(&mut status).expect("an answer");
    status
}

const EMITTED: &str = "mobilens_frames_total{stream=\"web_security\",fate=\"emitted\"}";

#[test]
fn pictures_records_and_metrics_are_served() {
    let running = Running::start("", &[]);
    until("a healthy stream", || {
        let answer = running.answer("/healthz", "");
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        let health: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(health["streams"][0]["stream"], "web_security");
        answer.starts_with("HTTP/1.1 200") && health["status"] == "ok"
    });
    let page = running.answer("/", "");
    assert!(
        page.contains(">[\"web_security\"]<") && page.contains("X-Frame-Options")
            || page.contains("x-frame-options")
    );
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "an outside host"
    );
    // Pictures that move, sooner or later.
    let mut live = BufReader::new(
        running.ask("GET /live.mjpeg?show=boxes HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    );
    let mut pictures: Vec<Vec<u8>> = Vec::new();
    let mut line = String::new();
    while pictures.len() < 5 || pictures.iter().all(|picture| *picture == pictures[0]) {
        line.clear();
        live.read_line(&mut line).expect("a line");
        if let Some(length) = line.strip_prefix("Content-Length: ") {
            let mut jpeg = vec![0; length.trim().parse().expect("a number")];
            live.read_line(&mut line).expect("a blank line");
            live.read_exact(&mut jpeg).expect("a picture");
            let picture = image::load_from_memory(&jpeg).expect("a JPEG");
            assert_eq!((picture.width(), picture.height()), (640, 272));
            pictures.push(jpeg);
            assert!(pictures.len() < 1000, "a still picture");
        }
    }
    // Records as they are made.
    let mut events = BufReader::new(running.ask("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let frame = loop {
        line.clear();
        events.read_line(&mut line).expect("a line");
        if let Some(record) = line
            .strip_prefix("data: ")
            .filter(|r| r.contains("\"frame\",\"stream\""))
        {
            break serde_json::from_str::<serde_json::Value>(record).expect("a record");
        }
    };
    assert_eq!(frame["stream"], "web_security");
    let inferred = "mobilens_latency_seconds_count{stream=\"web_security\",stage=\"infer\"}";
    for line in [EMITTED, inferred] {
        until(line, || running.metric(line) > 5.0);
    }
    until("a snapshot", || {
        running.answer("/snapshot.jpg", "").contains("image/jpeg")
    });
}

#[test]
fn without_the_token_nothing_is_shown() {
    let running = Running::start(", token: \"${MOBILENS_TEST_TOKEN}\"", &[]);
    for path in ["/", "/live.mjpeg", "/snapshot.jpg", "/events", "/metrics"] {
        let answer = running.answer(path, "");
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
        let wrong = running.answer(
            path,
            "Authorization: Bearer open\r\nCookie: mobilens=00zz\r\n",
        );
        assert!(wrong.starts_with("HTTP/1.1 401"), "{path}: {wrong}");
    }
    let browser = running.answer("/", "Accept: text/html\r\n");
    assert!(browser.starts_with("HTTP/1.1 303"), "{browser}");
    until("health without a token", || {
        let answer = running.answer("/healthz", "");
        assert!(!answer.contains("web_security"), "{answer}");
        answer.starts_with("HTTP/1.1 200")
    });
    let login = |token: &str| {
        let body = format!("token={token}");
        let mut text = String::new();
        let request = format!(
            "POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        running
            .ask(&request)
            .read_to_string(&mut text)
            .expect("text");
        text
    };
    assert!(login("guess").starts_with("HTTP/1.1 401"));
    let entered = login("open+sesame%3B+%C3%BC%3D1");
    assert!(entered.starts_with("HTTP/1.1 303"), "{entered}");
    let cookie = entered
        .lines()
        .find_map(|l| l.strip_prefix("set-cookie: "))
        .expect("a cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
    let value = cookie.split(';').next().expect("a value");
    let page = running.answer("/", &format!("Cookie: other=1; {value}\r\n"));
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let bearer = running.answer("/metrics", "Authorization: Bearer open sesame; ü=1\r\n");
    assert!(bearer.starts_with("HTTP/1.1 200") || bearer.starts_with("HTTP/1.1 401"));
}

#[test]
fn slow_and_many_watchers_hold_nobody_up() {
    let running = Running::start(", max_watchers: 40", &[]);
    running.goes_on(5.0);
    // Two hundred come, most are sent away, the others never read.
    let mut watchers: Vec<TcpStream> = (0..200)
        .map(|_| running.ask("GET /live.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        .collect();
    running.goes_on(50.0);
    let admitted = watchers
        .iter_mut()
        .map(status)
        .filter(|status| status == b"HTTP/1.1 200");
    assert_eq!(admitted.count(), 40);
    drop(watchers);
    // All places become free again: forty watch at the same time.
    let mut watching = Vec::new();
    until("forty places", || {
        watching.extend(running.watch());
        watching.len() == 40
    });
    assert!(running.watch().is_none(), "a place too many");
}

#[test]
fn what_listens_where_it_should_not_is_refused() {
    let refused = |sink: &str, words: &str| {
        let sink = format!("sinks.0={{web: {sink}}}");
        let output = run(&[
            "pipelines/web_security.yaml",
            "--input",
            "assets/street.mp4",
            "--set",
            &sink,
        ]);
        assert_eq!(output.status.code(), Some(2), "{sink}");
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(words), "{said:?}");
    };
    refused("{bind: \"0.0.0.0:8080\"}", "needs a token");
    refused("{bind: \"localhost\"}", "expected an address and port");
    refused(
        "{token: \"${MOBILENS_NOT_SET}\"}",
        "environment variable MOBILENS_NOT_SET is not set",
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let bind = taken.local_addr().expect("its address").to_string();
    let sink = format!("sinks.0={{web: {{bind: \"{bind}\"}}}}");
    let output = run(&[
        "pipelines/web_security.yaml",
        "--input",
        "assets/street.mp4",
        "--set",
        &sink,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complaints(&output)[0].contains("in use"),
        "{:?}",
        complaints(&output)
    );
}

#[test]
fn a_run_with_watchers_ends_when_it_is_told() {
    let mut running = Running::start("", &[]);
    let mut watcher = running.ask("GET /live.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut listener = running.ask("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for socket in [&mut watcher, &mut listener] {
        assert_eq!(&status(socket), b"HTTP/1.1 200");
    }
    running.process.interrupt();
    assert_eq!(running.process.ended().code(), Some(0));
}
