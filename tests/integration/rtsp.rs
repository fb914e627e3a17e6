//! Network cameras: GStreamer's RTSP server plays one.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::support::camera::Server;
use crate::support::{PATIENCE, Process, complaints, end, file, free_port, mobilens};
use crate::support::{of_type, records, run, skip, stderr};
use serde_json::Value;

const TINY: &str = "tests/data/tiny/replay.yaml";

/// Between two frames of the bundled clip.
const STEP_MS: f64 = 40.0;

/// The next record.
fn next(lines: &Receiver<String>) -> Value {
    let line = lines.recv_timeout(PATIENCE).expect("a record");
    serde_json::from_str(&line).expect("whole JSON")
}

/// The next record of type `kind`; others are passed over.
fn next_of_type(lines: &Receiver<String>, kind: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let record = next(lines);
        if record["type"] == kind {
            return record;
        }
        assert!(Instant::now() < deadline, "no {kind}");
    }
}

/// Makes a clip from the bundled one; `false`, said aloud, where ffmpeg cannot.
fn ffmpeg(before: &[&str], after: &[&str], clip: &std::path::Path) -> bool {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(before)
        .arg("-i")
        .arg(file("assets/street.mp4"))
        .args(after)
        .arg(clip)
        .status();
    let is_made = made.is_ok_and(|status| status.success());
    if !is_made {
        skip("ffmpeg is not installed, or has no libx265");
    }
    is_made
}

/// How far a frame's time is from that of its number in the bundled clip.
fn off_ms(frame: &Value) -> f64 {
    let number = frame["frame"].as_f64().expect("a number");
    frame["pts_ms"].as_f64().expect("a number") - number * STEP_MS
}

#[test]
fn every_frame_of_a_stream_comes_at_its_own_time() {
    for transport in ["tcp", "udp"] {
        let Some(server) = Server::start(None, &[]) else {
            return;
        };
        let source = format!(
            "source={{rtsp: {{url: \"{}\", transport: {transport}}}}}",
            server.url("")
        );
        let output = run(&[TINY, "--headless", "--set", &source, "--frames", "150"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let got = records(&output.stdout);
        assert_eq!(got[0]["source"]["kind"], "rtsp");
        // What a busy machine does not look at in time is dropped, and counted.
        let counts = &end(&got)["frames"];
        assert!(counts["captured"].as_u64() >= Some(150), "{counts}");
        let frames = of_type(&got, "frame");
        assert!(!frames.is_empty(), "{transport}: {counts}");
        let off: Vec<f64> = frames.iter().map(|frame| off_ms(frame)).collect();
        if transport == "tcp" {
            // Also of a clip with B-frames, which says how many pictures wait for one shown earlier.
            assert_eq!(counts["dropped"]["decode_error"], 0, "{counts}");
            assert!(off.iter().all(|off| off.abs() < 1.0), "{off:?}");
        }
        // By UDP, frames may be lost on the way without anybody's knowing how many.
        let rest = |off: &f64| (off - (off / STEP_MS).round() * STEP_MS).abs();
        assert!(off.iter().all(|off| rest(off) < 1.0), "{off:?}");
        assert!(off.is_sorted_by(|a, b| a - b < 1.0), "{off:?}");
    }
}

#[test]
fn a_server_that_goes_and_comes_back_is_taken_up_again_five_times() {
    let dir = tempfile::tempdir().expect("a folder");
    // Ten minutes, which does not end of itself.
    let clip = dir.path().join("long.mp4");
    if !ffmpeg(&["-stream_loop", "59"], &["-c", "copy"], &clip) {
        return;
    }
    let clip = clip.to_str().expect("UTF-8");
    let Some(mut server) = Server::of(clip, None, &[]) else {
        return;
    };
    let mut child = Process::start(
        mobilens()
            .args([TINY, "--headless", "--input", &server.url("")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let lines = child.lines();
    next_of_type(&lines, "frame");
    for round in 0..5 {
        let port = server.port;
        drop(server);
        let lost = next_of_type(&lines, "event");
        assert_eq!(
            (&lost["kind"], &lost["name"]),
            (&"source".into(), &"lost".into()),
            "round {round}"
        );
        // It is away for a while.
        std::thread::sleep(Duration::from_millis(700));
        server = Server::of(clip, Some(port), &[]).expect("it was there before");
        let back = next_of_type(&lines, "event");
        assert_eq!(
            (&back["name"], &back["phase"]),
            (&"back".into(), &"end".into())
        );
        assert!(back["duration_ms"].as_f64() >= Some(700.0), "{back}");
        next_of_type(&lines, "frame");
    }
    child.interrupt();
    // Whoever writes must find a reader until the end.
    while lines.recv_timeout(PATIENCE).is_ok() {}
    assert_eq!(child.ended().code(), Some(0));
}

#[test]
fn what_is_not_decoded_here_is_decoded_by_ffmpeg() {
    let dir = tempfile::tempdir().expect("a folder");
    let clip = dir.path().join("h265.mp4");
    let codec = ["-c:v", "libx265", "-preset", "ultrafast"];
    let quiet = ["-x265-params", "log-level=none"];
    if !ffmpeg(&[], &[&codec[..], &quiet].concat(), &clip) {
        return;
    }
    let Some(server) = Server::of(clip.to_str().expect("UTF-8"), None, &[]) else {
        return;
    };
    let asked = |decoder: &str| {
        let source = format!(
            "source={{rtsp: {{url: \"{}\", decoder: {decoder}, reconnect: never}}}}",
            server.url("")
        );
        run(&[TINY, "--headless", "--set", &source, "--frames", "5"])
    };
    let output = asked("builtin");
    assert_eq!(output.status.code(), Some(1));
    let said = complaints(&output);
    assert!(said[0].contains("it sends H265"), "{said:?}");
    let output = asked("auto");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    assert_eq!(got[0]["source"]["kind"], "rtsp");
    assert_eq!(end(&got)["frames"]["captured"], 5);
    let frames = of_type(&got, "frame");
    assert!(!frames.is_empty());
    // From the first frame on, which may have been dropped.
    let times: Vec<f64> = frames
        .iter()
        .map(|frame| frame["pts_ms"].as_f64().expect("a number"))
        .collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    if frames[0]["frame"] == 0 {
        assert_eq!(times[0], 0.0);
    }
}

#[test]
fn a_camera_is_waited_for_where_that_is_asked_for() {
    let port = free_port();
    let source =
        format!("source={{rtsp: {{url: \"rtsp://127.0.0.1:{port}/cam\", reconnect: always}}}}");
    let mut child = Process::start(
        mobilens()
            .args([TINY, "--headless", "--set", &source, "--frames", "5"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let lines = child.lines();
    assert_eq!(next(&lines)["type"], "run");
    // Told while there is nothing to see.
    let lost = next(&lines);
    assert_eq!(
        (&lost["kind"], &lost["name"]),
        (&"source".into(), &"lost".into())
    );
    let Some(_server) = Server::start(Some(port), &[]) else {
        return;
    };
    let rest: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(&line).expect("whole JSON"))
        .collect();
    assert_eq!(child.ended().code(), Some(0));
    assert_eq!(end(&rest)["frames"]["captured"], 5);
    assert!(!of_type(&rest, "frame").is_empty());
    let events = of_type(&rest, "event");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["name"], "back");
}

#[test]
fn a_password_is_wanted_and_never_told() {
    let Some(server) = Server::start(None, &["viewer", "se/cr:et"]) else {
        return;
    };
    let output = run(&[
        TINY,
        "--headless",
        "--input",
        &server.url("viewer:se%2Fcr%3Aet@"),
        "--frames",
        "5",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        stderr(&output)
    );
    assert!(
        !said.contains("et@") && !said.contains("se%2F") && !said.contains("viewer"),
        "{said}"
    );
    let source = format!(
        "source={{rtsp: {{url: \"{}\"}}}}",
        server.url("viewer:${MOBILENS_CAMERA}@")
    );
    let output = mobilens()
        .args([TINY, "--headless", "--set", &source, "--frames", "5"])
        .env("MOBILENS_CAMERA", "se%2Fcr%3Aet")
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for login in ["viewer:wrong@", ""] {
        let output = run(&[TINY, "--headless", "--input", &server.url(login)]);
        assert_eq!(output.status.code(), Some(1));
        let said = complaints(&output);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(!said[0].contains("wrong"), "{said:?}");
    }
}

#[test]
fn what_is_no_camera_is_one_line() {
    let port = free_port();
    let refused = |url: &str, code: i32| {
        // Headless it would be waited for.
        let source = format!("source={{rtsp: {{url: \"{url}\", reconnect: lost}}}}");
        let output = run(&[TINY, "--headless", "--set", &source]);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{url}: {}",
            stderr(&output)
        );
        assert_eq!(
            complaints(&output).len(),
            1,
            "{url}: {:?}",
            complaints(&output)
        );
    };
    refused(&format!("rtsp://127.0.0.1:{port}/none"), 1);
    refused("rtsp://", 2);
    // One that answers with something else.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let web = listener.local_addr().expect("its address").port();
    let answering = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a visitor");
        let mut request = [0; 64];
        let _ = socket.read(&mut request);
        let _ = std::io::Write::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    refused(&format!("rtsp://127.0.0.1:{web}/"), 1);
    answering.join().expect("no panic");
}

#[test]
#[ignore = "takes a minute; CI runs it"]
fn a_minute_comes_whole_and_each_frame_at_its_own_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let clip = dir.path().join("long.mp4");
    if !ffmpeg(&["-stream_loop", "6"], &["-c", "copy"], &clip) {
        return;
    }
    let Some(server) = Server::of(clip.to_str().expect("UTF-8"), None, &[]) else {
        return;
    };
    let url = server.url("");
    let output = run(&[TINY, "--headless", "--input", &url, "--frames", "1500"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    let counts = &end(&got)["frames"];
    assert!(counts["captured"].as_u64() >= Some(1500), "{counts}");
    assert_eq!(counts["dropped"]["decode_error"], 0, "{counts}");
    let frames = of_type(&got, "frame");
    assert!(!frames.is_empty(), "{counts}");
    // The camera's reports tell how fast its clock goes, and lead to small corrections.
    let off: Vec<f64> = frames.iter().map(|frame| off_ms(frame)).collect();
    assert!(off.iter().all(|off| off.abs() < 100.0), "{off:?}");
}
