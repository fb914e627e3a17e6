//! Restricts the program to what a run needs, so that a defect in what reads data of strangers (video,
//! pictures, models) opens as little as possible. Linux only.
//!
//! | what | by | from when on |
//! |---|---|---|
//! | the process and what it starts (ffmpeg): files outside the pipeline's own folders and the system's libraries, writing outside the folders of the sinks | Landlock | before the sources are opened |
//! | the thread that decodes (`0-capture`): network, processes, writing and removing files | seccomp | once its source is open |
//!
//! Both last until the process or thread ends, and hold for all that it starts; so the process is restricted
//! before its threads are started, and sources are opened again on a thread that is not restricted further
//! ([`OpenThread`](crate::capture::OpenThread)). A kernel may have neither; a run then goes on without, and
//! says so. Other threads of the same process still have the network: the sandbox makes an attack harder,
//! and is no boundary between a decoder and the secrets in the process's memory.

mod folders;
#[cfg(target_os = "linux")]
mod landlock;
#[cfg(not(target_os = "linux"))]
#[path = "no_landlock.rs"]
mod landlock;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod seccomp;
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
#[path = "no_seccomp.rs"]
mod seccomp;

pub use folders::Folders;

/// Restricts this thread, and the threads and processes that it starts from now on, to `folders`; says so if
/// that or the restriction of decoders is not to be had. Gives whether files are restricted now.
pub fn restrict_process(folders: &Folders) -> bool {
    let mut missing = Vec::new();
    let restricted = landlock::restrict(folders);
    let is_restricted = restricted.is_ok();
    match restricted {
        Ok(()) => tracing::debug!("sandbox: files are restricted by Landlock"),
        Err(why) => missing.push(format!("no Landlock ({why})")),
    }
    if let Err(why) = seccomp::is_available() {
        missing.push(format!("no seccomp ({why})"));
    }
    if !missing.is_empty() {
        tracing::info!("sandbox is incomplete: {}", missing.join(", "));
    }
    is_restricted
}

/// Restricts this thread, and those that it starts from now on, to what decoding needs: the network, other
/// processes, and writing or removing files are refused with `EPERM`.
pub fn restrict_thread() {
    match seccomp::restrict() {
        Ok(()) => tracing::debug!("sandbox: system calls of this thread are restricted by seccomp"),
        Err(why) => tracing::debug!("sandbox: no seccomp ({why})"),
    }
}
