//! The event store: `cargo bench --bench store`.
//!
//! A million events: queries by stream, label and day, 95th percentile. A pipeline on a live clip beside 500 inserts
//! a second into the store that it writes to, and without them: dropped frames.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mobilens::config::{self, Override};
use mobilens::flow::StopSignal;
use mobilens::pipeline::{self, RunOptions, RunReport};
use mobilens::store::{EventFilter, RunInfo, Store, StoredEvent, Thumbnail};

const EVENTS: u64 = 1_000_000;
const STREAMS: u64 = 8;
const LABELS: [&str; 6] = ["person", "car", "bicycle", "dog", "truck", "bus"];
const DAYS: u64 = 30;
const DAY_MS: i64 = 86_400_000;
const BEGIN_MS: i64 = 1_790_000_000_000;
const QUERIES: u64 = 1000;
/// What a page shows.
const PAGE: u64 = 100;
const FRAMES: u64 = 750;
const INSERTS_PER_S: u64 = 500;

/// A sequence of numbers that looks random (splitmix64).
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn stream(number: u64) -> String {
    format!("camera{}", number % STREAMS)
}

fn event(number: u64) -> StoredEvent {
    let start_ms = BEGIN_MS + (number * DAYS * DAY_MS as u64 / EVENTS) as i64;
    let label = LABELS[(random(number) % LABELS.len() as u64) as usize];
    StoredEvent {
        stream: stream(random(number + 1)),
        kind: "track".to_owned(),
        label: Some(label.to_owned()),
        score: Some(0.8),
        start_ms,
        end_ms: start_ms + 5000,
        ended: true,
        track_id: Some(number),
        frame: number,
        pts_ms: number as f64,
        bbox: Some([100.0, 100.0, 50.0, 80.0].into()),
        ..StoredEvent::default()
    }
}

fn insert(store: &mut Store, numbers: std::ops::Range<u64>, thumbnail: Option<&Thumbnail>) {
    let transaction = store.begin().expect("it can be written");
    let info = RunInfo {
        stream: "bench".to_owned(),
        is_live: true,
        ..RunInfo::default()
    };
    let (run, _) = transaction.add_run(&info).expect("room");
    let mut inserter = transaction.inserter().expect("it can be written");
    for number in numbers {
        let id = inserter.insert(run, &event(number)).expect("room");
        if let Some(thumbnail) = thumbnail {
            transaction.set_thumbnail(id, thumbnail).expect("room");
        }
    }
    drop(inserter);
    transaction.commit().expect("room");
}

fn queries(path: &Path) {
    let mut store = Store::open(path, false).expect("it is made");
    let began = Instant::now();
    for first in (0..EVENTS).step_by(10_000) {
        insert(&mut store, first..first + 10_000, None);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{EVENTS} events in {seconds:.1} s, {} MB",
        store.used_bytes().expect("it is read") / 1_000_000
    );
    drop(store);
    let store = Store::open_read_only(path).expect("it is there");
    for limit in [Some(PAGE), None] {
        let mut times: Vec<Duration> = Vec::new();
        let mut rows = 0;
        for query in 0..QUERIES {
            let since = BEGIN_MS + (random(query) % DAYS) as i64 * DAY_MS;
            let filter = EventFilter {
                stream: Some(stream(random(query + 1))),
                label: Some(LABELS[(random(query + 2) % LABELS.len() as u64) as usize].to_owned()),
                since_ms: Some(since),
                until_ms: Some(since + DAY_MS),
                limit,
                ..EventFilter::default()
            };
            let began = Instant::now();
            let count = |_| {
                rows += 1;
                true
            };
            store.events(&filter, count).expect("it is read");
            times.push(began.elapsed());
        }
        times.sort();
        let ms =
            |share: f64| times[(share * (times.len() - 1) as f64) as usize].as_secs_f64() * 1000.0;
        println!(
            "stream, label and day, {}: p50 {:.2} ms, p95 {:.2} ms, worst {:.2} ms ({} rows on average)",
            limit.map_or("all".to_owned(), |limit| format!("{limit} newest")),
            ms(0.5),
            ms(0.95),
            ms(1.0),
            rows / QUERIES
        );
    }
}

/// The counting pipeline on its clip as from a camera, writing to `path`.
fn run(path: &Path) -> RunReport {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/ssd_counting.yaml");
    let sink = format!("sinks.0={{store: {{path: {}}}}}", path.display());
    let overrides = ["source.video.pace=live", "source.video.loop=true", &sink];
    let overrides = overrides.map(|text| Override::parse(text).expect("a key and a value"));
    let loaded = config::load(&file, &overrides).expect("a shipped pipeline");
    let options = RunOptions {
        frames: Some(FRAMES),
        ..RunOptions::default()
    };
    pipeline::run(loaded, &options, &StopSignal::new()).expect("it runs")
}

fn report(name: &str, report: &RunReport) {
    let frames = &report.end.frames;
    println!(
        "{name}: {} frames captured, {} dropped; not stored: {:?}",
        frames.captured,
        frames.dropped.total(),
        report.sink_drops
    );
}

fn beside_a_pipeline(path: &Path) {
    drop(Store::open(path, true).expect("it is made"));
    report("pipeline alone", &run(path));
    let ends = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (ends, path) = (Arc::clone(&ends), path.to_owned());
        move || {
            let mut store = Store::open(&path, true).expect("it is there");
            let thumbnail = Thumbnail {
                width: 160,
                height: 160,
                jpeg: vec![7; 6000],
                ..Thumbnail::default()
            };
            let (began, batch) = (Instant::now(), INSERTS_PER_S / 2);
            let mut batches = 0;
            while !ends.load(Ordering::SeqCst) {
                insert(
                    &mut store,
                    batches * batch..(batches + 1) * batch,
                    Some(&thumbnail),
                );
                batches += 1;
                let due = began + Duration::from_millis(500 * batches);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            (batches * batch) as f64 / began.elapsed().as_secs_f64()
        }
    });
    let beside = run(path);
    ends.store(true, Ordering::SeqCst);
    let rate = writer.join().expect("no panic");
    report(
        &format!("beside {rate:.0} inserts/s with thumbnails of 6 kB"),
        &beside,
    );
}

fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    queries(&dir.path().join("queries.db"));
    beside_a_pipeline(&dir.path().join("beside.db"));
}
