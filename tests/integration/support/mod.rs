//! What the tests of the binary share.

pub mod camera;
pub mod onvif;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What a test waits for comes within this time, or never: a limit for hangs, not for speed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A whole run that takes longer hangs.
const RUN_PATIENCE: Duration = Duration::from_secs(900);

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

/// Says that a test is skipped for lack of something, e.g. "ffmpeg is not installed".
///
/// # Panics
/// Where the environment variable `MOBILENS_CI` is set: there everything must be present.
pub fn skip(why: &str) {
    assert!(std::env::var_os("MOBILENS_CI").is_none(), "{why}");
    eprintln!("SKIPPED: {why}");
}

/// A folder of data too large for the repository: `../shared/data/NAME` beside the checkout, or
/// below the folder that the environment variable `MOBILENS_SHARED` names. `None`, after
/// [`skip`], if it does not exist.
pub fn shared(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("MOBILENS_SHARED");
    let dir = shared
        .map_or_else(|| file("../shared"), PathBuf::from)
        .join("data")
        .join(name);
    if dir.is_dir() {
        return Some(dir);
    }
    skip(&format!("{} does not exist", dir.display()));
    None
}

/// A port that nobody listens on, and that no other test gets.
///
/// Below the range from which the system gives ports to outgoing connections: what a test listens on
/// again after a while must not be taken by one of those in the meantime.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % 120) as u16 * 100;
    loop {
        let port = 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until `done` holds.
///
/// # Panics
/// With `what`, after [`PATIENCE`].
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A process that ends with the test, also when that fails.
pub struct Process(Child);

impl Process {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("it starts"))
    }

    /// Asks it to end, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal("-INT");
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    fn signal(&self, signal: &str) {
        let told = Command::new("kill")
            .args([signal, &self.0.id().to_string()])
            .status();
        assert!(told.expect("kill starts").success());
    }

    /// Waits until it has ended by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the end of the process", || {
            status = self.0.try_wait().expect("it can be waited for");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// The lines that it writes to standard output, as they come.
    pub fn lines(&mut self) -> Receiver<String> {
        let stdout = BufReader::new(self.0.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        lines
    }
}

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
        if end.recv_timeout(RUN_PATIENCE) == Err(RecvTimeoutError::Timeout) {
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
