//! `mobilens init`: pipelines by options and by answers.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::onvif::{discover, loopback, probe_match, serve, well};
use crate::support::{Process, complaints, end, file, mobilens, records, stderr, until};

/// The program in an empty folder; it finds the models of the checkout.
fn mobilens_in(folder: &Path) -> Command {
    let mut command = mobilens();
    command.current_dir(folder).env_remove("WAYLAND_DISPLAY");
    command
        .env_remove("CAMERA_PASSWORD")
        .env("MOBILENS_DATA_DIR", file(""));
    command
}

fn init(folder: &Path, arguments: &[&str], answers: &str) -> Output {
    let mut command = mobilens_in(folder);
    command.arg("init").args(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // One that ends early reads no answers.
    let _ = child
        .stdin
        .take()
        .expect("piped")
        .write_all(answers.as_bytes());
    child.wait_with_output().expect("it can be waited for")
}

fn ok(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn refused(output: &Output, words: &str) {
    assert_eq!(output.status.code(), Some(2), "{}", stderr(output));
    let lines = complaints(output);
    assert!(
        lines.len() == 1 && lines[0].contains(words),
        "{words}: {lines:?}"
    );
}

fn checked(folder: &Path, name: &str, variables: &[(&str, &str)]) {
    let mut check = mobilens_in(folder);
    let output = check
        .args(["check", name])
        .envs(variables.iter().copied())
        .output();
    ok(&output.expect("it starts"));
}

fn yaml(path: &Path) -> serde_yaml::Value {
    serde_yaml::from_str(&fs::read_to_string(path).expect("written")).expect("YAML")
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn options_make_a_pipeline_that_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::copy(file("assets/street.mp4"), folder.join("a clip.mp4")).expect("room");
    let output = init(
        folder,
        &[
            "--yes",
            "--camera",
            "a clip.mp4",
            "--show",
            "none",
            "--records",
            "seen.jsonl",
            "--clips",
            "clips",
        ],
        "",
    );
    let said = ok(&output);
    assert!(
        said.contains("mobilens.yaml: ok (") && said.contains("Run it: mobilens mobilens.yaml"),
        "{said}"
    );
    assert_eq!(names_in(folder), ["a clip.mp4", "mobilens.yaml"]);
    let text = fs::read_to_string(folder.join("mobilens.yaml")).expect("written");
    assert!(
        text.contains("path: a clip.mp4\n") && text.matches('#').count() > 8,
        "{text}"
    );
    checked(folder, "mobilens.yaml", &[]);
    let run = mobilens_in(folder)
        .args(["mobilens.yaml", "--frames", "60"])
        .output();
    ok(&run.expect("it starts"));
    let seen = records(&fs::read(folder.join("seen.jsonl")).expect("written"));
    assert_eq!(end(&seen)["frames"]["emitted"], 60);
    let clips: Vec<_> = fs::read_dir(folder.join("clips")).expect("made").collect();
    assert!(!clips.is_empty());
}

#[test]
fn every_choice_is_a_valid_pipeline() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::create_dir(folder.join("sub")).expect("room");
    let clip = file("assets/street.mp4").display().to_string();
    let pictures = file("assets").display().to_string();
    for (name, options) in [
        (
            "a.yaml",
            vec![
                "--camera",
                "0",
                "--look-for",
                "all",
                "--speed",
                "accurate",
                "--show",
                "page",
            ],
        ),
        (
            "b.yaml",
            vec![
                "--camera",
                "/dev/video12",
                "--look-for",
                "people,animals",
                "--show",
                "window",
                "--record",
                "rec",
            ],
        ),
        (
            "sub/c.yaml",
            vec![
                "--camera",
                &clip,
                "--look-for",
                "vehicles",
                "--speed",
                "accurate",
                "--record",
                "sub/rec",
            ],
        ),
        ("d.yaml", vec!["--camera", &pictures, "--show", "none"]),
        (
            "e.yaml",
            vec!["--camera", "/dev/v4l/by-id/usb: #1", "--records", "-"],
        ),
        (
            "f.yaml",
            vec![
                "--camera",
                "https://host.example/live.m3u8?key=${KEY}",
                "--speed",
                "fast",
            ],
        ),
    ] {
        ok(&init(
            folder,
            &[&["--yes", name], &options[..]].concat(),
            "",
        ));
        checked(folder, name, &[("KEY", "x")]);
    }
    let all = yaml(&folder.join("a.yaml"));
    assert!(all["detect"]["classes"].is_null() && all["gating"]["scales"].is_sequence());
    let of_people = yaml(&folder.join("b.yaml"));
    let classes = of_people["detect"]["classes"]
        .as_mapping()
        .expect("classes");
    assert!(
        classes.contains_key("person")
            && classes.contains_key("zebra")
            && !classes.contains_key("car")
    );
    assert_eq!(of_people["source"]["camera"]["index"], 12);
    let below = yaml(&folder.join("sub/c.yaml"));
    assert_eq!(below["sinks"][1]["video"]["dir"], "rec");
    let nowhere = yaml(&folder.join("d.yaml"));
    assert_eq!(nowhere["sinks"][0]["jsonl"]["path"], "-");
    assert_eq!(
        yaml(&folder.join("e.yaml"))["source"]["camera"]["device"],
        "/dev/v4l/by-id/usb: #1"
    );
}

#[test]
fn a_password_is_not_in_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let url = "rtsp://viewer:open-sesame@192.0.2.10:554/stream1";
    let output = init(folder, &["gate.yaml", "--yes", "--camera", url], "");
    let said = ok(&output);
    assert!(said.contains("export CAMERA_PASSWORD"), "{said}");
    let text = fs::read_to_string(folder.join("gate.yaml")).expect("written");
    assert!(
        !format!("{text}{said}{}", stderr(&output)).contains("sesame"),
        "{text}"
    );
    assert!(
        text.contains("rtsp://viewer:${CAMERA_PASSWORD}@192.0.2.10:554/stream1"),
        "{text}"
    );
    checked(folder, "gate.yaml", &[("CAMERA_PASSWORD", "open-sesame")]);
    // It is set: nothing is left to say.
    let mut command = mobilens_in(folder);
    command.args([
        "init",
        "b.yaml",
        "--yes",
        "--camera",
        "rtsp://192.0.2.10/a",
        "--user",
        "v",
        "--password-env",
        "GATE",
    ]);
    let said = ok(&command.env("GATE", "secret").output().expect("it starts"));
    assert!(!said.contains("export"), "{said}");
    assert_eq!(
        yaml(&folder.join("b.yaml"))["source"]["rtsp"]["url"],
        "rtsp://v:${GATE}@192.0.2.10/a"
    );
}

#[test]
fn answers_make_a_pipeline() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    // A camera that is not there, then a stream with a user; an unknown subject; a default; names; a folder that is not there.
    let answers = "no-such-clip.mp4\nrtsp://192.0.2.10/stream1\nviewer\nGATE_PASSWORD\ncars\nanimals, people\n\n\
                   page\nrecords/gate.jsonl\ngate.jsonl\nrecordings\nnone\n";
    let output = init(folder, &["gate.yaml"], answers);
    ok(&output);
    let asked = stderr(&output);
    assert!(
        asked.contains("no-such-clip.mp4") && asked.contains("expected people"),
        "{asked}"
    );
    let made = yaml(&folder.join("gate.yaml"));
    assert_eq!(
        made["source"]["rtsp"]["url"],
        "rtsp://viewer:${GATE_PASSWORD}@192.0.2.10/stream1"
    );
    assert!(
        made["detect"]["classes"]["dog"].is_mapping()
            && made["detect"]["classes"]["person"].is_mapping()
    );
    assert!(made["gating"].is_null());
    let sinks = made["sinks"].as_sequence().expect("sinks");
    assert_eq!(sinks.len(), 3);
    assert_eq!(sinks[0]["web"]["bind"], "127.0.0.1:8080");
    assert_eq!(sinks[1]["jsonl"]["path"], "gate.jsonl");
    assert_eq!(sinks[2]["video"]["dir"], "recordings");
    checked(folder, "gate.yaml", &[("GATE_PASSWORD", "x")]);
    assert_eq!(names_in(folder), ["gate.yaml"]);
}

#[test]
fn a_file_is_overwritten_only_by_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("a.yaml"), "mine").expect("room");
    refused(
        &init(folder, &["a.yaml", "--yes", "--camera", "0"], ""),
        "a.yaml exists",
    );
    assert_eq!(
        fs::read_to_string(folder.join("a.yaml")).expect("there"),
        "mine"
    );
    // What fails leaves the old one.
    refused(
        &init(
            folder,
            &["a.yaml", "--yes", "--force", "--camera", "none.mp4"],
            "",
        ),
        "--camera",
    );
    assert_eq!(
        fs::read_to_string(folder.join("a.yaml")).expect("there"),
        "mine"
    );
    ok(&init(
        folder,
        &["a.yaml", "--yes", "--force", "--camera", "0"],
        "",
    ));
    assert_eq!(yaml(&folder.join("a.yaml"))["source"]["camera"]["index"], 0);
    assert_eq!(names_in(folder), ["a.yaml"]);
}

#[test]
fn an_end_of_the_answers_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for answers in [
        "",
        "rtsp://192.0.2.10/a\n",
        "rtsp://192.0.2.10/a\n\npeople\n1\n2\nnone\nnone\n",
    ] {
        refused(&init(folder, &[], answers), "the input ended");
        assert!(names_in(folder).is_empty());
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = mobilens_in(folder.path());
    command
        .args(["init", "--camera", "0"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    let mut asked = process.stderr.take().expect("piped");
    let mut said = Vec::new();
    until("the first question", || {
        let mut byte = [0];
        let length = asked.read(&mut byte).expect("readable");
        said.extend(&byte[..length]);
        said.ends_with(b"]: ")
    });
    process.interrupt();
    assert_eq!(process.ended().code(), Some(130));
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn a_camera_that_is_found_becomes_the_source() {
    let (address, _requests) = serve(|request| well(request, "192.0.2.7:554"));
    let device = format!("http://{address}/onvif/device_service");
    let probe = discover(loopback(), vec![probe_match("Gate", &device)]);
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let camera = format!("onvif://{probe}");
    ok(&init(folder, &["a.yaml", "--yes", "--camera", &camera], ""));
    let url = |name: &str| yaml(&folder.join(name))["source"]["rtsp"]["url"].clone();
    assert_eq!(url("a.yaml"), "rtsp://192.0.2.7:554/main?a=1&b=2");
    // The second of its streams; no user; all defaults.
    let answers = format!("{camera}\n2\n\n\n\n\n\n\n\n");
    let output = init(folder, &["b.yaml"], &answers);
    ok(&output);
    assert!(
        stderr(&output).contains("2) Gate, Sub 640x360: rtsp://192.0.2.7:554/sub"),
        "{}",
        stderr(&output)
    );
    assert_eq!(url("b.yaml"), "rtsp://192.0.2.7:554/sub?a=1&b=2");
    let nobody = loopback();
    let nobody = format!("onvif://{}", nobody.local_addr().expect("its address"));
    refused(
        &init(folder, &["c.yaml", "--yes", "--camera", &nobody], ""),
        "no network camera answered",
    );
    assert_eq!(names_in(folder), ["a.yaml", "b.yaml"]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for (options, words) in [
        (vec!["--camera", "none.mp4"], "none.mp4"),
        (vec!["--camera", ""], "expected a device"),
        (vec!["--camera", "rtsp://"], "expected rtsp://HOST/PATH"),
        (vec!["--camera", "rtsp://h/?password=secret"], "${NAME}"),
        (vec!["--camera", "https://u:secret@h/a.m3u8"], "${NAME}"),
        (
            vec!["--camera", "0", "--records", ""],
            "--records: expected a path",
        ),
        (
            vec!["--camera", "0", "--records", "none/a.jsonl"],
            "--records: the folder none does not exist",
        ),
        (
            vec![
                "--camera",
                "rtsp://h/a",
                "--user",
                "u",
                "--password-env",
                "A-B",
            ],
            "environment variable",
        ),
        (vec!["--camera", "onvif://a b"], "expected HOST"),
        (
            vec!["no/such/folder/a.yaml", "--camera", "0"],
            "no/such/folder",
        ),
        (vec![".", "--camera", "0"], "expected a file"),
    ] {
        let output = init(folder, &[&["--yes"], &options[..]].concat(), "");
        refused(&output, words);
        assert!(!stderr(&output).contains("secret"));
    }
    assert!(names_in(folder).is_empty());
}
