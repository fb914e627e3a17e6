//! Network cameras: GStreamer's RTSP server plays one.
#![allow(clippy::print_stderr, reason = "tests say what they measure and skip")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::camera::{Server, free_port};
use support::{complaints, end, file, mobilens, of_type, records, run, stderr};

const TINY: &str = "tests/data/tiny/replay.yaml";

/// Records as they come.
fn lines_of(child: &mut Child) -> Receiver<Value> {
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let record = serde_json::from_str(&line).expect("whole JSON");
            if sender.send(record).is_err() {
                break;
            }
        }
    });
    receiver
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
        let began = Instant::now();
        let output = run(&[TINY, "--headless", "--set", &source, "--frames", "150"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let got = records(&output.stdout);
        let frames = of_type(&got, "frame");
        assert_eq!(end(&got)["frames"]["captured"], 150, "{transport}");
        // Also of a clip with B-frames, which says how many pictures wait for one shown earlier.
        let dropped = &end(&got)["frames"]["dropped"];
        assert_eq!(dropped["decode_error"], 0, "{transport}: {dropped}");
        let at = |frame: &Value| frame["pts_ms"].as_f64().expect("a number");
        let span = at(frames[frames.len() - 1]) - at(frames[0]);
        assert!((span - 5960.0).abs() < 400.0, "{transport}: {span} ms");
        let steps: Vec<f64> = frames
            .windows(2)
            .map(|pair| at(pair[1]) - at(pair[0]))
            .collect();
        assert!(
            steps.iter().all(|step| *step > 30.0),
            "{transport}: {steps:?}"
        );
        let even = steps
            .iter()
            .filter(|step| (**step - 40.0).abs() < 1.0)
            .count();
        assert!(even >= 140, "{transport}: {steps:?}");
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{transport}: {:?}",
            began.elapsed()
        );
        assert_eq!(got[0]["source"]["kind"], "rtsp");
    }
}

#[test]
fn a_server_that_goes_and_comes_back_is_taken_up_again_five_times() {
    let Some(mut server) = Server::start(None, &[]) else {
        return;
    };
    let mut child = mobilens()
        .args([TINY, "--headless", "--input", &server.url("")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = lines_of(&mut child);
    let next = |kind: &str| {
        let patience = Instant::now() + Duration::from_secs(15);
        loop {
            let left = patience.saturating_duration_since(Instant::now());
            let record = lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no {kind}"));
            if record["type"] == kind {
                return record;
            }
        }
    };
    next("frame");
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        let port = server.port;
        drop(server);
        std::thread::sleep(Duration::from_millis(700));
        server = Server::start(Some(port), &[]).expect("it was there before");
        let began = Instant::now();
        let lost = next("event");
        assert_eq!(
            (&lost["kind"], &lost["name"]),
            (&"source".into(), &"lost".into()),
            "round {round}"
        );
        let back = next("event");
        assert_eq!(
            (&back["name"], &back["phase"]),
            (&"back".into(), &"end".into())
        );
        assert!(back["duration_ms"].as_f64().expect("a number") >= 500.0);
        slowest = slowest.max(began.elapsed());
        next("frame");
    }
    eprintln!("slowest return {slowest:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let told = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(told.expect("kill starts").success());
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}

#[test]
fn what_is_not_decoded_here_is_decoded_by_ffmpeg() {
    let dir = tempfile::tempdir().expect("a folder");
    let clip = dir.path().join("h265.mp4");
    let encoded = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(file("assets/street.mp4"))
        .args([
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            "log-level=none",
        ])
        .arg(&clip)
        .status();
    if !encoded.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("MOBILENS_CI").is_none(),
            "ffmpeg has no libx265"
        );
        eprintln!("SKIPPED: ffmpeg with libx265 is not installed");
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
    assert_eq!(of_type(&got, "frame").len(), 5);
    assert_eq!(got[0]["source"]["kind"], "rtsp");
    assert_eq!(of_type(&got, "frame")[0]["pts_ms"], 0.0);
}

#[test]
fn a_camera_is_waited_for_where_that_is_asked_for() {
    let port = free_port();
    let source =
        format!("source={{rtsp: {{url: \"rtsp://127.0.0.1:{port}/cam\", reconnect: always}}}}");
    let mut child = mobilens()
        .args([TINY, "--headless", "--set", &source, "--frames", "5"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = lines_of(&mut child);
    let next = || {
        lines
            .recv_timeout(Duration::from_secs(15))
            .expect("a record")
    };
    assert_eq!(next()["type"], "run");
    // Told while there is nothing to see.
    let lost = next();
    assert_eq!(
        (&lost["kind"], &lost["name"]),
        (&"source".into(), &"lost".into())
    );
    let Some(_server) = Server::start(Some(port), &[]) else {
        let _ = child.kill();
        let _ = child.wait();
        return;
    };
    let (frame, back) = (next(), next());
    assert_eq!(frame["type"], "frame");
    assert_eq!(back["name"], "back");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
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
        let output = run(&[TINY, "--headless", "--input", url]);
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
fn a_minute_comes_whole_and_no_later_at_its_end_than_at_its_beginning() {
    let dir = tempfile::tempdir().expect("a folder");
    let clip = dir.path().join("long.mp4");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-stream_loop", "6", "-i"])
        .arg(file("assets/street.mp4"))
        .args(["-c", "copy"])
        .arg(&clip)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("MOBILENS_CI").is_none(),
            "ffmpeg is not installed"
        );
        eprintln!("SKIPPED: ffmpeg is not installed");
        return;
    }
    let Some(server) = Server::of(clip.to_str().expect("UTF-8"), None, &[]) else {
        return;
    };
    let mut child = mobilens()
        .args([
            TINY,
            "--headless",
            "--input",
            &server.url(""),
            "--frames",
            "1500",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let lines = lines_of(&mut child);
    let began = Instant::now();
    let (mut late, mut last, mut span) = (Vec::new(), Value::Null, 0.0);
    while let Ok(record) = lines.recv_timeout(Duration::from_secs(20)) {
        if let Some(at) = record["pts_ms"].as_f64() {
            span = at;
            late.push(began.elapsed().as_secs_f64() * 1000.0 - at);
        }
        last = record;
    }
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    let frames = &last["frames"];
    assert_eq!(frames["captured"], 1500, "{frames}");
    assert_eq!(frames["dropped"]["decode_error"], 0, "{frames}");
    // A machine that is busy elsewhere may be late for one.
    assert!(
        frames["emitted"].as_u64().expect("a count") >= 1485,
        "{frames}"
    );
    assert!((span - 59_960.0).abs() < 100.0, "{span} ms");
    let median = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_by(f64::total_cmp);
        part[part.len() / 2]
    };
    let (first, last) = (median(&late[100..300]), median(&late[1280..]));
    eprintln!("{first:.1} ms behind in the first seconds, {last:.1} in the last");
    assert!(
        last - first < 40.0,
        "{first} ms behind in the first seconds, {last} in the last"
    );
}
