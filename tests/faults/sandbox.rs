//! What the process may still do once its sources are open.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::opening::camera::Camera;
use crate::opening::{TINY, clip, interrupt, is_event, is_frame, next, start};
use crate::support::{PATIENCE, Process, file, mobilens, run, skip, stderr, until};

/// Whether the kernel has Landlock and seccomp; the program says what is missing.
fn is_available() -> bool {
    let output = run(&[TINY, "--headless", "--frames", "1"]);
    let said = stderr(&output);
    let line = said
        .lines()
        .find(|line| line.contains("sandbox is incomplete"));
    if let Some(line) = line {
        skip(line.trim());
    }
    line.is_none()
}

/// A list of clips, played by ffmpeg: one that lies elsewhere.
fn play(list: &Path, more: &[&str]) -> std::process::Output {
    let source = format!(
        "source={{video: {{path: {}, decoder: ffmpeg, ffmpeg_args: [\"-f\", \"concat\", \"-safe\", \"0\"]}}}}",
        list.display()
    );
    run(&[
        &[TINY, "--headless", "--set", &source, "--frames", "3"],
        more,
    ]
    .concat())
}

#[test]
fn files_that_are_none_of_the_pipelines_are_out_of_reach() {
    if !is_available() {
        return;
    }
    let ffmpeg = Command::new("ffmpeg")
        .arg("-version")
        .stdout(Stdio::null())
        .status();
    if ffmpeg.is_err() {
        skip("ffmpeg is not installed");
        return;
    }
    let (own, other) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let clip = file("assets/street.mp4");
    let elsewhere = other.path().join("private.mp4");
    std::fs::copy(clip, &elsewhere).expect("room");
    let list = own.path().join("list.txt");
    let text = format!("ffconcat version 1.0\nfile '{}'\n", elsewhere.display());
    std::fs::write(&list, text).expect("room");
    let output = play(&list, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        !stderr(&output).contains("3 emitted"),
        "{}",
        stderr(&output)
    );
    // It is the sandbox that keeps it away.
    let output = play(&list, &["--set", "sandbox=false"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("3 emitted"), "{}", stderr(&output));
    // The pipeline's own files are within reach.
    std::fs::rename(&elsewhere, own.path().join("private.mp4")).expect("room");
    std::fs::write(&list, "ffconcat version 1.0\nfile 'private.mp4'\n").expect("room");
    let output = play(&list, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// The value of `key` in the status of the thread `name`.
fn status(process: &Process, name: &str, key: &str) -> Option<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).ok()?;
    tasks.flatten().find_map(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        (comm.trim_end() == name).then(|| line.trim().to_owned())
    })
}

#[test]
fn reconnects_recordings_and_the_page_work_in_the_sandbox() {
    if !is_available() {
        return;
    }
    let clip = clip();
    for decoder in ["builtin", "ffmpeg"] {
        let dir = tempfile::tempdir().expect("a folder");
        let mut camera = Camera::good(None, &clip);
        let port = camera.port;
        let page = crate::support::free_port();
        let source = format!(
            "source={{rtsp: {{url: \"{}\", decoder: {decoder}, stall_ms: 2000}}}}",
            camera.url()
        );
        let videos = dir.path().join("videos");
        let sinks = [
            format!("sinks.1={{web: {{bind: \"127.0.0.1:{page}\"}}}}"),
            format!(
                "sinks.2={{video: {{dir: {}, split_s: 1}}}}",
                videos.display()
            ),
            format!(
                "sinks.3={{images: {{dir: {}}}}}",
                dir.path().join("images").display()
            ),
            format!(
                "sinks.4={{coco: {{path: {}}}}}",
                dir.path().join("coco.json").display()
            ),
        ];
        let mut command = mobilens();
        command.args([TINY, "--headless", "--set", &source]);
        for sink in &sinks {
            command.args(["--set", sink]);
        }
        let (child, lines) = start(&mut command);
        next(&lines, "a frame", is_frame);
        // What decodes is restricted further; what connects again is not.
        let is_restricted = Some("2".to_owned());
        let seccomp = |name| status(&child, name, "Seccomp:");
        assert_eq!(seccomp("0-capture"), is_restricted, "{decoder}");
        assert_ne!(seccomp("0-open"), is_restricted, "{decoder}");
        for _ in 0..2 {
            drop(camera);
            next(&lines, "the loss", is_event("lost"));
            camera = Camera::good(Some(port), &clip);
            next(&lines, "the return", is_event("back"));
            for _ in 0..30 {
                next(&lines, "a frame", is_frame);
            }
        }
        let page = std::net::TcpStream::connect(("127.0.0.1", page)).expect("the page");
        page.set_read_timeout(Some(PATIENCE)).expect("a socket");
        until("recordings", || {
            std::fs::read_dir(&videos).is_ok_and(|videos| videos.count() >= 2)
        });
        drop(page);
        interrupt(child, &lines);
        assert!(dir.path().join("coco.json").is_file());
    }
}
