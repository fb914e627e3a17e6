//! The window, on a virtual screen: it opens, shows boxes, and Esc ends the run with 0.
//!
//! Needs Xvfb, xdotool and ImageMagick's import (Debian: xvfb, xdotool, imagemagick); without them
//! the test is skipped, and says so.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "tests say what they measure and skip")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use image::RgbImage;
use support::{mobilens, stderr};

struct Screen {
    xvfb: Child,
    display: String,
}

impl Screen {
    /// A screen of 1600x1200 that says itself which number it got.
    fn open() -> Option<Self> {
        for tool in ["Xvfb", "xdotool", "import"] {
            let there = Command::new("sh")
                .args(["-c", &format!("command -v {tool}")])
                .output()
                .is_ok_and(|o| o.status.success());
            if !there {
                let line = format!("SKIPPED the window's test: {tool} is not installed");
                assert!(std::env::var_os("MOBILENS_CI").is_none(), "{line}");
                eprintln!("{line}");
                return None;
            }
        }
        let mut xvfb = Command::new("Xvfb")
            .args([
                "-displayfd",
                "1",
                "-screen",
                "0",
                "1600x1200x24",
                "-nolisten",
                "tcp",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb starts");
        let mut number = String::new();
        BufReader::new(xvfb.stdout.take().expect("piped"))
            .read_line(&mut number)
            .expect("Xvfb says its number");
        Some(Self {
            xvfb,
            display: format!(":{}", number.trim()),
        })
    }

    fn tool(&self, name: &str, args: &[&str]) -> bool {
        Command::new(name)
            .args(args)
            .env("DISPLAY", &self.display)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    }

    fn shot(&self) -> RgbImage {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("screen.png");
        assert!(self.tool("import", &["-window", "root", &path.display().to_string()]));
        if let Some(keep) = std::env::var_os("MOBILENS_KEEP_SHOT") {
            std::fs::copy(&path, keep).expect("room");
        }
        image::open(path).expect("a screenshot").into_rgb8()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.xvfb.kill();
        let _ = self.xvfb.wait();
    }
}

/// Tries until `done` or half a minute has passed.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_window_shows_boxes_and_esc_ends_the_run_with_0() {
    let Some(screen) = Screen::open() else { return };
    let mut child = mobilens()
        .env("DISPLAY", &screen.display)
        // A still picture stays until the user has seen enough: chelsea the cat.
        .args([
            "pipelines/ssd_replay.yaml",
            "--set",
            "detect.classes={}",
            "--input",
            "tests/data/pictures/chelsea.png",
        ])
        .args([
            "--set",
            "sinks=[{window: {title: test, width_px: 640, height_px: 480}}]",
        ])
        .args(["--set", "overlay={line_px: 6, colours: {cat: '#ff00ff'}}"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let magenta = |screen: &Screen| {
        let shot = screen.shot();
        shot.pixels()
            .filter(|p| p[0] > 200 && p[1] < 60 && p[2] > 200)
            .count()
    };
    until("a magenta box around the cat", || magenta(&screen) > 2000);
    // The picture (451x300) fills the window of 640x480 in width, and has black above and below.
    let shot = screen.shot();
    let row = |y: u32| (0..shot.width()).map(move |x| (x, y));
    let lit = |y: u32| {
        row(y)
            .filter(|(x, y)| shot.get_pixel(*x, *y).0 != [0, 0, 0])
            .count()
    };
    let rows = (0..shot.height()).filter(|y| lit(*y) > 500).count();
    assert!((400..=440).contains(&rows), "{rows} rows of picture");
    assert!((0..shot.height()).all(|y| lit(y) <= 640));
    // Larger by the user's hand: the box grows with it.
    let before = magenta(&screen);
    let resize = ["search", "--name", "test", "windowsize", "1000", "700"];
    assert!(screen.tool("xdotool", &resize));
    until("the larger picture", || {
        magenta(&screen) > before + before / 4
    });
    // Without a window manager the keyboard belongs to the window under the pointer. A key that is
    // pressed and let go between two looks at the keyboard is missed: it is held for a moment.
    let press = [
        "mousemove",
        "800",
        "600",
        "keydown",
        "Escape",
        "sleep",
        "0.2",
        "keyup",
        "Escape",
    ];
    until("the end after Esc", || {
        assert!(screen.tool("xdotool", &press));
        child.try_wait().expect("a child").is_some()
    });
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("ended: window_closed"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_display_that_does_not_answer_is_said_and_the_run_goes_on() {
    let output = mobilens()
        .env("DISPLAY", ":987")
        .args(["tests/data/tiny/replay.yaml", "--frames", "3"])
        .args(["--set", "sinks=[{window: {}}]"])
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("going on headless"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        support::of_type(&support::records(&output.stdout), "frame").len(),
        3
    );
}
