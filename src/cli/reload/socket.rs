//! The Unix socket of a run, by which `mobilens reload` asks it to read its pipeline file again. It is named after the
//! process, in a folder of its user's own.
//!
//! A request and its answer are a JSON object each, in one line: `{"file": "/etc/mobilens/pipeline.yaml"}`, or without
//! a file whichever it is; `{"result": "applied", "text": "gate: detect.score_threshold (from frame 812)"}`.

use std::fs::{DirBuilder, Permissions, remove_file, set_permissions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use rustix::process::getuid;
use serde::{Deserialize, Serialize};

use super::Reloads;

/// Longest request and answer, in bytes.
const MAX_BYTES: u64 = 1 << 16;
/// How long who connects may take for its request.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Folder of a service that is started by the system.
const SYSTEM_DIR: &str = "/run/mobilens";

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    /// The pipeline file that the run must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum Answer {
    Applied { text: String },
    Refused { text: String },
    OtherFile,
}

/// A socket that is listened on; its file is removed with it.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Makes the socket of this process. Without a folder for it there is none, and the log says so.
    pub fn bind() -> Option<Self> {
        let dir = socket_dir()?;
        let path = dir.join(format!("{}.sock", std::process::id()));
        let bind = || {
            // Of an earlier process of this number.
            match remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&path)?;
            set_permissions(&path, Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        match bind() {
            Ok(listener) => Some(Self { listener, path }),
            Err(error) => {
                tracing::info!("no `mobilens reload`: {}: {error}", path.display());
                None
            }
        }
    }

    /// Answers on a thread of its own, which ends with the process.
    pub fn serve(&self, reloads: &Arc<Reloads>) {
        let serve = || {
            let listener = self.listener.try_clone()?;
            let reloads = Arc::clone(reloads);
            let serve = move || {
                for stream in listener.incoming() {
                    let answered = stream.and_then(|stream| answer(stream, &reloads));
                    if let Err(error) = answered {
                        tracing::debug!("reload socket: {error}");
                        // Out of descriptors, for instance.
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            };
            Builder::new().name("reload-socket".to_owned()).spawn(serve)
        };
        if let Err(error) = serve() {
            tracing::warn!("no `mobilens reload`: {error}");
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = remove_file(&self.path);
    }
}

fn answer(mut stream: UnixStream, reloads: &Reloads) -> std::io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_DEADLINE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(MAX_BYTES)).read_line(&mut line)?;
    let answer = match serde_json::from_str::<Request>(&line) {
        Err(error) => Answer::Refused {
            text: format!("not a request: {error}"),
        },
        Ok(Request { file }) if file.is_some() && file != reloads.file().canonicalize().ok() => {
            Answer::OtherFile
        }
        Ok(_) => match reloads.reload("mobilens reload") {
            Ok(text) => Answer::Applied { text },
            Err(text) => Answer::Refused { text },
        },
    };
    stream.set_write_timeout(Some(REQUEST_DEADLINE))?;
    write_line(&mut stream, &answer)
}

fn write_line(stream: &mut UnixStream, value: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// The folder for the sockets of this user's runs; made, if it must be.
pub fn socket_dir() -> Option<PathBuf> {
    let dir = dirs().into_iter().next()?;
    let made = DirBuilder::new().mode(0o700).create(&dir);
    if let Err(error) = made
        && error.kind() != ErrorKind::AlreadyExists
    {
        tracing::info!("no `mobilens reload`: {}: {error}", dir.display());
        return None;
    }
    // In a folder that all may write to somebody else may have made it.
    let is_own = dir
        .metadata()
        .is_ok_and(|dir| dir.is_dir() && dir.uid() == getuid().as_raw() && dir.mode() & 0o022 == 0);
    if !is_own {
        tracing::info!(
            "no `mobilens reload`: {} is not this user's own",
            dir.display()
        );
        return None;
    }
    Some(dir)
}

/// Where sockets may be, that of this environment first.
fn dirs() -> Vec<PathBuf> {
    let absolute = |name| {
        let dir = std::env::var_os(name).map(PathBuf::from);
        dir.filter(|dir| dir.is_absolute())
    };
    // systemd gives a list.
    let service = std::env::var_os("RUNTIME_DIRECTORY");
    let service = service.and_then(|list| std::env::split_paths(&list).next());
    let user = absolute("XDG_RUNTIME_DIR").filter(|dir| dir.is_dir());
    let user = user.map(|dir| dir.join("mobilens"));
    let temporary = std::env::temp_dir().join(format!("mobilens-{}", getuid().as_raw()));
    let service = service.filter(|dir| dir.is_absolute());
    let mut dirs: Vec<PathBuf> = service.into_iter().chain(user).collect();
    dirs.push(temporary);
    dirs.push(SYSTEM_DIR.into());
    dirs
}

/// Asks the run of the pipeline `file`, or the process `pid`, or the only run there is; what changed.
///
/// # Errors
/// When there is no such run, or it refuses.
pub fn ask(file: Option<&Path>, pid: Option<u32>) -> Result<String, String> {
    let absolute = file.map(|file| {
        let fault = |error| format!("{}: {error}", file.display());
        super::super::data_dir::find(file)
            .map_err(|error| error.to_string())?
            .canonicalize()
            .map_err(fault)
    });
    let absolute = absolute.transpose()?;
    let mut runs = sockets();
    if let Some(pid) = pid {
        runs.retain(|(of, _)| *of == pid);
    }
    let runs: Vec<(u32, UnixStream)> = runs
        .into_iter()
        .filter_map(|(pid, path)| Some((pid, connect(&path)?)))
        .collect();
    if file.is_none() && runs.len() > 1 {
        let pids: Vec<String> = runs.iter().map(|(pid, _)| pid.to_string()).collect();
        return Err(format!(
            "there are several runs, name the pipeline file or --pid: {}",
            pids.join(", ")
        ));
    }
    let mut answers = Vec::new();
    for (pid, mut stream) in runs {
        let fault = |error: std::io::Error| format!("process {pid}: {error}");
        let request = Request {
            file: absolute.clone(),
        };
        write_line(&mut stream, &request).map_err(fault)?;
        let mut line = String::new();
        let mut reader = BufReader::new(stream.take(MAX_BYTES));
        reader.read_line(&mut line).map_err(fault)?;
        if line.is_empty() {
            return Err(format!("process {pid} ended before it answered"));
        }
        match serde_json::from_str(&line) {
            Ok(Answer::OtherFile) => {}
            Ok(Answer::Applied { text }) => answers.push(Ok(text)),
            Ok(Answer::Refused { text }) => answers.push(Err(text)),
            Err(error) => return Err(format!("process {pid}: {error}")),
        }
    }
    let (mut applied, mut refused) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Ok(text) => applied.push(text),
            Err(text) => refused.push(text),
        }
    }
    match (applied.is_empty(), refused.is_empty(), file, pid) {
        (_, false, ..) => Err(refused.join("\n")),
        (false, true, ..) => Ok(applied.join("\n")),
        (true, true, Some(file), _) => Err(format!("no run of {}", file.display())),
        (true, true, None, Some(pid)) => Err(format!("no run with the process id {pid}")),
        (true, true, None, None) => Err("no run".to_owned()),
    }
}

/// The sockets of all runs, with their processes.
fn sockets() -> Vec<(u32, PathBuf)> {
    let mut all = Vec::new();
    for dir in dirs() {
        for entry in dir.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            let is_socket = path
                .extension()
                .is_some_and(|extension| extension == "sock");
            let pid = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            if let Some(pid) = pid.filter(|_| is_socket)
                && !all.iter().any(|(known, _)| *known == pid)
            {
                all.push((pid, path));
            }
        }
    }
    all.sort();
    all
}

/// Connects to a run; what a process left that is gone is removed.
fn connect(path: &Path) -> Option<UnixStream> {
    match UnixStream::connect(path) {
        Ok(stream) => Some(stream),
        Err(error) => {
            if error.kind() == ErrorKind::ConnectionRefused {
                let _ = remove_file(path);
            }
            None
        }
    }
}
