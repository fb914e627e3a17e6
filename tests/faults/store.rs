//! The event store on a full disk, and killed at any moment.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::disk::{start_on_disk, with};
use crate::kill::random;
use crate::support::{PATIENCE, Process, mobilens, run, stderr, until};
use mobilens::store::{EventFilter, Store, StoredEvent};
use serde_json::Value;

fn store(dir: &Path) -> String {
    format!("sinks.1={{store: {{path: {}/events.db}}}}", dir.display())
}

/// Tracks of the live clip, with a look at each fifth frame.
fn arguments(dir: &Path) -> Vec<String> {
    let more = ["--set", "gating.interval={every: 5}", "--set", "track={}"];
    let mut arguments = with(&[store(dir)]);
    arguments.extend(more.map(str::to_owned));
    arguments
}

/// All rows of a store that must be whole.
fn rows(path: &Path) -> Vec<StoredEvent> {
    let store = Store::open_read_only(path).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(store.check_integrity().expect("it is read"), "ok");
    let mut rows = Vec::new();
    let all = |event| {
        rows.push(event);
        true
    };
    store
        .events(&EventFilter::default(), all)
        .expect("it is read");
    rows
}

/// The records of a run, and the tracks that were in them.
struct Seen {
    lines: Receiver<String>,
    tracks: BTreeSet<u64>,
}

impl Seen {
    /// Reads on until a record `is_wanted`.
    fn until(&mut self, what: &str, is_wanted: impl Fn(&Value, usize) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|e| panic!("{what}: {e}"));
            let record = self.take(&line);
            if is_wanted(&record, self.tracks.len()) {
                return;
            }
        }
    }

    fn take(&mut self, line: &str) -> Value {
        let record: Value = serde_json::from_str(line).expect("whole JSON");
        let tracks = record["tracks"].as_array().into_iter().flatten();
        self.tracks
            .extend(tracks.filter_map(|track| track["track_id"].as_u64()));
        record
    }
}

#[test]
fn a_full_disk_loses_no_event_and_nothing_is_torn() {
    let dir = tempfile::tempdir().expect("a folder");
    let start = start_on_disk(dir.path(), 4, "true", &arguments(dir.path()));
    let Some((mut process, disk)) = start else {
        return;
    };
    let mut seen = Seen {
        lines: process.lines(),
        tracks: BTreeSet::new(),
    };
    let of_store =
        |r: &Value, phase: &str| r["kind"] == "sink" && r["name"] == "store" && r["phase"] == phase;
    seen.until("tracks", |_, tracks| tracks > 2);
    for _ in 0..2 {
        disk.fill();
        seen.until("a store that fails", |r, _| of_store(r, "new"));
        let before = seen.tracks.len();
        seen.until("tracks on a full disk", |_, tracks| tracks > before);
        disk.empty();
        seen.until("a store that goes on", |r, _| of_store(r, "end"));
    }
    process.interrupt();
    while let Ok(line) = seen.lines.recv_timeout(PATIENCE) {
        seen.take(&line);
    }
    assert_eq!(process.ended().code(), Some(0));
    // SQLite wants a path that does not lead through the process that sees the disk.
    let copies = tempfile::tempdir().expect("a folder");
    for name in ["events.db", "events.db-wal"] {
        let copied = fs::copy(disk.place(name), copies.path().join(name));
        assert!(copied.is_ok() || name.ends_with("wal"), "{copied:?}");
    }
    let all = rows(&copies.path().join("events.db"));
    assert!(all.iter().all(|row| row.kind == "track" && row.ended));
    let mut stored: Vec<u64> = all.iter().filter_map(|row| row.track_id).collect();
    stored.sort_unstable();
    assert_eq!(stored.len(), all.len());
    assert!(
        stored.iter().eq(&seen.tracks),
        "each once: {stored:?}, not {:?}",
        seen.tracks
    );
    assert!(all.iter().all(|row| row.has_thumbnail));
}

/// Kills runs one after another that write to the same store; each time it must be whole, with all that was
/// there before.
fn kill_again_and_again(kills: u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let db = dir.path().join("events.db");
    let mut before = Vec::<StoredEvent>::new();
    for kill in 0..kills {
        let mut command = mobilens();
        let command = command.args(arguments(dir.path()));
        let mut process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        // One of four at any moment of its start, the others while they write.
        if kill % 4 != 0 {
            let last = before.iter().map(|row| row.id).max().unwrap_or(0);
            until("an event of this run", || {
                let store = Store::open_read_only(&db);
                let newest = EventFilter {
                    limit: Some(1),
                    ..EventFilter::default()
                };
                let mut id = 0;
                let read = store.and_then(|store| {
                    store.events(&newest, |event| {
                        id = event.id;
                        true
                    })
                });
                read.is_ok() && id > last
            });
        }
        std::thread::sleep(Duration::from_millis(random(kill) % 1500));
        process.kill().expect("it runs");
        process.wait().expect("it ends");
        if !db.exists() {
            continue;
        }
        // Killed before it was made, it is still empty, and the next run makes it.
        if fs::metadata(&db).expect("is there").len() == 0 && !log_of(&db) {
            continue;
        }
        let now = rows(&db);
        for row in &before {
            let same = now.iter().find(|other| other.id == row.id);
            let same = same.unwrap_or_else(|| panic!("event {} is gone after kill {kill}", row.id));
            assert_eq!((same.frame, same.start_ms), (row.frame, row.start_ms));
        }
        before = now;
    }
    let last = run(&[
        arguments(dir.path()),
        ["--frames", "25"].map(str::to_owned).to_vec(),
    ]
    .concat());
    assert_eq!(last.status.code(), Some(0), "{}", stderr(&last));
    let all = rows(&db);
    assert!(all.len() >= before.len() && all.iter().all(|row| row.ended));
    eprintln!("{kills} kills, {} events", all.len());
    assert!(all.len() as u64 > kills / 2);
}

fn log_of(db: &Path) -> bool {
    let log = db.with_extension("db-wal");
    log.metadata().is_ok_and(|log| log.len() > 0)
}

#[test]
fn a_store_whose_run_is_killed_is_whole() {
    kill_again_and_again(6);
}

#[test]
#[ignore = "takes some minutes"]
fn a_store_whose_run_is_killed_100_times_is_whole() {
    kill_again_and_again(100);
}
