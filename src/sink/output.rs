//! A file or standard output that holds whole chunks only.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::SinkError;

/// Writes chunk by chunk. A file that could take only part of a chunk (a full disk) is cut back to
/// the end of the chunk before.
#[derive(Debug)]
pub struct Output {
    target: Target,
    name: String,
    good_bytes: u64,
}

#[derive(Debug)]
enum Target {
    Stdout,
    File(File),
}

impl Output {
    /// A new file at `path`, or standard output for `-`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        if path == Path::new("-") {
            Ok(Self::stdout())
        } else {
            Self::create(path)
        }
    }

    /// Standard output.
    pub fn stdout() -> Self {
        Self {
            target: Target::Stdout,
            name: "standard output".to_owned(),
            good_bytes: 0,
        }
    }

    /// A new file; one that is there is emptied.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path) -> Result<Self, SinkError> {
        let name = path.display().to_string();
        let file = File::create(path).map_err(|e| SinkError::from_io(&name, e))?;
        Ok(Self {
            target: Target::File(file),
            name,
            good_bytes: 0,
        })
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes all of `chunk` and flushes it, or leaves the file as it was.
    ///
    /// # Errors
    /// When the chunk could not be written whole.
    pub fn write_chunk(&mut self, chunk: &[u8]) -> Result<(), SinkError> {
        let written = match &mut self.target {
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(chunk).and_then(|()| stdout.flush())
            }
            Target::File(file) => file.write_all(chunk).inspect_err(|_| {
                // Devices and pipes have no length to cut; for them the error alone must do.
                let _ = file.set_len(self.good_bytes);
            }),
        };
        written.map_err(|e| SinkError::from_io(&self.name, e))?;
        self.good_bytes += chunk.len() as u64;
        Ok(())
    }
}
