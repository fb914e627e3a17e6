//! Who may see the page: tokens, hosts, guessing, sessions, and connections that only cost.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::support::{PATIENCE, Process, complaints, mobilens, until};

const TOKEN: &str = "open-sesame-1";
/// The address from which requests come, unless a test is about others.
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A run that serves the page on a free port and plays the bundled clip for ever.
pub struct Page {
    process: Process,
    pub address: SocketAddr,
    said: Arc<Mutex<String>>,
}

impl Page {
    /// `sink` are further settings of the web sink, such as `, token: ...`.
    pub fn start(sink: &str, more: &[&str]) -> Self {
        Self::started(&mut mobilens(), sink, more)
    }

    /// `limits` are arguments of `ulimit`.
    fn start_within(limits: &str, sink: &str, more: &[&str]) -> Self {
        let program = mobilens();
        let mut command = Command::new("sh");
        command
            .current_dir(program.get_current_dir().expect("the checkout"))
            .env_remove("DISPLAY")
            .args(["-c", &format!("ulimit {limits}; exec \"$@\""), "sh"])
            .arg(program.get_program());
        Self::started(&mut command, sink, more)
    }

    fn started(command: &mut Command, sink: &str, more: &[&str]) -> Self {
        let sink = format!("sinks.0={{web: {{bind: \"127.0.0.1:0\"{sink}}}}}");
        command
            .args(["pipelines/web_security.yaml", "--set", &sink])
            .args(["--output", "/dev/null"])
            .args(["--set", "source.camera={device: /dev/nowhere}"])
            .args(more)
            .env("MOBILENS_TEST_TOKEN", TOKEN);
        Self::of(command)
    }

    /// A run of `command`, which says where its page is.
    pub fn of(command: &mut Command) -> Self {
        let mut process = Process::start(command.stderr(Stdio::piped()));
        let mut stderr = BufReader::new(process.stderr.take().expect("piped"));
        let said = Arc::<Mutex<String>>::default();
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).expect("text") > 0, "it ended");
            said.lock().expect("no panic").push_str(&line);
            if let Some((_, rest)) = line.split_once("watch at http://") {
                let address = rest.trim().trim_end_matches('/').to_owned();
                break address.parse().expect("an address");
            }
        };
        let log = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                log.lock().expect("no panic").push_str(&(line + "\n"));
            }
        });
        Self {
            process,
            address,
            said,
        }
    }

    /// A connection from `source`, with a receive buffer of a few kilobytes if it is to stall.
    fn connect(&self, source: Ipv4Addr, stalls: bool) -> TcpStream {
        let SocketAddr::V4(address) = self.address else {
            panic!("IPv4");
        };
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
        let socket = socket.expect("a socket");
        if stalls {
            sockopt::set_socket_recv_buffer_size(&socket, 4096).expect("a small buffer");
        }
        rustix::net::bind(&socket, &SocketAddrV4::new(source, 0)).expect("a loopback address");
        rustix::net::connect(&socket, &address).expect("it listens");
        let socket = TcpStream::from(socket);
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket
    }

    /// The answer to `request`; empty if the connection is refused.
    fn ask_from(&self, source: Ipv4Addr, request: &str) -> String {
        let mut socket = self.connect(source, false);
        let mut bytes = Vec::new();
        // A connection that is refused may be reset at any of these.
        let _ = socket.write_all(request.as_bytes());
        let _ = socket.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The answer to a GET.
    pub fn get(&self, path: &str, headers: &str) -> String {
        self.get_from(HERE, path, headers)
    }

    fn get_from(&self, source: Ipv4Addr, path: &str, headers: &str) -> String {
        let host = self.address;
        self.ask_from(
            source,
            &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"),
        )
    }

    fn login(&self, token: &str, headers: &str) -> String {
        let (host, body) = (self.address, format!("token={token}"));
        let length = body.len();
        self.ask_from(
            HERE,
            &format!(
                "POST /login HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\
                 Content-Type: application/x-www-form-urlencoded\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            ),
        )
    }

    /// The session cookie of a login.
    fn session(&self) -> String {
        let answer = self.login(TOKEN, "");
        assert_eq!(status(&answer), 303, "{answer}");
        let cookie = answer.lines().find_map(|l| l.strip_prefix("set-cookie: "));
        let cookie = cookie.and_then(|cookie| cookie.split(';').next());
        cookie.expect("a cookie").to_owned()
    }

    fn metric(&self, line: &str, headers: &str) -> u64 {
        let text = self.get("/metrics", headers);
        let value = text.lines().find_map(|l| l.strip_prefix(line));
        let value = value.unwrap_or_else(|| panic!("no {line} in {text}"));
        value.trim().parse().expect("a count")
    }

    fn has_said(&self, words: &str) -> bool {
        self.said.lock().expect("no panic").contains(words)
    }

    /// Ends it, which must succeed.
    pub fn end(mut self) {
        self.process.interrupt();
        assert_eq!(self.process.ended().code(), Some(0));
    }
}

fn status(answer: &str) -> u16 {
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    status.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn a_secret_that_is_empty_is_refused_wherever_it_stands() {
    let refused = |command: &[&str], set: &str, secret: &str, words: &str| {
        let output = mobilens()
            .args(command)
            .args(["--set", set])
            .env("MOBILENS_TEST_SECRET", secret)
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{set}");
        let said = complaints(&output);
        assert!(said.iter().any(|l| l.contains(words)), "{set}: {said:?}");
    };
    let check = ["check", "pipelines/web_security.yaml"];
    let run = [
        "pipelines/web_security.yaml",
        "--input",
        "assets/street.mp4",
    ];
    let empty = "environment variable MOBILENS_TEST_SECRET is empty";
    for set in [
        "sinks.0={web: {token: '${MOBILENS_TEST_SECRET}'}}",
        "sinks.0={mqtt: {url: 'mqtt://cam:${MOBILENS_TEST_SECRET}@127.0.0.1'}}",
        "sinks.0={webhook: {url: 'http://127.0.0.1/${MOBILENS_TEST_SECRET}'}}",
        "sinks.0={webhook: {url: 'http://127.0.0.1/', headers: {Authorization: 'Bearer ${MOBILENS_TEST_SECRET}'}}}",
        "source={rtsp: {url: 'rtsp://cam:${MOBILENS_TEST_SECRET}@127.0.0.1/1'}}",
        "source={video: {path: 'http://cam:${MOBILENS_TEST_SECRET}@127.0.0.1/1'}}",
    ] {
        refused(&check, set, "", empty);
        refused(&check, set, "  ", empty);
    }
    let token = "sinks.0={web: {token: '${MOBILENS_TEST_SECRET}'}}";
    refused(&run, token, "", empty);
    refused(&run, token, "1234567", "the token has 7 characters");
    let open = "sinks.0={web: {hosts: ['*']}}";
    refused(&check, open, "", "any host needs a token");
}

#[test]
fn only_a_session_or_the_token_opens_the_page() {
    let page = Page::start(", token: \"${MOBILENS_TEST_TOKEN}\"", &[]);
    let hex: String = TOKEN.bytes().map(|byte| format!("{byte:02x}")).collect();
    for cookie in [
        "mobilens=",
        "mobilens=00",
        &format!("mobilens={hex}"),
        TOKEN,
    ] {
        let answer = page.get("/snapshot.jpg", &format!("Cookie: {cookie}\r\n"));
        assert_eq!(status(&answer), 401, "{cookie}: {answer}");
    }
    assert_eq!(
        status(&page.get("/metrics", "Authorization: Bearer \r\n")),
        401
    );
    let (one, other) = (page.session(), page.session());
    assert_ne!(one, other, "a session is not random");
    assert!(!one.contains(&hex) && !one.contains(TOKEN), "{one}");
    for session in [one, other] {
        let answer = page.get("/", &format!("Cookie: {session}\r\n"));
        assert_eq!(status(&answer), 200, "{answer}");
    }
}

#[test]
fn guesses_wait_are_counted_and_logged_and_harm_nobody_else() {
    let page = Page::start(", token: \"${MOBILENS_TEST_TOKEN}\"", &[]);
    let session = format!("Cookie: {}\r\n", page.session());
    let answers: Vec<u16> = (0..150)
        .map(|n| match n % 2 {
            0 => status(&page.login(&format!("guess-{n}"), "")),
            _ => status(&page.get("/events", &bearer(&format!("guess-{n}")))),
        })
        .collect();
    let looked_at = answers.iter().filter(|status| **status == 401).count();
    let refused = answers.iter().filter(|status| **status == 429).count();
    assert_eq!(looked_at + refused, answers.len(), "{answers:?}");
    assert!(
        (5..40).contains(&looked_at),
        "{looked_at} guesses were looked at"
    );
    // Others, and who was there before, are served all the time.
    let elsewhere = page.get_from(ELSEWHERE, "/metrics", &bearer(TOKEN));
    assert_eq!(status(&elsewhere), 200, "{elsewhere}");
    let counted = |reason: &str| {
        let line = format!("mobilens_web_auth_failures_total{{reason=\"{reason}\"}}");
        page.metric(&line, &session) as usize
    };
    assert_eq!(
        (counted("wrong_token"), counted("rate_limited")),
        (looked_at, refused)
    );
    assert!(page.has_said("login failed: wrong token") && page.has_said("127.0.0.1"));
    // The right token opens again, after a while.
    until("the end of the delay", || {
        let answer = page.get("/metrics", &bearer(TOKEN));
        assert!(
            status(&answer) == 200 || answer.contains("retry-after: "),
            "{answer}"
        );
        status(&answer) == 200
    });
}

#[test]
fn a_host_that_is_not_known_is_refused() {
    let page = Page::start(", hosts: [cams.example.org]", &[]);
    let asked = |host: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        status(&page.ask_from(HERE, &request))
    };
    for host in [
        "127.0.0.1",
        "localhost:8080",
        "[::1]:80",
        "cams.example.org",
        "CAMS.example.org:80",
    ] {
        assert_eq!(asked(host), 200, "{host}");
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "x.cams.example.org",
        "",
    ] {
        assert_eq!(asked(host), 421, "{host}");
    }
    let absolute =
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&page.ask_from(HERE, absolute)), 421);
    let line = "mobilens_web_requests_refused_total{reason=\"host\"}";
    assert_eq!(page.metric(line, ""), 5);
    until("a line in the log", || page.has_said("evil.example"));
}

#[test]
fn other_pages_can_neither_log_in_nor_embed_anything() {
    let page = Page::start(", token: \"${MOBILENS_TEST_TOKEN}\"", &[]);
    for headers in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: http://127.0.0.1\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        let answer = page.login(TOKEN, headers);
        assert_eq!(status(&answer), 403, "{headers}: {answer}");
        assert!(!answer.contains("set-cookie"), "{headers}: {answer}");
    }
    let own = page.login(TOKEN, &format!("Origin: http://{}\r\n", page.address));
    assert_eq!(status(&own), 303, "{own}");
    let session = format!("Cookie: {}\r\n", page.session());
    for path in [
        "/",
        "/login",
        "/page.js",
        "/page.css",
        "/healthz",
        "/metrics",
        "/nothing",
    ] {
        let answer = page.get(path, &session).to_ascii_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'",
            "cross-origin-resource-policy: same-origin",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
        ] {
            assert!(answer.contains(header), "{path} lacks {header}: {answer}");
        }
        assert!(!answer.contains("unsafe-inline"), "{path}");
    }
    for path in ["/", "/login"] {
        let html = page.get(path, &session);
        for inline in ["<style", "<script>", " style=", " onclick="] {
            assert!(!html.contains(inline), "{path} has {inline}");
        }
    }
}

#[test]
fn a_head_that_is_too_long_or_never_ends_is_given_up() {
    let page = Page::start("", &[]);
    let begun = |more: &str| {
        let mut socket = page.connect(HERE, false);
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{more}");
        let _ = socket.write_all(head.as_bytes());
        let mut bytes = Vec::new();
        // It ends; a connection closed with bytes left to read is reset.
        if let Err(error) = socket.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let long = begun(&format!("X-Long: {}", "a".repeat(20_000)));
    assert!(long.is_empty() || status(&long) == 431, "{long}");
    assert_eq!(begun("X-Unfinished: "), "");
    // A connection that waits for a second request.
    let again = "Connection: keep-alive\r\n\r\n";
    assert_eq!(status(&begun(again)), 200);
    page.end();
}

#[test]
fn idle_strangers_leave_descriptors_for_recordings() {
    let dir = tempfile::tempdir().expect("a folder");
    let video = format!(
        "sinks.1={{video: {{dir: {}, split_s: 1}}}}",
        dir.path().display()
    );
    // The soft limit is raised to the hard one.
    let page = Page::start_within("-Sn 64 && ulimit -Hn 128", "", &["--set", &video]);
    let recordings = || files_below(dir.path());
    until("a recording", || recordings() > 0);
    let limits = format!("/proc/{}/limits", page.process.id());
    let limits = std::fs::read_to_string(limits).expect("limits");
    let files = limits.lines().find(|l| l.starts_with("Max open files"));
    let soft = files.and_then(|line| line.split_whitespace().nth(3));
    assert_eq!(soft, Some("128"));
    let mut strangers: Vec<TcpStream> = (0..200).map(|_| page.connect(HERE, false)).collect();
    let before = recordings();
    until("further recordings", || recordings() >= before + 3);
    // They are shown out, without having sent anything.
    for stranger in &mut strangers {
        match stranger.read(&mut [0]) {
            Ok(bytes) => assert_eq!(bytes, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    until("the page", || status(&page.get("/", "")) == 200);
    let refused = page.metric(
        "mobilens_web_connections_refused_total{reason=\"total\"}",
        "",
    );
    assert!(refused > 0);
    page.end();
}

fn files_below(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let counts = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_below(&entry.path()),
        _ => 1,
    });
    counts.sum()
}

#[test]
fn one_address_leaves_connections_for_the_others() {
    let page = Page::start(", max_connections_per_address: 3", &[]);
    let idle: Vec<TcpStream> = (0..3).map(|_| page.connect(HERE, false)).collect();
    until("no place for a fourth", || page.get("/", "").is_empty());
    assert_eq!(status(&page.get_from(ELSEWHERE, "/", "")), 200);
    drop(idle);
    until("a place", || status(&page.get("/", "")) == 200);
    let refused = "mobilens_web_connections_refused_total{reason=\"address\"}";
    assert!(page.metric(refused, "") > 0);
}

#[test]
fn a_watcher_who_reads_nothing_loses_the_place() {
    let page = Page::start(", max_watchers: 1", &[]);
    let watch = format!("GET /live.mjpeg HTTP/1.1\r\nHost: {}\r\n\r\n", page.address);
    let mut stalled = page.connect(HERE, true);
    stalled.write_all(watch.as_bytes()).expect("it reads");
    let mut begin = [0; 12];
    stalled.read_exact(&mut begin).expect("an answer");
    assert_eq!(&begin, b"HTTP/1.1 200");
    until("a place for another", || {
        let mut other = page.connect(HERE, false);
        other.write_all(watch.as_bytes()).expect("it reads");
        other.read_exact(&mut begin).is_ok() && &begin == b"HTTP/1.1 200"
    });
    drop(stalled);
}
