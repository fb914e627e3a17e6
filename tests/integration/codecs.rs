//! Clips that the built-in decoder does not read, through ffmpeg and through pipes.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::support::{complaints, end, file, mobilens, of_type, records, run, skip, stderr};
use serde_json::Value;

const TINY: &str = "tests/data/tiny/replay.yaml";

/// Has ffmpeg make a clip from the bundled one; `false`, said aloud, where it is not installed.
fn ffmpeg(arguments: &[&str]) -> bool {
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-i"])
        .arg(file("assets/street.mp4"))
        .args(arguments)
        .status();
    match made {
        Ok(status) => {
            assert!(status.success(), "ffmpeg {arguments:?}");
            true
        }
        Err(error) => {
            skip(&format!("ffmpeg is not installed: {error}"));
            false
        }
    }
}

fn replay(input: &str, more: &[&str]) -> Vec<Value> {
    let output = run(&[&[TINY, "--headless", "--input", input], more].concat());
    assert_eq!(
        output.status.code(),
        Some(0),
        "{input}: {}",
        stderr(&output)
    );
    records(&output.stdout)
}

#[test]
fn every_codec_and_container_that_ffmpeg_knows() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, codec) in [
        ("h265.mkv", "libx265"),
        ("vp9.webm", "libvpx-vp9"),
        ("mpeg4.avi", "mpeg4"),
        ("mjpeg.avi", "mjpeg"),
        ("h264.ts", "libx264"),
    ] {
        let path = dir.path().join(name).display().to_string();
        if !ffmpeg(&["-t", "1", "-c:v", codec, &path]) {
            return;
        }
        let got = replay(&path, &[]);
        let frames = of_type(&got, "frame");
        assert_eq!(frames.len(), 25, "{name}");
        let at = |i: usize| frames[i]["pts_ms"].as_f64().expect("a number");
        assert!(
            (at(24) - at(0) - 960.0).abs() < 2.0,
            "{name}: {} to {}",
            at(0),
            at(24)
        );
        assert_eq!(end(&got)["reason"], "eof");
    }
}

#[test]
fn both_decoders_give_the_same_pixels_and_times() {
    if !ffmpeg(&["-frames:v", "1", "-f", "null", "-"]) {
        return;
    }
    let clip = file("assets/street.mp4").display().to_string();
    let frames = |decoder: &str| {
        let set = format!("source.video={{path: {clip}, decoder: {decoder}}}");
        let output = run(&[TINY, "--headless", "--set", &set]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).expect("text");
        let frames = text
            .lines()
            .filter(|line| line.starts_with(r#"{"type":"frame""#));
        frames.map(str::to_owned).collect::<Vec<_>>()
    };
    let (builtin, ffmpeg) = (frames("builtin"), frames("ffmpeg"));
    assert_eq!(builtin.len(), 250);
    assert!(builtin == ffmpeg, "other pixels or times");
}

#[test]
fn times_that_are_uneven_stay_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("uneven.mkv").display().to_string();
    let filter = "setpts='if(lt(N,5),N,N*3)/25/TB'";
    let args = [
        "-frames:v",
        "10",
        "-vf",
        filter,
        "-fps_mode",
        "vfr",
        "-c:v",
        "mpeg4",
        &path,
    ];
    if !ffmpeg(&args) {
        return;
    }
    let got = replay(&path, &[]);
    let times: Vec<f64> = of_type(&got, "frame")
        .iter()
        .filter_map(|f| f["pts_ms"].as_f64())
        .collect();
    assert_eq!(times[..7], [0.0, 40.0, 80.0, 120.0, 160.0, 600.0, 720.0]);
}

#[test]
fn uncompressed_frames_come_through_a_pipe_or_a_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("street.y4m").display().to_string();
    if !ffmpeg(&["-frames:v", "12", &path]) {
        return;
    }
    let of_file = replay(&path, &[]);
    assert_eq!(of_type(&of_file, "frame").len(), 12);
    let child = mobilens()
        .args([TINY, "--headless", "--input", "-"])
        .stdin(std::fs::File::open(&path).expect("just made"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("starts");
    assert_eq!(child.status.code(), Some(0), "{}", stderr(&child));
    let of_pipe = records(&child.stdout);
    assert_eq!(of_type(&of_pipe, "frame"), of_type(&of_file, "frame"));
    // The built-in decoder on the coded clip leads to the same detections.
    let coded = replay(
        &file("assets/street.mp4").display().to_string(),
        &["--frames", "12"],
    );
    let seen = |of: &[Value]| {
        of_type(of, "frame")
            .iter()
            .map(|f| f["detections"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(&coded), seen(&of_file));
}

#[test]
fn what_neither_reads_is_one_line_and_nothing_is_left_running() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("clip.mkv");
    if !ffmpeg(&["-t", "4", "-c:v", "mpeg4", &path.display().to_string()]) {
        return;
    }
    let whole = std::fs::read(&path).expect("just made");
    let garbage = dir.path().join("garbage.mkv");
    std::fs::write(&garbage, &whole[1000..3000]).expect("room");
    let output = run(&[
        TINY,
        "--headless",
        "--input",
        &garbage.display().to_string(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(complaints(&output).len(), 1, "{:?}", complaints(&output));
    let missing = run(&[TINY, "--headless", "--set", "source.video.decoder=ffmpg"]);
    assert_eq!(missing.status.code(), Some(2));
    // Stopped in the middle: its ffmpeg is gone when it is.
    let output = run(&[
        TINY,
        "--headless",
        "--input",
        &path.display().to_string(),
        "--frames",
        "5",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let name = path.display().to_string();
    let all = std::fs::read_dir("/proc").expect("a Linux machine");
    let left = all.filter_map(Result::ok).filter(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&name)
    });
    assert_eq!(left.count(), 0, "an ffmpeg is left");
}

#[test]
fn motion_jpeg_in_avi_takes_no_ffmpeg() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("mjpeg.avi");
    let name = path.display().to_string();
    if !ffmpeg(&["-t", "1", "-c:v", "mjpeg", "-q:v", "2", &name]) {
        return;
    }
    let alone = |path: &str| {
        mobilens()
            .args([TINY, "--headless", "--input", path])
            .env("PATH", "")
            .output()
            .expect("starts")
    };
    let output = alone(&name);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    let frames = of_type(&got, "frame");
    assert_eq!(frames.len(), 25);
    for (i, frame) in frames.iter().enumerate() {
        assert_eq!(frame["pts_ms"], i as f64 * 40.0);
    }
    assert_eq!(got[0]["source"]["fps"], 25.0);
    // The pictures are ffmpeg's.
    let set = |decoder: &str| {
        let images = dir.path().join(decoder).display().to_string();
        let output = run(&[
            TINY,
            "--headless",
            "--output",
            "/dev/null",
            "--set",
            &format!("source.video={{path: {name}, decoder: {decoder}}}"),
            "--set",
            &format!("sinks.1={{images: {{dir: {images}}}}}"),
            "--set",
            "overlay.labels=false",
            "--set",
            "detect.score_threshold=1",
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let picture = std::fs::read_dir(&images)
            .expect("a folder")
            .next()
            .expect("a picture");
        image::open(picture.expect("an entry").path())
            .expect("a picture")
            .into_rgb8()
    };
    let (ours, theirs) = (set("builtin"), set("ffmpeg"));
    let off: u64 = ours
        .as_raw()
        .iter()
        .zip(theirs.as_raw())
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    let mean = off as f64 / ours.as_raw().len() as f64;
    assert!(mean < 2.5, "{mean} codes off");
    // A damaged frame costs itself, a missing end is said.
    let mut bytes = std::fs::read(&path).expect("is there");
    let jpegs: Vec<usize> = bytes
        .windows(3)
        .enumerate()
        .filter(|(_, w)| *w == [0xff, 0xd8, 0xff])
        .map(|(i, _)| i)
        .collect();
    bytes[jpegs[3]..jpegs[3] + 40].fill(7);
    std::fs::write(&path, &bytes).expect("room");
    let output = alone(&name);
    let got = records(&output.stdout);
    assert_eq!(end(&got)["frames"]["dropped"]["decode_error"], 1);
    bytes.truncate(jpegs[10] + 100);
    std::fs::write(&path, &bytes).expect("room");
    let output = alone(&name);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("is truncated"),
        "{}",
        stderr(&output)
    );
    assert_eq!(of_type(&records(&output.stdout), "frame").len(), 9);
}

/// Serves the files of a folder; what is asked for with a wrong token is not there.
fn web_server(dir: &std::path::Path) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let dir = dir.to_owned();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|n| n == 1) {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("/");
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let is_allowed = query == "token=tops3cret" || path.ends_with(".ts");
            let bytes = std::fs::read(dir.join(path.trim_start_matches('/')));
            let answer = match bytes.ok().filter(|_| is_allowed) {
                Some(bytes) => {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        bytes.len()
                    );
                    [head.into_bytes(), bytes].concat()
                }
                None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    .to_vec(),
            };
            let _ = socket.write_all(&answer);
        }
    });
    format!("http://viewer:hidden@{address}")
}

#[test]
fn a_clip_behind_a_url_is_read_and_its_secrets_are_not_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let made = ffmpeg(&["-t", "2", "-c", "copy", &path("clip.mkv")])
        && ffmpeg(&[
            "-t",
            "2",
            "-c",
            "copy",
            "-hls_time",
            "1",
            "-hls_playlist_type",
            "vod",
            &path("live.m3u8"),
        ]);
    if !made {
        return;
    }
    let url = web_server(dir.path());
    for name in ["clip.mkv", "live.m3u8"] {
        let output = run(&[
            TINY,
            "--headless",
            "--input",
            &format!("{url}/{name}?token=tops3cret"),
        ]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
        let got = records(&output.stdout);
        let frames = of_type(&got, "frame").len();
        assert!((48..=56).contains(&frames), "{name}: {frames}");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            stderr(&output)
        );
        assert!(
            !said.contains("tops3cret") && !said.contains("hidden"),
            "{said}"
        );
    }
    let output = run(&[
        TINY,
        "--headless",
        "--input",
        &format!("{url}/clip.mkv?token=wr0ng"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("404") && !said.contains("wr0ng") && !said.contains("hidden"),
        "{said}"
    );
}
