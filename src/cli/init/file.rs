//! Writes the pipeline: into a temporary file beside it, which is checked, then put in its place whole.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::camera::Source;
use super::error::InitError;
use crate::cli::reload::{Hangup, on_signals};

/// Exit code after Ctrl-C (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// The folder of `file`, absolute.
///
/// # Errors
/// When the file exists and may not be overwritten, or the folder does not exist.
pub fn ensure_free(file: &Path, force: bool) -> Result<PathBuf, InitError> {
    if file.is_dir() || file.file_name().is_none() {
        return Err(InitError::File {
            file: file.to_owned(),
            why: "expected a file, not a folder".to_owned(),
        });
    }
    if !force && file.symlink_metadata().is_ok() {
        return Err(InitError::Exists(file.to_owned()));
    }
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    parent.canonicalize().map_err(|error| InitError::File {
        file: file.to_owned(),
        why: format!("{}: {error}", parent.display()),
    })
}

/// A file that vanishes unless it is put in its place.
pub struct TemporaryFile(PathBuf);

impl TemporaryFile {
    /// Of a name beside `file`; it is not made yet.
    pub fn beside(file: &Path) -> Self {
        let mut name = std::ffi::OsString::from(".");
        name.push(file.file_name().unwrap_or_default());
        name.push(format!(".{}.tmp", std::process::id()));
        Self(file.with_file_name(name))
    }

    /// Ctrl-C removes it and ends the program.
    pub fn remove_on_interrupt(&self) {
        let path = self.0.clone();
        let handler = move || {
            let _ = fs::remove_file(&path);
            let _ = writeln!(io::stderr());
            std::process::exit(INTERRUPTED);
        };
        on_signals(Hangup::End, handler);
    }

    /// Writes `text` and checks it as the pipeline `file`, as `mobilens check` does; gives what the model
    /// runs on.
    ///
    /// # Errors
    /// When it cannot be written, or is not valid.
    pub fn write_and_check(
        &self,
        file: &Path,
        text: &str,
        source: &Source,
    ) -> Result<String, InitError> {
        let mut options = OpenOptions::new();
        let open = options.write(true).create_new(true).open(&self.0);
        open.and_then(|mut open| {
            open.write_all(text.as_bytes())?;
            open.sync_all()
        })
        .map_err(|error| write_error(file, error))?;
        // A variable that will be set later has any value now.
        let overrides: Vec<String> = source.checked_override().into_iter().collect();
        match crate::cli::validate(&self.0, &overrides) {
            Ok((_, network)) => Ok(network),
            Err(errors) => {
                let temporary = self.0.display().to_string();
                let shown = file.display().to_string();
                Err(InitError::Check(errors.replace(&temporary, &shown)))
            }
        }
    }

    /// Gives it the name `file`.
    ///
    /// # Errors
    /// When the file exists meanwhile and may not be overwritten, or cannot be written.
    pub fn put_in_place(&self, file: &Path, force: bool) -> Result<(), InitError> {
        if !force {
            match fs::hard_link(&self.0, file) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    return Err(InitError::Exists(file.to_owned()));
                }
                // A file system without links.
                Err(_) => {}
            }
        }
        fs::rename(&self.0, file).map_err(|error| write_error(file, error))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn write_error(file: &Path, error: io::Error) -> InitError {
    InitError::Write {
        file: file.to_owned(),
        error,
    }
}
