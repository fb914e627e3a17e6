//! Sinks that are slow or stalled.

use std::fs;
use std::io::{Read, Write, pipe};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::disk::LIVE;
use crate::support::{Process, end, mobilens, of_type, records, skip, until};

fn lines(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().count()
}

/// What a process says on standard error until its end.
fn said(process: &mut Process) -> String {
    let mut text = String::new();
    let stderr = process.stderr.as_mut().expect("piped");
    stderr.read_to_string(&mut text).expect("UTF-8");
    text
}

/// Waits until a process that has written something writes nothing for a while.
fn wait_until_stalled(process: &Process) {
    let written = || {
        let io = fs::read_to_string(format!("/proc/{}/io", process.id())).expect("it runs");
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        line.and_then(|n| n.parse::<u64>().ok()).expect("a count")
    };
    let mut before = 0;
    until("the end of all output", || {
        std::thread::sleep(Duration::from_millis(1500));
        let now = written();
        now > 1000 && now == std::mem::replace(&mut before, now)
    });
}

#[test]
fn standard_output_that_nobody_reads_holds_nobody_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("records.jsonl");
    let (reader, mut writer) = pipe().expect("a pipe");
    // Room for the run record and a few frames: sixteen pages at most are in a pipe.
    writer.write_all(&vec![b'\n'; 14 * 4096]).expect("room");
    let beside = format!("sinks.1={{jsonl: {{path: {}}}}}", path.display());
    let mut process = Process::start(
        mobilens()
            .args(LIVE)
            .args(["--set", &beside])
            .stdout(writer)
            .stderr(Stdio::piped()),
    );
    // The pipe takes no more after some fifty frames.
    until("frames after standard output is full", || {
        lines(&path) >= 200
    });
    process.interrupt();
    let said = said(&mut process);
    assert_eq!(process.ended().code(), Some(1), "{said}");
    assert!(
        said.contains("4-jsonl: did not end within 10 s; lost: "),
        "{said}"
    );
    let kept = records(&fs::read(&path).expect("is there"));
    assert_eq!(end(&kept)["reason"], "interrupted");
    let emitted = end(&kept)["frames"]["emitted"].as_u64();
    assert_eq!(emitted, Some(of_type(&kept, "frame").len() as u64));
    drop(reader);
}

#[test]
fn a_replay_waits_for_its_reader_until_it_is_interrupted() {
    let (mut reader, mut writer) = pipe().expect("a pipe");
    writer.write_all(&vec![b'\n'; 9 * 4096]).expect("room");
    let replay = [
        "pipelines/ssd_replay.yaml",
        "--set",
        "gating.interval={every: 25}",
    ];
    let start = |writer: std::io::PipeWriter| {
        let mut command = mobilens();
        let command = command.args(replay).stdout(writer).stderr(Stdio::piped());
        Process::start(command)
    };
    let mut process = start(writer);
    wait_until_stalled(&process);
    process.interrupt();
    let text = said(&mut process);
    assert_eq!(process.ended().code(), Some(1), "{text}");
    assert!(text.contains("did not end within 10 s"), "{text}");
    drop(process);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).expect("a pipe");
    // A reader that comes late loses nothing.
    let (mut reader, writer) = pipe().expect("a pipe");
    let mut process = start(writer);
    let mut text = vec![0; 1000];
    reader.read_exact(&mut text).expect("records");
    std::thread::sleep(Duration::from_secs(2));
    reader.read_to_end(&mut text).expect("records");
    assert_eq!(process.ended().code(), Some(0));
    let got = records(&text);
    assert_eq!(end(&got)["frames"]["emitted"], 250);
    assert_eq!(of_type(&got, "frame").len(), 250);
}

#[test]
fn a_recording_that_stalls_holds_nobody_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("records.jsonl");
    // A disk that takes long for each fragment.
    if Command::new("strace").arg("-V").output().is_err() {
        skip("strace is not installed");
        return;
    }
    let video = format!("sinks.0={{video: {{dir: {}/all}}}}", dir.path().display());
    let jsonl = format!(
        "sinks.1={{jsonl: {{path: {}, sync: false}}}}",
        path.display()
    );
    let program = mobilens();
    let mut process = Process::start(
        Command::new("strace")
            .args([
                "-f",
                "--seccomp-bpf",
                "-o",
                "/dev/null",
                "-e",
                "trace=fdatasync",
            ])
            .args(["-e", "inject=fdatasync:delay_enter=25s"])
            .arg(program.get_program())
            .args(LIVE)
            .args(["--set", &video, "--set", &jsonl])
            .current_dir(crate::support::root())
            .env_remove("DISPLAY")
            .stdout(Stdio::null())
            .stderr(Stdio::piped()),
    );
    // More than can wait: 64 pictures, and four in the threads before.
    until("frames while the disk is stalled", || lines(&path) >= 150);
    // Not the tracer, which would only detach.
    let child = fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.id()));
    let child = child.expect("is there").trim().to_owned();
    let told = Command::new("kill").args(["-INT", &child]).status();
    assert!(told.expect("kill starts").success());
    let said = said(&mut process);
    assert_eq!(process.ended().code(), Some(1), "{said}");
    assert!(
        said.contains("4-encode: did not end within 10 s; lost: "),
        "{said}"
    );
    let kept = records(&fs::read(&path).expect("is there"));
    assert_eq!(end(&kept)["reason"], "interrupted");
}
