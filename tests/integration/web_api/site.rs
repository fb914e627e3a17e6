//! A run with a store of which all rows are known, and its answers.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::web::Running;
use mobilens::store::{RunInfo, Store, StoredEvent, Thumbnail};

/// In 2026.
const LIVE_MS: i64 = 1_790_000_000_000;
pub const STREAM: &str = "web_security";

/// An answer in its parts.
pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The one line that says why there is nothing else.
    pub fn line(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{}", self.text());
        let text = self.text();
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
        text.trim()
    }
}

/// A run with a store, and the folder that it is in.
pub struct Site {
    pub running: Running,
    dir: tempfile::TempDir,
}

impl Site {
    /// A run on a store that has events of before; `sink` are more settings of the page.
    pub fn start(sink: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fill(dir.path());
        let place = |name: &str| dir.path().join(name).display().to_string();
        let store = format!(
            "sinks.1={{store: {{path: {}, keep_days: 100000}}}}",
            place("events.db")
        );
        let clips = format!(
            "sinks.2={{clips: {{dir: {}, before_ms: 0, after_ms: 0}}}}",
            place("clips")
        );
        let running = Running::start(sink, &["--set", &store, "--set", &clips]);
        Self { running, dir }
    }

    pub fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        );
        answer(&self.running, &request)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// The numbers of the events of an answer, and the next page's.
    pub fn ids(&self, query: &str) -> (Vec<i64>, Option<i64>) {
        let page = self.get(&format!("/api/v1/events?{query}")).json();
        let events = page["events"].as_array().expect("a list").iter();
        let ids = events.map(|event| event["id"].as_i64().expect("a number"));
        (ids.collect(), page["next"].as_i64())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The answer to a request.
pub fn answer(running: &Running, request: &str) -> Answer {
    let mut bytes = Vec::new();
    running
        .ask(request)
        .read_to_end(&mut bytes)
        .expect("an answer");
    let at = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8_lossy(&bytes[..at]).to_ascii_lowercase();
    let mut body = bytes.split_off(at + 4);
    if head.contains("transfer-encoding: chunked") {
        body = joined(&body);
    }
    Answer {
        status: head[9..12].parse().expect("a status"),
        head,
        body,
    }
}

/// The chunks of a body.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunks
            .windows(2)
            .position(|two| two == b"\r\n")
            .expect("a size");
        let size = std::str::from_utf8(&chunks[..end]).expect("a number");
        let size = usize::from_str_radix(size, 16).expect("a number");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 4 + size..];
    }
}

/// Bytes of a file that is no video, which nobody looks into.
pub fn content() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i % 251) as u8).collect()
}

/// A store with 120 badgers on the stream of the page (ids 1 to 120, a minute apart), a fox on another stream
/// (121), a stay in a replay (122), and events with files (123 to 129).
fn fill(dir: &Path) {
    fs::create_dir_all(dir.join("clips")).expect("room");
    fs::write(dir.join("clips/a.mp4"), content()).expect("room");
    fs::write(dir.join("clips/a.txt"), "text").expect("room");
    fs::write(dir.join("outside.mp4"), "outside").expect("room");
    std::os::unix::fs::symlink(dir.join("outside.mp4"), dir.join("clips/link.mp4")).expect("room");
    fs::create_dir(dir.join("clips/folder.mp4")).expect("room");
    let event = |stream: &str, label: &str, start_ms: i64| StoredEvent {
        stream: stream.to_owned(),
        kind: "track".to_owned(),
        label: Some(label.to_owned()),
        start_ms,
        end_ms: start_ms + 1500,
        ended: true,
        score: Some(0.75),
        ..StoredEvent::default()
    };
    let mut all: Vec<StoredEvent> = (0..120)
        .map(|i| event(STREAM, "badger", LIVE_MS + i * 60_000))
        .collect();
    all[10].zone = Some("den, \"north\"".to_owned());
    all[10].kind = "zone".to_owned();
    all[20]
        .attributes
        .insert("mood".to_owned(), "Sleepy".to_owned());
    // Two that began together.
    all[31].start_ms = all[30].start_ms;
    all.push(event("attic", "fox", LIVE_MS));
    all.push(event(STREAM, "hare", 61_000));
    for clip in [
        "clips/a.mp4",
        "clips/gone.mp4",
        "clips/../outside.mp4",
        "clips/link.mp4",
        "/etc/passwd",
        "clips/a.txt",
        "clips/folder.mp4",
    ] {
        let mut with_clip = event(STREAM, "otter", LIVE_MS);
        with_clip.clip = Some(clip.to_owned());
        with_clip.clip_ms = Some(500.0);
        all.push(with_clip);
    }
    let mut store = Store::open(&dir.join("events.db"), false).expect("it is made");
    let transaction = store.begin().expect("it can be written");
    let info = RunInfo {
        stream: STREAM.to_owned(),
        is_live: true,
        ..RunInfo::default()
    };
    let (run, _) = transaction.add_run(&info).expect("room");
    let mut inserter = transaction.inserter().expect("it can be written");
    for (event, id) in all.iter().zip(1..) {
        assert_eq!(inserter.insert(run, event).expect("room"), id);
    }
    let thumbnail = Thumbnail {
        width: 3,
        height: 2,
        jpeg: vec![0xff, 0xd8, 7, 0, 13, 10],
        ..Thumbnail::default()
    };
    drop(inserter);
    for id in [1, 121] {
        transaction.set_thumbnail(id, &thumbnail).expect("room");
    }
    transaction.commit().expect("room");
}
