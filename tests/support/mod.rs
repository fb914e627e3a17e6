//! What the tests of the binary share.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod camera;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the checkout.
pub fn file(path: &str) -> PathBuf {
    root().join(path)
}

/// The binary, away from any display.
pub fn mobilens() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobilens"));
    command.current_dir(root()).env_remove("DISPLAY");
    command
}

/// Runs the binary with `args`; one that hangs is ended.
pub fn run<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Output {
    let mut command = mobilens();
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("the binary starts");
    let id = child.id().to_string();
    let (ended, end) = channel::<()>();
    let watch = std::thread::spawn(move || {
        if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-9", &id]).status();
        }
    });
    let output = child.wait_with_output().expect("it can be waited for");
    drop(ended);
    watch.join().expect("no panic");
    output
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON lines of `text`, each of which must be whole.
pub fn records(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).expect("UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'), "a line is cut off");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("whole JSON"))
        .collect()
}

/// The records of type `kind`.
pub fn of_type<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|r| r["type"] == kind).collect()
}

/// The last record, which must be the end.
pub fn end(records: &[Value]) -> &Value {
    let end = records.last().expect("records");
    assert_eq!(end["type"], "end");
    let frames = &end["frames"];
    let count = |v: &Value| v.as_u64().expect("a count");
    let dropped: u64 = frames["dropped"]
        .as_object()
        .expect("reasons")
        .values()
        .map(count)
        .sum();
    assert_eq!(
        count(&frames["captured"]),
        count(&frames["emitted"]) + dropped
    );
    end
}

/// The lines that the program says on standard error when something is wrong.
pub fn complaints(output: &Output) -> Vec<String> {
    stderr(output)
        .lines()
        .filter(|line| line.starts_with("mobilens: "))
        .map(str::to_owned)
        .collect()
}
