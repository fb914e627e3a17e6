//! Sources that are silent, absent or late when the program starts, and that fail in every way later.

pub mod camera;
mod clock;
mod losses;

use std::io::{Result, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{PATIENCE, Process, complaints, end, file, free_port, mobilens};
use crate::support::{of_type, records, run, skip, stderr, until};
use camera::{Camera, Clip, Player};

pub const TINY: &str = "tests/data/tiny/replay.yaml";

/// A clip of two seconds.
pub fn clip() -> Arc<Clip> {
    Arc::new(Clip::moving(96, 64, 50))
}

/// A run whose records are read.
pub fn start(command: &mut Command) -> (Process, Receiver<String>) {
    let mut child = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let lines = child.lines();
    (child, lines)
}

/// A run of the tiny detector on the camera `url`.
pub fn watch(url: &str, keys: &str, more: &[&str]) -> (Process, Receiver<String>) {
    let source = format!("source={{rtsp: {{url: \"{url}\"{keys}}}}}");
    start(
        mobilens()
            .args([TINY, "--headless", "--set", &source])
            .args(more),
    )
}

/// The next record for which `is_wanted`; others are passed over.
pub fn next(lines: &Receiver<String>, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = lines
            .recv_timeout(left)
            .unwrap_or_else(|_| panic!("{what}: none comes"));
        let record: Value = serde_json::from_str(&line).expect("whole JSON");
        if is_wanted(&record) {
            return record;
        }
    }
}

pub fn is_frame(record: &Value) -> bool {
    record["type"] == "frame"
}

pub fn is_event(name: &str) -> impl Fn(&Value) -> bool {
    move |record| record["type"] == "event" && record["kind"] == "source" && record["name"] == name
}

/// Interrupts a run, which must end as if nothing were the matter; its last records.
pub fn interrupt(mut child: Process, lines: &Receiver<String>) -> Vec<Value> {
    child.interrupt();
    let mut rest = String::new();
    let deadline = Instant::now() + PATIENCE;
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        rest += &line;
        rest.push('\n');
    }
    assert_eq!(child.ended().code(), Some(0));
    records(rest.as_bytes())
}

/// Whether the process has a thread of that name.
pub fn has_thread(process: &Process, name: &str) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id()));
    tasks.into_iter().flatten().flatten().any(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    })
}

/// Accepts connections and says nothing.
fn silent_server() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    (listener, port)
}

fn is_ffmpeg_installed() -> bool {
    let version = Command::new("ffmpeg")
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let is_installed = version.is_ok_and(|status| status.success());
    if !is_installed {
        skip("ffmpeg is not installed");
    }
    is_installed
}

/// A name of what a camera does from a point on, and how.
type Fault = (&'static str, fn(&mut Player) -> Result<()>);

/// Whatever a camera sends or does not send, it is lost if there is no picture.
#[test]
fn a_camera_without_pictures_is_lost_whatever_packets_come() {
    let silent: Fault = ("half-open: silence", |player| player.be_silent());
    let reports: Fault = ("sender reports alone", |player| {
        loop {
            let mut report = vec![0x80, 200, 0, 6, 0, 0, 0, 7];
            report.extend([0; 20]);
            player.interleave(1, &report)?;
            std::thread::sleep(Duration::from_millis(5));
            player.wait()?;
        }
    });
    let damaged: Fault = ("damaged frames", |player| {
        loop {
            for mut packet in player.packets(1, false) {
                packet[13..].fill(0xa5);
                player.send_packet(&packet)?;
            }
            player.wait()?;
        }
    });
    let late: Fault = ("frames without their keyframe", |player| {
        // A new connection, which never has a keyframe.
        loop {
            player.send(2, false)?;
            player.wait()?;
        }
    });
    let clip = clip();
    for (name, fault) in [silent, reports, damaged, late] {
        let script = move |player: &mut Player| match player.number {
            // First a while of pictures.
            1 => {
                player.play(10, true)?;
                if name.starts_with("frames") {
                    return Ok(());
                }
                fault(player)
            }
            2 => fault(player),
            _ => player.play_for_ever(),
        };
        let camera = Camera::start(None, &clip, true, script);
        let (child, lines) = watch(&camera.url(), ", stall_ms: 700", &[]);
        next(&lines, name, is_frame);
        next(&lines, name, is_event("lost"));
        // The second connection is given up, too.
        next(&lines, name, is_event("back"));
        next(&lines, name, is_frame);
        assert!(camera.connections() >= 3, "{name}");
        end(&interrupt(child, &lines));
    }
}

#[test]
fn frames_without_parameter_sets_are_a_loss_and_hear_the_stop_signal() {
    let clip = clip();
    let without = |player: &mut Player| -> Result<()> {
        loop {
            player.play(50, false)?;
        }
    };
    // Not even the first connection has any.
    let camera = Camera::start(None, &clip, false, without);
    let source = format!(
        "source={{rtsp: {{url: \"{}\", stall_ms: 700, reconnect: lost}}}}",
        camera.url()
    );
    let output = run(&[TINY, "--headless", "--set", &source]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = complaints(&output);
    assert!(said[0].contains("parameter sets"), "{said:?}");
    // Ctrl-C while it is waited for them.
    let (child, lines) = watch(&camera.url(), ", stall_ms: 600000", &[]);
    let before = camera.connections();
    until("a connection", || camera.connections() > before);
    interrupt(child, &lines);
    // They are missing after an outage.
    let script = move |player: &mut Player| match player.number {
        1 => player.play(10, true),
        2 => without(player),
        _ => player.play_for_ever(),
    };
    let camera = Camera::start(None, &clip, false, script);
    let (child, lines) = watch(&camera.url(), ", stall_ms: 700", &[]);
    next(&lines, "a frame", is_frame);
    next(&lines, "the loss", is_event("lost"));
    next(&lines, "the return", is_event("back"));
    end(&interrupt(child, &lines));
}

#[test]
fn an_overflow_without_another_keyframe_is_a_loss_and_hears_the_stop_signal() {
    // Pictures that take longer to decode than to send: all of a flood do not fit into the queue.
    let clip = Arc::new(Clip::still(960, 544, 300));
    let flood = |player: &mut Player| -> Result<()> {
        for number in 0..300 {
            player.send(number, true)?;
        }
        loop {
            player.send(1, false)?;
            player.wait()?;
        }
    };
    let script = move |player: &mut Player| match player.number {
        1 => flood(player),
        _ => player.play_for_ever(),
    };
    let camera = Camera::start(None, &clip, true, script);
    let (child, lines) = watch(&camera.url(), ", stall_ms: 1000", &[]);
    next(&lines, "the loss", is_event("lost"));
    next(&lines, "the return", is_event("back"));
    end(&interrupt(child, &lines));
    // Where it is no loss yet, the stop signal is heard.
    let camera = Camera::start(None, &clip, true, flood);
    let (child, lines) = watch(&camera.url(), ", stall_ms: 600000", &[]);
    next(&lines, "a frame", is_frame);
    std::thread::sleep(Duration::from_secs(2));
    end(&interrupt(child, &lines));
}

#[test]
fn a_good_stream_is_not_held_up_by_silent_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let camera = Camera::good(None, &clip());
    let servers: Vec<_> = (0..3).map(|_| silent_server()).collect();
    let mut streams = String::new();
    for (i, (_, port)) in servers.iter().enumerate() {
        streams += &format!(
            "  - stream: silent{i}\n    source: {{ rtsp: {{ url: \"rtsp://127.0.0.1:{port}/\" }} }}\n"
        );
    }
    if is_ffmpeg_installed() {
        let port = free_port();
        streams += &format!(
            "  - stream: udp\n    source: {{ video: {{ path: \"udp://127.0.0.1:{port}\" }} }}\n"
        );
    }
    streams += &format!(
        "  - stream: good\n    source: {{ rtsp: {{ url: \"{}\" }} }}\n",
        camera.url()
    );
    let page = free_port();
    let model = file("tests/data/tiny/tiny.yaml");
    let text = format!(
        "model: {}\nsinks:\n  - web: {{ bind: \"127.0.0.1:{page}\" }}\n  - jsonl: {{ path: \"-\" }}\n\
         streams:\n{streams}",
        model.display()
    );
    let path = dir.path().join("streams.yaml");
    std::fs::write(&path, text).expect("room");
    let (child, lines) = start(mobilens().arg(&path).arg("--headless"));
    let first = next(&lines, "a frame or a loss", |record| {
        is_frame(record) || is_event("lost")(record)
    });
    assert_eq!(
        (&first["type"], &first["stream"]),
        (&"frame".into(), &"good".into())
    );
    // The page is there, with the streams that are not.
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", page)).expect("the page");
    let request = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).expect("it listens");
    let answer = std::io::read_to_string(socket).expect("text");
    assert!(
        answer.contains("silent2") && answer.contains("good"),
        "{answer}"
    );
    interrupt(child, &lines);
}

#[test]
fn the_page_is_there_before_a_source_is_open_and_ctrl_c_is_heard() {
    let (listener, port) = silent_server();
    let page = free_port();
    let web = format!("sinks.1={{web: {{bind: \"127.0.0.1:{page}\"}}}}");
    let url = format!("rtsp://127.0.0.1:{port}/");
    let (child, lines) = watch(&url, "", &["--set", &web]);
    let (_held, _) = listener.accept().expect("it connects");
    until("the page", || {
        std::net::TcpStream::connect(("127.0.0.1", page)).is_ok()
    });
    interrupt(child, &lines);
}

#[test]
fn ctrl_c_is_heard_while_a_source_is_opened() {
    let port = free_port();
    let mut inputs = vec![("standard input", "-".to_owned())];
    if is_ffmpeg_installed() {
        inputs.push(("udp", format!("udp://127.0.0.1:{port}")));
    }
    for (name, input) in inputs {
        let (child, lines) = start(
            mobilens()
                .args([TINY, "--headless", "--input", &input])
                .stdin(Stdio::piped()),
        );
        until(name, || has_thread(&child, "0-open"));
        if name == "udp" {
            until("ffmpeg", || !children(child.id()).is_empty());
        }
        let started = children(child.id());
        interrupt(child, &lines);
        until("the end of ffmpeg", || {
            started
                .iter()
                .all(|id| !Path::new(&format!("/proc/{id}")).exists())
        });
    }
}

#[test]
fn ctrl_c_is_heard_while_a_pipe_pauses() {
    let (mut child, lines) = start(
        mobilens()
            .args([TINY, "--headless", "--input", "-"])
            .stdin(Stdio::piped()),
    );
    let mut pipe = child.stdin.take().expect("piped");
    let frame = [b"YUV4MPEG2 W16 H16 F25:1\nFRAME\n".as_slice(), &[128; 384]].concat();
    pipe.write_all(&frame).expect("it is read");
    next(&lines, "a frame", is_frame);
    let rest = interrupt(child, &lines);
    assert_eq!(end(&rest)["reason"], "interrupted");
}

/// The processes that this one started.
fn children(id: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task"));
    let lists = tasks
        .into_iter()
        .flatten()
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn a_url_that_gives_nothing_is_given_up() {
    if !is_ffmpeg_installed() {
        return;
    }
    let url = format!("udp://127.0.0.1:{}", free_port());
    let output = run(&[TINY, "--headless", "--input", &url]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = complaints(&output);
    assert!(said[0].contains("no video received"), "{said:?}");
}

#[test]
fn an_absent_camera_is_waited_for_headless_and_beside_others() {
    let port = free_port();
    let url = format!("rtsp://127.0.0.1:{port}/cam");
    let (child, lines) = watch(&url, "", &[]);
    next(&lines, "the loss", is_event("lost"));
    let camera = Camera::good(Some(port), &clip());
    next(&lines, "the return", is_event("back"));
    next(&lines, "a frame", is_frame);
    end(&interrupt(child, &lines));
    drop(camera);
    // Unless that is not wanted.
    for reconnect in ["lost", "never"] {
        let source = format!("source={{rtsp: {{url: \"{url}\", reconnect: {reconnect}}}}}");
        let output = run(&[TINY, "--headless", "--set", &source]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert_eq!(complaints(&output).len(), 1, "{}", stderr(&output));
    }
}

#[test]
fn a_fallback_stands_in_for_an_absent_camera() {
    let url = format!("rtsp://127.0.0.1:{}/cam", free_port());
    let output = run(&[
        TINY,
        "--headless",
        "--set",
        &format!("source={{rtsp: {{url: \"{url}\"}}}}"),
        "--set",
        &format!(
            "fallback={{video: {{path: {}}}}}",
            file("assets/street.mp4").display()
        ),
        "--frames",
        "5",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(of_type(&records(&output.stdout), "frame").len(), 5);
}

/// Threads and open files of a process.
fn resources(process: &Process) -> [usize; 2] {
    ["task", "fd"].map(|kind| {
        let entries = std::fs::read_dir(format!("/proc/{}/{kind}", process.id()));
        entries.map_or(0, Iterator::count)
    })
}

#[test]
fn a_camera_that_is_unplugged_in_a_burst_comes_back_and_nothing_piles_up() {
    let clip = clip();
    let port = free_port();
    let mut camera = Camera::good(Some(port), &clip);
    let (child, lines) = watch(&camera.url(), ", stall_ms: 1000", &[]);
    next(&lines, "a frame", is_frame);
    let before = resources(&child);
    for round in 0..20_u64 {
        drop(camera);
        std::thread::sleep(Duration::from_millis(round * 37 % 130));
        camera = Camera::good(Some(port), &clip);
        std::thread::sleep(Duration::from_millis(round * 53 % 240));
    }
    // Losses and returns alternate, and the last is a return.
    let mut was_lost = false;
    let deadline = Instant::now() + PATIENCE;
    let mut quiet = 0;
    while quiet < 25 {
        assert!(Instant::now() < deadline, "it is not back for good");
        let record = next(&lines, "a record", |_| true);
        quiet += usize::from(is_frame(&record));
        for (name, is_lost) in [("lost", true), ("back", false)] {
            if is_event(name)(&record) {
                assert_ne!(was_lost, is_lost, "{record}");
                (was_lost, quiet) = (is_lost, 0);
            }
        }
    }
    assert!(!was_lost);
    until("what outages opened is closed", || {
        let now = resources(&child);
        now[0] <= before[0] && now[1] <= before[1]
    });
    end(&interrupt(child, &lines));
}
