//! Sink errors.

use std::io;

/// Why a sink cannot take more.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The reader of a pipe went away: it has had enough, which is no failure.
    #[error("the reader of {target} went away")]
    ReaderGone {
        /// File or stream.
        target: String,
    },
    /// The system refused to write: disk full, no permission.
    #[error("cannot write {target}: {source}")]
    Io {
        /// File or stream.
        target: String,
        /// The system's word.
        source: io::Error,
    },
    /// A run that is not as it was.
    #[error("{}:{line}: {why}", .path.display())]
    Differs {
        /// The records of the run as it was.
        path: std::path::PathBuf,
        /// The line at which they differ.
        line: usize,
        /// What differs.
        why: String,
    },
    /// An event store that this program cannot use: the whole message.
    #[cfg(feature = "store")]
    #[error("{0}")]
    Store(String),
    /// A result that the format cannot say.
    #[error("{target}: {why}")]
    Unrepresentable {
        /// File or stream.
        target: String,
        /// What, and what to do.
        why: String,
    },
}

impl SinkError {
    /// Tells a reader that went away from a disk that is full.
    pub fn from_io(target: &str, source: io::Error) -> Self {
        let target = target.to_owned();
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone { target },
            _ => Self::Io { target, source },
        }
    }
}
