//! Recordings and JSON lines on disks that are full, read-only, or lose power.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use crate::support::{PATIENCE, Process, mobilens, of_type, records, run, skip, stderr, until};
use mobilens::capture::{Captured, Source, VideoSource};
use mobilens::flow::StopSignal;
use serde_json::Value;

/// The bundled clip as from a camera, without end and with little work for the network.
pub const LIVE: [&str; 7] = [
    "pipelines/ssd_replay.yaml",
    "--set",
    "source.video.pace=live",
    "--set",
    "source.video.loop=true",
    "--set",
    "gating.interval={every: 25}",
];

/// The files of a folder, by name.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.sort();
    files
}

/// How many pictures of a recording can be decoded.
pub fn pictures(path: &Path) -> usize {
    let mut source = VideoSource::open(path).unwrap_or_else(|e| panic!("{e}"));
    let stop = StopSignal::new();
    let mut count = 0;
    while let Ok(Captured::Frame { .. }) = source.next(&stop) {
        count += 1;
    }
    count
}

/// Records until one that `is_wanted`.
fn wait_for(
    lines: &Receiver<String>,
    what: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left);
        let line = line.unwrap_or_else(|e| panic!("{what}: {e} after {} records", seen.len()));
        let record: Value = serde_json::from_str(&line).expect("whole JSON");
        let is_last = is_wanted(&record);
        seen.push(record);
        if is_last {
            return seen;
        }
    }
}

/// Waits until sink `name` has an event in `phase`, and frames have gone on after it.
fn wait_for_sink(lines: &Receiver<String>, name: &str, phase: &str) {
    let what = format!("event {phase} of {name}");
    wait_for(lines, &what, |r| {
        r["kind"] == "sink" && r["name"] == name && r["phase"] == phase
    });
    for _ in 0..10 {
        wait_for(lines, "a frame after it", |r| r["type"] == "frame");
    }
}

/// A small disk of its own.
pub struct Disk {
    dir: PathBuf,
    /// Keeps it in being after the process that mounted it.
    _open: File,
}

/// Starts the program with a disk of `mb` megabytes at `dir`, which only it sees; `begin` is a shell
/// command that runs before it.
pub fn start_on_disk(
    dir: &Path,
    mb: u32,
    begin: &str,
    arguments: &[String],
) -> Option<(Process, Disk)> {
    let probe = Command::new("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skip("unshare cannot mount a tmpfs in a namespace");
        return None;
    }
    let script = format!(
        "mount -t tmpfs -o size={mb}m none '{0}' && cd '{0}' && {begin} && cd - >/dev/null && exec \"$@\"",
        dir.display()
    );
    let program = mobilens();
    let mut command = Command::new("unshare");
    command
        .args(["-rm", "sh", "-c", &script, "sh"])
        .arg(program.get_program())
        .args(arguments)
        .current_dir(crate::support::root())
        .env_remove("DISPLAY")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let process = Process::start(&mut command);
    let inside = PathBuf::from(format!("/proc/{}/root{}", process.id(), dir.display()));
    // The program's own name tells that the disk is there.
    let name = format!("/proc/{}/comm", process.id());
    until("the program", || {
        fs::read_to_string(&name).is_ok_and(|name| name.starts_with("mobilens"))
    });
    let open = File::open(inside).expect("the disk");
    let disk = Disk {
        dir: PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())),
        _open: open,
    };
    Some((process, disk))
}

impl Disk {
    /// A file on it.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut filler = File::options()
            .create(true)
            .append(true)
            .open(self.place("filler"))
            .expect("a name is free");
        for size in [65_536, 4096, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn empty(&self) {
        fs::remove_file(self.place("filler")).expect("is there");
    }
}

fn video(dir: &Path, more: &str) -> String {
    format!(
        "sinks.1={{video: {{dir: {}, split_s: 2, {more}}}}}",
        dir.display()
    )
}

/// The arguments of a run with the live clip and these sinks.
pub fn with(sinks: &[String]) -> Vec<String> {
    let mut arguments: Vec<String> = LIVE.iter().map(|&a| a.to_owned()).collect();
    for sink in sinks {
        arguments.extend(["--set".to_owned(), sink.clone()]);
    }
    arguments
}

#[test]
fn a_full_disk_stops_nothing_and_writing_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a folder");
    // Full from the start, but for a few kilobytes.
    let begin = "head -c 6283264 /dev/zero >filler; mkdir all";
    let sinks = [
        video(&dir.path().join("all"), "min_free_mb: 0, max_mb: 2"),
        format!(
            "sinks.2={{jsonl: {{path: {}/records.jsonl}}}}",
            dir.path().display()
        ),
    ];
    let Some((mut process, disk)) = start_on_disk(dir.path(), 6, begin, &with(&sinks)) else {
        return;
    };
    disk.fill();
    let lines = process.lines();
    wait_for_sink(&lines, "video", "new");
    disk.empty();
    wait_for_sink(&lines, "video", "end");
    let newest = || files(&disk.place("all")).pop();
    let first = newest();
    until("another file", || newest() > first);
    disk.fill();
    wait_for_sink(&lines, "jsonl", "new");
    disk.empty();
    // Room that the video sink made may have helped before; what counts is that records come again.
    let seen = wait_for(&lines, "a frame", |r| r["type"] == "frame");
    let now = seen.last().and_then(|r| r["frame"].as_u64());
    until("records after the outage", || {
        let text = fs::read_to_string(disk.place("records.jsonl")).unwrap_or_default();
        let whole = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        whole.filter_map(|r| r["frame"].as_u64()).max() >= now
    });
    process.interrupt();
    assert_eq!(process.ended().code(), Some(0));
    let recordings = files(&disk.place("all"));
    assert!(!recordings.is_empty());
    for path in recordings {
        // Whole fragments only, and no file without any.
        assert!(pictures(&path) > 0, "{}", path.display());
    }
    let kept = records(&fs::read(disk.place("records.jsonl")).expect("is there"));
    assert_eq!(kept[0]["type"], "run");
    assert_eq!(kept.last().expect("records")["type"], "end");
    let frames = of_type(&kept, "frame");
    let numbers: Vec<_> = frames.iter().map(|r| r["frame"].as_u64()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "nothing twice");
}

#[test]
fn permission_and_descriptors_that_are_missing_stop_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let all = dir.path().join("all");
    fs::create_dir(&all).expect("room");
    let sinks = [video(&all, "min_free_mb: 0")];
    // Root without its power over files.
    let mut command = Command::new("setpriv");
    let is_root = Command::new("id").arg("-u").output();
    let is_root = is_root.is_ok_and(|output| output.stdout == b"0\n");
    if is_root {
        command.args(["--bounding-set", "-dac_override,-dac_read_search"]);
    }
    let program = mobilens();
    command
        .arg(program.get_program())
        .args(with(&sinks))
        .current_dir(crate::support::root())
        .env_remove("DISPLAY")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let prlimit = Command::new("prlimit").arg("--version").output().is_ok();
    if !prlimit || Command::new("setpriv").arg("--version").output().is_err() {
        skip("util-linux (setpriv, prlimit) is not installed");
        return;
    }
    let mut process = Process::start(&mut command);
    let lines = process.lines();
    until("a recording", || !files(&all).is_empty());
    let mode = |mode| fs::set_permissions(&all, fs::Permissions::from_mode(mode)).expect("ours");
    mode(0o555);
    wait_for_sink(&lines, "video", "new");
    mode(0o755);
    wait_for_sink(&lines, "video", "end");
    let limit = |soft: String| {
        let id = process.id().to_string();
        let set = Command::new("prlimit")
            .args(["--pid", &id, &format!("--nofile={soft}:")])
            .status();
        assert!(set.expect("prlimit starts").success());
    };
    let before = fs::read_to_string(format!("/proc/{}/limits", process.id())).expect("is there");
    let line = before
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let before = line
        .and_then(|l| l.split_whitespace().nth(3))
        .expect("a limit");
    // Standard streams only.
    limit("3".to_owned());
    wait_for_sink(&lines, "video", "new");
    limit(before.to_owned());
    wait_for_sink(&lines, "video", "end");
    process.interrupt();
    assert_eq!(process.ended().code(), Some(0));
    for path in files(&all) {
        assert!(pictures(&path) > 0, "{}", path.display());
    }
}

#[test]
fn on_error_may_disable_a_sink_or_end_the_run() {
    let frames = ["--frames", "60"].map(str::to_owned);
    let full = |more: &str| vec![format!("sinks.1={{jsonl: {{path: /dev/full, {more}}}}}")];
    let disabled = run(&[with(&full("on_error: disable")).as_slice(), &frames].concat());
    assert_eq!(disabled.status.code(), Some(0), "{}", stderr(&disabled));
    let got = records(&disabled.stdout);
    assert_eq!(got.last().expect("records")["type"], "end");
    let ended = run(&[with(&full("on_error: end")).as_slice(), &frames].concat());
    assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("cannot write /dev/full"));
    // A replay cannot lose anything unnoticed, unless it is told so.
    let mut replay = vec!["pipelines/ssd_replay.yaml", "--frames", "5", "--set"];
    let sink = &full("sync: true")[0];
    replay.push(sink);
    let ended = run(&replay);
    assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
}

#[test]
fn a_restart_continues_the_records_of_a_live_source() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("records.jsonl");
    let output = ["--frames", "20", "--output", path.to_str().expect("UTF-8")];
    let live = |more: &[&str]| {
        let ended = run(&[&LIVE, output.as_slice(), more].concat());
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        fs::read(&path).expect("is there")
    };
    let first = live(&[]);
    let second = live(&[]);
    assert!(second.starts_with(&first) && second.len() > first.len());
    let kept = records(&second);
    assert_eq!(of_type(&kept, "run").len(), 2);
    assert_eq!(of_type(&kept, "end").len(), 2);
    // What a kill has left of a line is removed; a full file is renamed.
    let mut torn = b"x\n".repeat(500_000);
    torn.extend(b"{\"type\":\"frame\",\"str");
    fs::write(&path, &torn).expect("room");
    let rotate = format!(
        "sinks.0={{jsonl: {{path: {}, rotate: {{mb: 1}}}}}}",
        path.display()
    );
    let ended = run(&[&LIVE, ["--frames", "20", "--set", &rotate].as_slice()].concat());
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    let kept = records(&fs::read(&path).expect("is there"));
    assert_eq!(
        (&kept[0]["type"], of_type(&kept, "end").len()),
        (&"run".into(), 1)
    );
    let full = fs::read(dir.path().join("records.jsonl.1")).expect("is there");
    assert!(full.starts_with(&torn[..1_000_000]) && full.ends_with(b"\n"));
    // A replay replaces its file, and says so.
    let replay = |path: &Path| {
        let args = ["pipelines/ssd_replay.yaml", "--frames", "5", "--output"];
        let mut args = args.map(str::to_owned).to_vec();
        args.push(path.display().to_string());
        run(&args)
    };
    let said = stderr(&replay(&path));
    assert!(said.contains("is replaced"), "{said}");
    let other = dir.path().join("other.jsonl");
    replay(&other);
    assert_eq!(
        fs::read(&path).expect("is there"),
        fs::read(&other).expect("is there")
    );
}

/// The calls that `strace` saw on files below `dir`, in order: the call's name and the file's name.
fn calls_on_files(dir: &Path, more: &[String]) -> Option<Vec<(String, String)>> {
    let trace = dir.join("trace");
    let program = mobilens();
    let traced = Command::new("strace")
        .args(["-f", "-y", "-s", "0", "-e"])
        .arg("trace=openat,write,fsync,fdatasync,rename,renameat,linkat,link,unlink,unlinkat")
        .arg("-o")
        .arg(&trace)
        .arg(program.get_program())
        .args(more)
        .current_dir(crate::support::root())
        .env_remove("DISPLAY")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let Ok(traced) = traced else {
        skip("strace is not installed");
        return None;
    };
    assert_eq!(traced.status.code(), Some(0), "{}", stderr(&traced));
    let dir = fs::canonicalize(dir).expect("is there");
    let text = fs::read_to_string(trace).expect("UTF-8");
    let mut calls = Vec::new();
    for line in text.lines() {
        // "123 fdatasync(5<FILE>) = 0"; a call that is resumed was named before.
        let Some((_, call)) = line.split_once(' ') else {
            continue;
        };
        let Some((name, rest)) = call.trim_start().split_once('(') else {
            continue;
        };
        // A file that is opened stands behind the result, or in quotes.
        let place = dir.display().to_string();
        let Some(at) = rest.rfind(&place) else {
            continue;
        };
        let file = &rest[at + place.len()..];
        let end = file.find(['>', '"']).unwrap_or(file.len());
        let is_new = name != "openat" || rest.contains("O_CREAT");
        if is_new {
            calls.push((
                name.to_owned(),
                file[..end].trim_start_matches('/').to_owned(),
            ));
        }
    }
    Some(calls)
}

/// Which calls were made on a file, in order.
fn of_file<'a>(calls: &'a [(String, String)], file: &str) -> Vec<&'a str> {
    let of = calls.iter().filter(|(_, name)| name == file);
    of.map(|(call, _)| call.as_str()).collect()
}

#[test]
fn the_disk_has_each_fragment_and_each_name_before_what_follows() {
    for sync in [true, false] {
        let dir = tempfile::tempdir().expect("a folder");
        let place = |name: &str| dir.path().join(name).display().to_string();
        let video = format!(
            "sinks.0={{video: {{dir: {}, split_s: 2, sync: {sync}}}}}",
            place("all")
        );
        let jsonl = format!(
            "sinks.1={{jsonl: {{path: {}, sync: {sync}}}}}",
            place("records.jsonl")
        );
        let arguments = [
            LIVE.as_slice(),
            &["--frames", "125", "--set", &video, "--set", &jsonl],
        ];
        let arguments: Vec<String> = arguments.concat().into_iter().map(str::to_owned).collect();
        let Some(calls) = calls_on_files(dir.path(), &arguments) else {
            return;
        };
        let mp4: Vec<String> = files(&dir.path().join("all"))
            .iter()
            .map(|p| format!("all/{}", p.file_name().expect("a name").display()))
            .collect();
        assert!(mp4.len() >= 2, "{mp4:?}");
        let is_sync = |call: &&str| *call == "fsync" || *call == "fdatasync";
        if !sync {
            let synced = calls.iter().filter(|(call, _)| is_sync(&call.as_str()));
            assert_eq!(synced.count(), 0);
            continue;
        }
        for file in &mp4 {
            let calls_of_file = of_file(&calls, file);
            assert_eq!(calls_of_file[0], "openat", "{file}");
            // Head, fragments: each write is followed by a sync before the next.
            let after = &calls_of_file[1..];
            assert!(after.len() >= 4, "{file}: {after:?}");
            for pair in after.chunks(2) {
                assert_eq!(pair[0], "write", "{file}: {after:?}");
                assert!(pair.get(1).is_some_and(is_sync), "{file}: {after:?}");
            }
            // The folder, after the head and before the first fragment.
            let is_of = |(_, name): &&(String, String)| name == file || name == "all";
            let order: Vec<_> = calls.iter().filter(is_of).collect();
            let opened = order
                .iter()
                .position(|(call, name)| call == "openat" && name == file);
            let opened = opened.expect("is opened");
            let first: Vec<_> = order[opened + 1..].iter().take(3).collect();
            assert!(
                first[2].1 == "all" && is_sync(&first[2].0.as_str()),
                "{first:?}"
            );
        }
        let lines = of_file(&calls, "records.jsonl");
        assert_eq!(
            lines.last().map(|call| is_sync(call)),
            Some(true),
            "{lines:?}"
        );
        let synced = lines.iter().filter(|call| is_sync(call)).count();
        assert!(synced >= 3, "{lines:?}");
        let longest = lines.split(|call| is_sync(&call)).map(<[_]>::len).max();
        // A second of 25 frames, and what comes late.
        assert!(longest.expect("calls") < 100, "{lines:?}");
    }
}
