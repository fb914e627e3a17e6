//! The process killed at any moment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::disk::{LIVE, files, pictures};
use crate::support::{Process, mobilens, of_type, records, run, stderr, until};

/// How many runs are killed, and how many at a time.
const KILLS: u64 = 200;
const AT_A_TIME: u64 = 8;
/// No run record is longer.
const RUN_RECORD: u64 = 4000;

/// The whole boxes of an MP4 file, with their beginnings and lengths; what is cut off is left out.
fn boxes(file: &[u8]) -> Vec<(String, usize, usize)> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(head) = file.get(at..at + 8) {
        let length = u32::from_be_bytes(head[..4].try_into().expect("four bytes")) as usize;
        assert!(length >= 8, "a box of {length} bytes at {at}");
        if at + length > file.len() {
            break;
        }
        let kind = String::from_utf8_lossy(&head[4..]).into_owned();
        all.push((kind, at, length));
        at += length;
    }
    all
}

/// How many pictures the whole fragments of a recording have; their numbers must go up one by one.
fn pictures_of_whole_fragments(file: &[u8]) -> usize {
    let all = boxes(file);
    let mut count = 0;
    let mut number = 0;
    for pair in all.windows(2) {
        let [(moof, at, length), (mdat, ..)] = pair else {
            unreachable!("two");
        };
        if moof != "moof" || mdat != "mdat" {
            continue;
        }
        let body = &file[*at..at + length];
        let word = |kind: &[u8], offset: usize| {
            let found = body.windows(4).position(|w| w == kind).expect("is there") + 4 + offset;
            u32::from_be_bytes(body[found..found + 4].try_into().expect("four bytes"))
        };
        number += 1;
        assert_eq!(word(b"mfhd", 4), number, "fragments in order, none twice");
        count += word(b"trun", 4) as usize;
    }
    count
}

/// A file as it was before the kill: it may only have grown since.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = files(&dir.join("all"));
    all.push(dir.join("records.jsonl"));
    let read = |path: PathBuf| Some((path.clone(), fs::read(path).ok()?));
    all.into_iter().filter_map(read).collect()
}

fn arguments(dir: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = LIVE.iter().map(|&a| a.to_owned()).collect();
    for sink in [
        format!(
            "sinks.0={{jsonl: {{path: {}/records.jsonl}}}}",
            dir.display()
        ),
        format!(
            "sinks.1={{video: {{dir: {}/all, split_s: 2}}}}",
            dir.display()
        ),
    ] {
        arguments.extend(["--set".to_owned(), sink]);
    }
    arguments
}

/// A sequence of numbers that looks random (splitmix64).
pub fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Kills one run after another in the same folder; returns how many pictures were recorded.
fn kill_in(dir: &Path, worker: u64) -> usize {
    let mut seen = BTreeMap::new();
    for kill in 0..KILLS / AT_A_TIME {
        let mut command = mobilens();
        let command = command.args(arguments(dir));
        let mut process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        // One of four at any moment of its start, the others while they record; a moment after a look at
        // the files.
        let length = || fs::metadata(dir.join("records.jsonl")).map_or(0, |meta| meta.len());
        let before = length();
        if kill % 4 != 0 {
            until("a frame", || length() > before + RUN_RECORD);
        }
        std::thread::sleep(Duration::from_millis(random(worker * 1000 + kill) % 1500));
        seen.extend(snapshot(dir));
        std::thread::sleep(Duration::from_millis(1000 + random(kill) % 100));
        process.kill().expect("it runs");
        process.wait().expect("it ends");
        let now = snapshot(dir);
        for (path, before) in &seen {
            let name = path.display();
            let after = now.get(path).unwrap_or_else(|| panic!("{name} is gone"));
            // All but what was cut off by the kill before.
            let whole = if name.to_string().ends_with(".jsonl") {
                before
                    .iter()
                    .rposition(|b| *b == b'\n')
                    .map_or(0, |at| at + 1)
            } else {
                before.len()
            };
            assert!(after.starts_with(&before[..whole]), "{name} lost something");
        }
    }
    // A last run, which removes what the last kill has left of a line.
    let arguments = [
        arguments(dir),
        ["--frames", "5"].map(str::to_owned).to_vec(),
    ]
    .concat();
    let last = run(&arguments);
    assert_eq!(last.status.code(), Some(0), "{}", stderr(&last));
    let all = records(&fs::read(dir.join("records.jsonl")).expect("is there"));
    assert_eq!(of_type(&all, "end").len(), 1);
    let mut before = None;
    for record in &all {
        match record["type"].as_str() {
            Some("run") => before = None,
            Some("frame") => {
                let frame = record["frame"].as_u64();
                assert!(frame > before, "frame {frame:?} after {before:?}");
                before = frame;
            }
            _ => {}
        }
    }
    let mut recorded = 0;
    for path in files(&dir.join("all")) {
        let file = fs::read(&path).expect("is there");
        let whole = pictures_of_whole_fragments(&file);
        if whole > 0 {
            // Of a fragment that was cut off, some may be whole.
            assert!(pictures(&path) >= whole, "{}", path.display());
        }
        recorded += whole;
    }
    recorded
}

#[test]
fn a_kill_at_any_moment_tears_loses_and_doubles_nothing() {
    let all = tempfile::tempdir().expect("a folder");
    let recorded = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME)
            .map(|worker| {
                let dir = all.path().join(worker.to_string());
                fs::create_dir(&dir).expect("room");
                scope.spawn(move || kill_in(&dir, worker))
            })
            .collect();
        let of = workers.into_iter().map(|w| w.join().expect("no failure"));
        of.sum::<usize>()
    });
    eprintln!("{KILLS} kills, {recorded} pictures recorded");
    assert!(recorded > 1000, "{recorded}");
}
