//! Files that are damaged or made to harm: pictures, chunks and subtitles.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{
    self, Process, complaints, end, file, mobilens, of_type, records, run, skip, stderr, until,
};

const TINY: &str = "tests/data/tiny/replay.yaml";

fn chunk(id: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("short");
    let mut bytes = [id, &length.to_le_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

/// An AVI file with one Motion JPEG stream of that size, and `frames` as the content of `movi`.
fn avi(width: u32, height: u32, frames: &[u8]) -> Vec<u8> {
    let mut strh = b"vidsMJPG".to_vec();
    strh.extend([0; 12]);
    strh.extend([1_u32, 25, 0, 0].map(u32::to_le_bytes).as_flattened());
    let mut strf = [40, width, height].map(u32::to_le_bytes).concat();
    strf.extend([1, 0, 24, 0]);
    strf.extend(b"MJPG");
    strf.extend([0; 20]);
    let strl = [&b"strl"[..], &chunk(b"strh", &strh), &chunk(b"strf", &strf)].concat();
    let hdrl = [&b"hdrl"[..], &chunk(b"LIST", &strl)].concat();
    let movi = [b"movi", frames].concat();
    let body = [&b"AVI "[..], &chunk(b"LIST", &hdrl), &chunk(b"LIST", &movi)].concat();
    chunk(b"RIFF", &body)
}

/// A JPEG of one grey, as a camera sends it.
fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let grey = image::RgbImage::from_pixel(width, height, image::Rgb([90; 3]));
    let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut bytes);
    encoder.encode_image(&grey).expect("room");
    bytes
}

/// A pipeline of the streams `one` and `two` on these files.
fn two_streams(dir: &Path, one: &Path, two: &Path) -> PathBuf {
    let stream = |name: &str, path: &Path| {
        let path = path.display();
        format!("  - {{ stream: {name}, source: {{ video: {{ path: \"{path}\" }} }} }}\n")
    };
    let card = file("tests/data/tiny/tiny.yaml");
    let text = format!(
        "model: \"{}\"\ndetect: {{ score_threshold: 0.0 }}\nsinks: [{{ jsonl: {{ path: \"-\" }} }}]\n\
         streams:\n{}{}",
        card.display(),
        stream("one", one),
        stream("two", two)
    );
    let pipeline = dir.join("streams.yaml");
    fs::write(&pipeline, text).expect("room");
    pipeline
}

#[test]
fn a_motion_jpeg_of_65000_by_65000_is_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let huge = dir.path().join("huge.avi");
    // A baseline JPEG of that size whose data ends at once.
    let mut picture = vec![0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0xfd, 0xe8, 0xfd, 0xe8];
    picture.extend([
        1, 1, 0x11, 0, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0xff, 0xd9,
    ]);
    fs::write(&huge, avi(65_000, 65_000, &chunk(b"00dc", &picture))).expect("room");
    let huge_name = huge.display().to_string();
    let output = run(&[TINY, "--headless", "--input", &huge_name]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = complaints(&output);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("65000x65000"), "{said:?}");
    // Nor does it end another stream.
    let good = dir.path().join("good.avi");
    fs::write(
        &good,
        avi(32, 32, &chunk(b"00dc", &jpeg(32, 32)).repeat(20)),
    )
    .expect("room");
    let pipeline = two_streams(dir.path(), &huge, &good);
    let output = run(&[&pipeline.display().to_string(), "--headless"]);
    let got = records(&output.stdout);
    let of_two = of_type(&got, "frame");
    assert_eq!(of_two.len(), 20, "{}", stderr(&output));
}

#[test]
fn a_chunk_of_four_gigabytes_leaves_the_other_stream_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let (bad, good) = (dir.path().join("bad.avi"), dir.path().join("good.avi"));
    let frame = chunk(b"00dc", &jpeg(32, 32));
    let mut frames = frame.repeat(3);
    frames.extend(b"01wb");
    frames.extend([0xff; 40]);
    fs::write(&bad, avi(32, 32, &frames)).expect("room");
    fs::write(&good, avi(32, 32, &frame.repeat(50))).expect("room");
    let output = run(&[TINY, "--headless", "--input", &bad.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let got = records(&output.stdout);
    assert_eq!(of_type(&got, "frame").len(), 3);
    assert_eq!(end(&got)["reason"], "eof");
    let pipeline = two_streams(dir.path(), &bad, &good);
    let output = run(&[&pipeline.display().to_string(), "--headless"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(of_type(&records(&output.stdout), "frame").len(), 53);
}

/// Bytes that a process has read.
fn bytes_read(process: u32) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    let line = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[test]
fn endless_empty_chunks_can_be_interrupted() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("zeros.avi");
    let mut sparse = File::create(&path).expect("room");
    sparse.write_all(&avi(32, 32, b"")).expect("room");
    // Zeros are chunks without a name and without content.
    sparse.set_len(1 << 42).expect("a sparse file");
    let mut process = Process::start(
        mobilens()
            .args([TINY, "--headless", "--input"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    let id = process.id();
    until("reading of chunks", || bytes_read(id) > 1 << 27);
    process.interrupt();
    assert_eq!(process.ended().code(), Some(0));
}

#[test]
fn subtitles_of_open_parentheses_take_no_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let clip = dir.path().join("clip.mp4");
    fs::copy(file("tests/data/video/baseline.mp4"), &clip).expect("room");
    let text = format!(
        "1\n00:00:00,000 --> 00:00:01,000\n{}",
        "GPS(".repeat(1 << 19)
    );
    fs::write(dir.path().join("clip.srt"), text).expect("room");
    let output = run(&[TINY, "--headless", "--input", &clip.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("no drone telemetry"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_small_configuration_takes_little_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("bomb.yaml");
    let long = "x".repeat(450_000);
    let streams: String = (0..20_000).map(|i| format!("- stream: s{i}\n")).collect();
    let values: String = "- 1\n".repeat(50_000);
    for (what, text) in [
        (
            "aliases of a long text",
            format!("a: &x {long}\nb:\n{}", "- *x\n".repeat(40_000)),
        ),
        (
            "duplicates under a long key",
            format!("? {long}\n:\n{}", " a: 1\n".repeat(40_000)),
        ),
        (
            "streams that share much",
            format!("zones:\n{values}streams:\n{streams}"),
        ),
    ] {
        assert!(text.len() < 700_000, "{what}");
        fs::write(&path, text).expect("room");
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 1500000; exec \"$0\" check \"$1\""])
            .arg(env!("CARGO_BIN_EXE_mobilens"))
            .arg(&path)
            .output()
            .expect("sh starts");
        assert_eq!(output.status.code(), Some(2), "{what}: {}", stderr(&output));
        assert_eq!(complaints(&output).len(), 1, "{what}: {}", stderr(&output));
    }
}

/// The processes that `parent` started, with their arguments.
fn children(parent: u32) -> Vec<(u32, String)> {
    let all = fs::read_dir("/proc").expect("a Linux machine");
    let ids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name in parentheses may hold anything; state and parent follow.
        let (_, after) = stat.rsplit_once(") ")?;
        let parent_of: u32 = after.split(' ').nth(1)?.parse().ok()?;
        let arguments = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        (parent_of == parent).then_some((id, arguments))
    })
    .collect()
}

/// A camera with a password, read by ffmpeg: the running program, and the camera's end of the connection.
fn camera_with_password(dir: &Path) -> Option<(Process, BufReader<TcpStream>)> {
    if Command::new("ffmpeg").arg("-version").output().is_err() {
        skip("ffmpeg is not installed");
        return None;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let pipeline = dir.join("camera.yaml");
    let card = file("tests/data/tiny/tiny.yaml");
    let text = format!(
        "source:\n  rtsp:\n    url: \"rtsp://viewer:${{TEST_PASSWORD}}@127.0.0.1:{port}/1\"\n    \
         decoder: ffmpeg\n    stall_ms: 600000\n    reconnect: never\nmodel: \"{}\"\nsinks: [{{ jsonl: {{ path: \"-\" }} }}]\n",
        card.display()
    );
    fs::write(&pipeline, text).expect("room");
    let process = Process::start(
        mobilens()
            .arg(&pipeline)
            .arg("--headless")
            .env("TEST_PASSWORD", "S3cretWord")
            .env("MOBILENS_LOG", "trace")
            .stdout(Stdio::null())
            .stderr(Stdio::piped()),
    );
    let (connection, _) = listener.accept().expect("ffmpeg connects");
    connection
        .set_read_timeout(Some(support::PATIENCE))
        .expect("a socket");
    Some((process, BufReader::new(connection)))
}

/// The next request of an RTSP client: its lines.
fn request(connection: &mut BufReader<TcpStream>) -> Vec<String> {
    let lines = connection
        .by_ref()
        .lines()
        .map(|line| line.expect("a line"));
    lines.take_while(|line| !line.is_empty()).collect()
}

fn answer(connection: &mut BufReader<TcpStream>, request: &[String], status: &str, headers: &str) {
    let number = request.iter().find(|line| line.starts_with("CSeq:"));
    let number = number.expect("a number");
    let text = format!("RTSP/1.0 {status}\r\n{number}\r\n{headers}\r\n");
    connection
        .get_mut()
        .write_all(text.as_bytes())
        .expect("connected");
}

#[test]
fn ffmpeg_gets_the_password_and_nobody_sees_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some((mut process, mut connection)) = camera_with_password(dir.path()) else {
        return;
    };
    let running = children(process.id());
    assert_eq!(running.len(), 1, "{running:?}");
    let (_, arguments) = &running[0];
    assert!(arguments.contains("ffmpeg"), "{arguments}");
    assert!(!arguments.contains("S3cretWord"), "{arguments}");
    let mut authorization = None;
    while authorization.is_none() {
        let lines = request(&mut connection);
        let given = lines.iter().find(|line| line.starts_with("Authorization:"));
        authorization = given.cloned();
        match lines[0].split(' ').next() {
            Some("OPTIONS") => answer(&mut connection, &lines, "200 OK", "Public: DESCRIBE\r\n"),
            _ if authorization.is_none() => {
                let challenge = "WWW-Authenticate: Basic realm=\"camera\"\r\n";
                answer(&mut connection, &lines, "401 Unauthorized", challenge);
            }
            _ => answer(&mut connection, &lines, "404 Not Found", ""),
        }
    }
    // viewer:S3cretWord
    let expected = "Authorization: Basic dmlld2VyOlMzY3JldFdvcmQ=";
    assert_eq!(authorization.as_deref(), Some(expected));
    assert_eq!(process.ended().code(), Some(1));
    let mut said = String::new();
    let mut log = process.stderr.take().expect("piped");
    log.read_to_string(&mut said).expect("text");
    assert!(said.contains("ffmpeg: "), "{said}");
    assert!(said.contains("rtsp://127.0.0.1:"), "{said}");
    assert!(!said.contains("S3cretWord"), "{said}");
}

#[test]
#[cfg(target_os = "linux")]
fn ffmpeg_dies_with_the_program() {
    let dir = tempfile::tempdir().expect("a folder");
    // The camera is silent: ffmpeg has nothing to write, and no closed pipe tells it.
    let Some((mut process, _connection)) = camera_with_password(dir.path()) else {
        return;
    };
    let running = children(process.id());
    let (ffmpeg, _) = running[0];
    process.kill().expect("it runs");
    process.wait().expect("it ends");
    // A process that nobody waits for is left as a zombie by some first processes.
    until("the end of ffmpeg", || {
        let status = fs::read_to_string(format!("/proc/{ffmpeg}/stat")).unwrap_or_default();
        let state = status
            .rsplit_once(") ")
            .map(|(_, after)| after.starts_with('Z'));
        state.unwrap_or(true)
    });
}
