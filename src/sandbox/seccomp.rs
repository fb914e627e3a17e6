//! System calls of a thread that decodes, by seccomp.
//!
//! A list of what is refused, not of what is allowed: allocators, clocks and the C library may use whatever
//! they want to compute, and a call that a new version of them makes does not end a recording.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// What no decoder does.
const REFUSED: &[libc::c_long] = &[
    // Network.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Processes, and the memory of others. An ffmpeg that stalls must be killed from here.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    // Changes of the file system.
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_truncate,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    // Parts of the kernel that are often attacked.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
];

/// Older forms of these, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const REFUSED_OLD: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_creat,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLD: &[libc::c_long] = &[];

/// Calls that open files, with the position of their flags.
#[cfg(target_arch = "x86_64")]
const OPENING: &[(libc::c_long, u8)] = &[(libc::SYS_open, 1), (libc::SYS_openat, 2)];
#[cfg(not(target_arch = "x86_64"))]
const OPENING: &[(libc::c_long, u8)] = &[(libc::SYS_openat, 2)];

/// Flags of which none is allowed: writing, and making files.
const WRITING: [i32; 3] = [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT];

/// Restricts this thread, and the threads that it starts from now on.
///
/// # Errors
/// When the kernel does not have it, or refuses.
pub fn restrict() -> Result<(), String> {
    let program = program().map_err(|error| error.to_string())?;
    apply_filter(&program).map_err(|error| error.to_string())
}

/// Whether the kernel has seccomp filters.
///
/// # Errors
/// When it does not, or this processor is not supported.
pub fn is_available() -> Result<(), String> {
    program().map_err(|error| error.to_string())?;
    match std::fs::read_to_string("/proc/self/status") {
        Ok(status) if !status.contains("\nSeccomp:") => Err("not in this kernel".to_owned()),
        // Without /proc it shows when a thread is restricted.
        _ => Ok(()),
    }
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = BTreeMap::new();
    for call in REFUSED.iter().chain(REFUSED_OLD) {
        rules.insert(*call, Vec::new());
    }
    for (call, flags) in OPENING {
        let mut of_call = Vec::new();
        for flag in WRITING {
            let flag = u64::from(flag.unsigned_abs());
            let has_flag = SeccompCondition::new(
                *flags,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::MaskedEq(flag),
                flag,
            )?;
            of_call.push(SeccompRule::new(vec![has_flag])?);
        }
        rules.insert(*call, of_call);
    }
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?;
    filter.try_into()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{ErrorKind, Read};
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_restricted_thread_reads_and_computes_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let kept = dir.path().join("kept");
        std::fs::write(&kept, b"kept").expect("room");
        let may = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                restrict()?;
                let refused = |result: std::io::Result<()>, what: &str| {
                    let error = result.expect_err(what);
                    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}");
                };
                refused(TcpListener::bind("127.0.0.1:0").map(drop), "network");
                refused(Command::new("true").status().map(drop), "a process");
                refused(File::create(dir.path().join("new")).map(drop), "a file");
                refused(File::options().append(true).open(&kept).map(drop), "append");
                refused(std::fs::remove_file(&kept), "removal");
                refused(std::fs::rename(&kept, dir.path().join("b")), "renaming");
                let mut text = String::new();
                let mut file = File::open(&kept).expect("it may be read");
                file.read_to_string(&mut text).expect("it may be read");
                assert_eq!(text, "kept");
                let other = std::thread::spawn(|| vec![1_u8; 1 << 24].len());
                assert_eq!(other.join().expect("a thread and memory"), 1 << 24);
                Ok::<(), String>(())
            });
            thread.join().expect("no panic")
        });
        if let Err(why) = may {
            assert!(std::env::var_os("MOBILENS_CI").is_none(), "{why}");
            eprintln!("SKIPPED: no seccomp: {why}");
            return;
        }
        std::fs::remove_file(&kept).expect("other threads are free");
    }
}
