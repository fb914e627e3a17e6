//! A pipeline that runs in a folder of its own, and can be asked to reload.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Process, file, mobilens, of_type, stderr, until};

/// A run whose records are in `records.jsonl`.
pub struct PipelineRun {
    pub dir: TempDir,
    pub process: Process,
}

/// The bundled clip again and again, at its own pace, with the small network, tracked, counted and written down.
pub const BASE: &str = "\
model: MODELS/ssdlite_mobilenet_v2_coco_int8.yaml
source: { video: { path: CLIP, pace: realtime, loop: true } }
detect: { score_threshold: 0.4, classes: { person: {}, car: {} } }
track: {}
zones: { left: { polygon: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]] } }
lines: { middle: { from: [0.5, 0], to: [0.5, 1] } }
sinks: [ jsonl: { path: records.jsonl } ]
";

/// Several streams of the clip, with their names.
pub fn of_streams(names: &[&str]) -> String {
    let streams = names.iter().map(|name| {
        format!(
            "  - {{ stream: {name}, source: {{ video: {{ path: CLIP, pace: realtime, loop: true }} }} }}\n"
        )
    });
    format!(
        "model: MODELS/ssdlite_mobilenet_v2_coco_int8.yaml\ntrack: {{}}\n\
         sinks: [ jsonl: {{ path: records.jsonl }} ]\nstreams:\n{}",
        streams.collect::<String>()
    )
}

impl PipelineRun {
    /// Starts `yaml`, and waits until there are records of frames.
    pub fn start(yaml: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        write(&dir.path().join("pipeline.yaml"), yaml);
        let log = fs::File::create(dir.path().join("log")).expect("room");
        let mut command = mobilens();
        command
            .arg(dir.path().join("pipeline.yaml"))
            .arg("--headless");
        command.env("XDG_RUNTIME_DIR", dir.path());
        command.env_remove("RUNTIME_DIRECTORY");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = Process::start(&mut command);
        let run = Self { dir, process };
        run.until_frames(10);
        run
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes the pipeline file.
    pub fn write(&self, yaml: &str) {
        write(&self.path("pipeline.yaml"), yaml);
    }

    /// `mobilens reload` with these arguments, in the environment of the run.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = mobilens();
        command.arg("reload").args(arguments);
        command.env("XDG_RUNTIME_DIR", self.dir.path());
        command.env_remove("RUNTIME_DIRECTORY");
        command.output().expect("the binary starts")
    }

    /// Has the run go on under `yaml`; what it answers.
    pub fn reload(&self, yaml: &str) -> String {
        self.write(yaml);
        let output = self.command(&["--pid", &self.process.id().to_string()]);
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let log = self.log();
        assert_eq!(output.status.code(), Some(0), "{}\n{log}", stderr(&output));
        answer
    }

    /// Has `yaml` refused; why.
    pub fn refused(&self, yaml: &str) -> String {
        self.write(yaml);
        let output = self.command(&["--pid", &self.process.id().to_string()]);
        assert_eq!(output.status.code(), Some(2), "{:?}", output);
        assert!(output.stdout.is_empty());
        stderr(&output)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).expect("it logs")
    }

    /// The records so far.
    pub fn records(&self) -> Vec<Value> {
        whole_lines(&self.path("records.jsonl"))
    }

    /// Waits until so many more frames were written.
    pub fn until_frames(&self, more: usize) {
        let count = || of_type(&self.records(), "frame").len();
        let before = count();
        until("more frames", || count() >= before + more);
    }

    /// Waits for the event of the reload number `n`, from 1, of any stream.
    pub fn until_reload(&self, n: usize) {
        until("the event of a reload", || {
            reloads(&self.records()).len() >= n
        });
    }

    /// Ends it as Ctrl-C does; its records.
    pub fn end(mut self) -> Vec<Value> {
        self.process.interrupt();
        let status = self.process.ended();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        let text = fs::read(self.path("records.jsonl")).expect("records");
        crate::support::records(&text)
    }
}

fn write(path: &Path, yaml: &str) {
    let models = file("models").display().to_string();
    let clip = file("assets/street.mp4").display().to_string();
    let text = yaml.replace("MODELS", &models).replace("CLIP", &clip);
    // As editors do: nobody reads half a file.
    let new = path.with_extension("new");
    fs::write(&new, text).expect("room");
    fs::rename(&new, path).expect("one folder");
}

/// The whole lines of a file that is being written.
pub fn whole_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    crate::support::records(&text.as_bytes()[..end])
}

/// The events of reloads.
pub fn reloads(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|r| r["kind"] == "reload").collect()
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

/// The numbers of the frames.
pub fn numbers(records: &[Value]) -> Vec<u64> {
    let frames = of_type(records, "frame").into_iter();
    frames.map(|frame| number(&frame["frame"])).collect()
}

/// No frame was lost or doubled: the records of one stream are those of frames `first` and on.
pub fn assert_in_sequence(records: &[Value], first: u64) {
    let numbers = numbers(records);
    let expected: Vec<u64> = (first..first + numbers.len() as u64).collect();
    assert_eq!(numbers, expected);
}

/// The scores of the detections of a frame.
pub fn scores(frame: &Value) -> Vec<f64> {
    let detections = frame["detections"].as_array().into_iter().flatten();
    detections
        .map(|d| d["score"].as_f64().expect("a score"))
        .collect()
}

/// The ids of a frame's tracks.
pub fn tracks(frame: &Value) -> Vec<u64> {
    let tracks = frame["tracks"].as_array().into_iter().flatten();
    tracks.map(|track| number(&track["track_id"])).collect()
}

/// Tracks live on from frame to frame over the reload with that event.
pub fn assert_tracks_live_on(records: &[Value], reload: &Value) {
    let frames = of_type(records, "frame");
    let at = frames.iter().position(|f| f["frame"] == reload["frame"]);
    let at = at.expect("a reload begins with a frame");
    let (before, after) = (frames[at - 1], frames[at]);
    if after["cut"] == true {
        eprintln!("the clip began anew at frame {}", after["frame"]);
        return;
    }
    let (before, after) = (tracks(before), tracks(after));
    let common = before.iter().filter(|id| after.contains(id)).count();
    assert!(
        before.is_empty() || common > 0,
        "{before:?}, then {after:?}, at {reload}"
    );
}
