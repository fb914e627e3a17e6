//! Network cameras: GStreamer's RTSP server plays one.
#![allow(clippy::print_stderr, reason = "tests say what they measure and skip")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{complaints, end, file, mobilens, of_type, records, run, stderr};

const TINY: &str = "tests/data/tiny/replay.yaml";

/// A server, ended when the test is.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Serves the bundled clip; `None`, said aloud, where the server is not installed.
    fn start(port: Option<u16>, login: &[&str]) -> Option<Self> {
        Self::of("assets/street.mp4", port, login)
    }

    fn of(clip: &str, port: Option<u16>, login: &[&str]) -> Option<Self> {
        let port = port.unwrap_or_else(free_port);
        let mut child = Command::new("/usr/bin/python3")
            .arg(file("tests/rtsp_server.py"))
            .arg(file(clip))
            .arg(port.to_string())
            .args(login)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok();
        let said = child.as_mut().and_then(|child| {
            let mut line = String::new();
            BufReader::new(child.stdout.take()?)
                .read_line(&mut line)
                .ok()?;
            Some(line)
        });
        match (child, said.as_deref()) {
            (Some(child), Some("ready\n")) => Some(Self { child, port }),
            (child, _) => {
                if let Some(mut child) = child {
                    let _ = child.kill();
                    let _ = child.wait();
                }
                assert!(
                    std::env::var_os("MOBILENS_CI").is_none(),
                    "GStreamer's RTSP server is not installed"
                );
                eprintln!("SKIPPED: GStreamer's RTSP server is not installed");
                None
            }
        }
    }

    fn url(&self, login: &str) -> String {
        format!("rtsp://{login}127.0.0.1:{}/cam", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

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

/// What a proxy does with a packet of pictures.
enum Fate {
    Passes,
    IsLost,
    IsDamaged,
}

/// Stands between camera and client, and decides over each packet of pictures.
fn proxy(server: u16, mut fate: impl FnMut(u64) -> Fate + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        let mut number = 0;
        for client in listener.incoming().map_while(Result::ok) {
            let camera = std::net::TcpStream::connect(("127.0.0.1", server)).expect("a camera");
            let (mut up, mut down) = (client.try_clone().expect("a socket"), client);
            let mut to_camera = camera.try_clone().expect("a socket");
            std::thread::spawn(move || std::io::copy(&mut up, &mut to_camera));
            let mut from_camera = BufReader::new(camera);
            while let Some((mut message, is_picture)) = next_message(&mut from_camera) {
                if is_picture {
                    number += 1;
                    match fate(number) {
                        Fate::Passes => {}
                        Fate::IsLost => continue,
                        Fate::IsDamaged => {
                            let at = 16 + number as usize % (message.len() - 16).max(1);
                            for byte in message.iter_mut().skip(at).take(12) {
                                *byte ^= 0x5a;
                            }
                        }
                    }
                }
                if std::io::Write::write_all(&mut down, &message).is_err() {
                    break;
                }
            }
        }
    });
    port
}

/// The next answer or packet of a camera; whether it is a packet with (a part of) a picture.
fn next_message(from: &mut impl BufRead) -> Option<(Vec<u8>, bool)> {
    let mut message = vec![0];
    from.read_exact(&mut message).ok()?;
    if message[0] == b'$' {
        message.resize(4, 0);
        from.read_exact(&mut message[1..]).ok()?;
        let length = usize::from(u16::from_be_bytes([message[2], message[3]]));
        let is_picture = message[1] == 0 && length > 100;
        message.resize(4 + length, 0);
        from.read_exact(&mut message[4..]).ok()?;
        return Some((message, is_picture));
    }
    let mut body = 0;
    loop {
        let begin = message.len();
        if from.read_until(b'\n', &mut message).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&message[begin..]).to_ascii_lowercase();
        if let Some(length) = line.strip_prefix("content-length:") {
            body = length.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let head = message.len();
    message.resize(head + body, 0);
    from.read_exact(&mut message[head..]).ok()?;
    Some((message, false))
}

#[test]
fn lost_packets_lose_frames_and_leave_no_smeared_picture() {
    let Some(server) = Server::start(None, &[]) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let pictures = |name: &str| -> Vec<image::RgbImage> {
        let entries = std::fs::read_dir(dir.path().join(name)).expect("a folder");
        let mut paths: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
        paths.sort();
        paths
            .iter()
            .map(|path| image::open(path).expect("a picture").into_rgb8())
            .collect()
    };
    let play = |name: &str, url: &str, frames: &str| {
        let images = format!(
            "sinks.1={{images: {{dir: {}}}}}",
            dir.path().join(name).display()
        );
        let output = run(&[
            TINY,
            "--headless",
            "--input",
            url,
            "--frames",
            frames,
            "--set",
            &images,
            "--set",
            "overlay.labels=false",
            "--set",
            "detect.score_threshold=1",
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        records(&output.stdout)
    };
    let clip = file("assets/street.mp4").display().to_string();
    play("whole", &clip, "250");
    // Every fortieth packet is lost, and so may be a keyframe.
    let lossy = proxy(server.port, |n| {
        if n % 40 == 0 {
            Fate::IsLost
        } else {
            Fate::Passes
        }
    });
    let got = play("lossy", &format!("rtsp://127.0.0.1:{lossy}/cam"), "200");
    let frames = of_type(&got, "frame").len();
    let lost = end(&got)["frames"]["dropped"]["decode_error"]
        .as_u64()
        .expect("a count");
    eprintln!("{frames} frames seen, {lost} lost");
    assert!(frames > 10 && lost > 0);
    let whole = pictures("whole");
    let off = |a: &image::RgbImage, b: &image::RgbImage| -> f64 {
        let sum: u64 = a
            .as_raw()
            .iter()
            .zip(b.as_raw())
            .step_by(7)
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        sum as f64 / (a.as_raw().len() / 7) as f64
    };
    for picture in pictures("lossy") {
        let nearest = whole
            .iter()
            .map(|known| off(known, &picture))
            .fold(f64::MAX, f64::min);
        assert!(
            nearest < 0.01,
            "a picture that is none of the clip's: {nearest} codes off"
        );
    }
}

#[test]
fn damaged_packets_never_end_the_run() {
    let Some(server) = Server::start(None, &[]) else {
        return;
    };
    let damaged = proxy(server.port, |n| {
        if n % 7 == 0 {
            Fate::IsDamaged
        } else {
            Fate::Passes
        }
    });
    let url = format!("rtsp://127.0.0.1:{damaged}/cam");
    let output = run(&[TINY, "--headless", "--input", &url, "--frames", "200"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    assert_eq!(end(&got)["frames"]["captured"], 200);
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
    let (mut late, mut last) = (Vec::new(), Value::Null);
    while let Ok(record) = lines.recv_timeout(Duration::from_secs(20)) {
        if let Some(at) = record["pts_ms"].as_f64() {
            late.push(began.elapsed().as_secs_f64() * 1000.0 - at);
        }
        last = record;
    }
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    let frames = &last["frames"];
    assert_eq!(frames["captured"], 1500, "{frames}");
    assert_eq!(frames["emitted"], 1500, "{frames}");
    let median = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_by(f64::total_cmp);
        part[part.len() / 2]
    };
    let (first, last) = (median(&late[100..300]), median(&late[1300..]));
    eprintln!("{first:.1} ms behind in the first seconds, {last:.1} in the last");
    assert!(
        last - first < 40.0,
        "{first} ms behind in the first seconds, {last} in the last"
    );
}
