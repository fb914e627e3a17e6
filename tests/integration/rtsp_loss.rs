//! Network cameras over a bad line: a proxy loses and damages packets.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use crate::support::camera::Server;
use crate::support::{end, file, of_type, records, run, stderr};

const TINY: &str = "tests/data/tiny/replay.yaml";

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
#[ignore = "takes half a minute; CI runs it"]
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
    assert!(frames > 0 && lost > 0);
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
