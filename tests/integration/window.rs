//! The window, on a virtual screen: it opens, shows boxes, and Esc ends the run with 0.
//!
//! Needs Xvfb, xdotool and ImageMagick's import (Debian: xvfb, xdotool, imagemagick); without them
//! the test is skipped, and says so.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::support::{self, Process, mobilens, skip, stderr, until};
use image::RgbImage;

struct Screen {
    _xvfb: Process,
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
                skip(&format!("{tool} is not installed"));
                return None;
            }
        }
        let mut xvfb = Process::start(
            Command::new("Xvfb")
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
                .stderr(Stdio::null()),
        );
        let mut number = String::new();
        BufReader::new(xvfb.stdout.take().expect("piped"))
            .read_line(&mut number)
            .expect("Xvfb says its number");
        Some(Self {
            _xvfb: xvfb,
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

#[test]
fn the_window_shows_boxes_and_esc_ends_the_run_with_0() {
    let Some(screen) = Screen::open() else { return };
    let mut child = Process::start(
        mobilens()
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
            .stdout(Stdio::null())
            .stderr(Stdio::piped()),
    );
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
    // pressed and let go between two looks at the keyboard is missed: it is held for a moment, and
    // for longer each time.
    let mut held_s = 0.2;
    until("the end after Esc", || {
        let sleep = format!("{held_s}");
        let press = ["mousemove", "800", "600", "keydown", "Escape"];
        let release = ["sleep", &sleep, "keyup", "Escape"];
        assert!(screen.tool("xdotool", &[&press[..], &release].concat()));
        held_s *= 1.5;
        child.try_wait().expect("a child").is_some()
    });
    let mut said = String::new();
    let mut child_stderr = child.stderr.take().expect("piped");
    child_stderr.read_to_string(&mut said).expect("text");
    assert_eq!(child.ended().code(), Some(0), "{said}");
    assert!(said.contains("ended: window_closed"), "{said}");
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
