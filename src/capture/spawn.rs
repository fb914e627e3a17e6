//! Starts programs that end with this one, also when it is killed (SIGKILL).
//!
//! On Linux they are started through `setpriv --pdeathsig KILL` of util-linux, which asks the kernel for
//! that (`PR_SET_PDEATHSIG`) and then becomes the program. The kernel's measure is the *thread* that
//! starts a program, so all are started by one thread that lives as long as the process.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

/// A command, and where its process or the error goes.
type Request = (Command, Sender<io::Result<Child>>);

/// The file of a program in one of the folders of `PATH`.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Starts `program` with pipes for its output.
///
/// # Errors
/// When it cannot be started.
pub(super) fn spawn(program: &Path, arguments: Vec<OsString>, stdin: Stdio) -> io::Result<Child> {
    let mut command = match setpriv() {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command
        .args(arguments)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (answer, started) = channel();
    let lost = || io::Error::other("the thread that starts programs ended");
    let sent = spawner()?.send((command, answer));
    sent.map_err(|_| lost())?;
    started.recv().map_err(|_| lost())?
}

/// The thread that starts programs.
fn spawner() -> io::Result<&'static Sender<Request>> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    if let Some(spawner) = SPAWNER.get() {
        return Ok(spawner);
    }
    let (requests, received) = channel::<Request>();
    std::thread::Builder::new()
        .name("0-spawn".to_owned())
        .spawn(move || {
            for (mut command, answer) in received {
                let _ = answer.send(command.spawn());
            }
        })?;
    // Of two threads that come here at once, one loses: its spawner ends with its sender.
    Ok(SPAWNER.get_or_init(|| requests))
}

/// `setpriv`, if this system has one with `--pdeathsig`.
fn setpriv() -> Option<&'static Path> {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    let look = || {
        let found = find_program("setpriv")
            .filter(|_| cfg!(target_os = "linux"))
            .filter(|setpriv| has_pdeathsig(setpriv));
        if found.is_none() {
            tracing::debug!("without setpriv of util-linux, ffmpeg may outlive a kill -9");
        }
        found
    };
    SETPRIV.get_or_init(look).as_deref()
}

/// Busybox has another `setpriv`.
fn has_pdeathsig(setpriv: &Path) -> bool {
    let help = Command::new(setpriv)
        .arg("--help")
        .stdin(Stdio::null())
        .output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--pdeathsig"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn programs_are_found_and_started_from_any_thread() {
        assert_eq!(find_program("no-such-program"), None);
        let echo = find_program("echo").expect("installed everywhere");
        // The thread that asks may end before the program.
        let started = std::thread::spawn(move || spawn(&echo, vec!["a b".into()], Stdio::null()));
        let mut child = started.join().expect("no panic").expect("it starts");
        let mut said = String::new();
        let mut stdout = child.stdout.take().expect("piped");
        stdout.read_to_string(&mut said).expect("text");
        assert_eq!(said, "a b\n");
        assert!(child.wait().expect("ends").success());
    }
}
