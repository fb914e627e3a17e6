//! Errors of the event store.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why an event store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such file.
    #[error("{}: no such event store", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is something else.
    #[error("{}: not an event store of mobilens", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program made it.
    #[error(
        "{}: an event store of a newer mobilens (schema {found}; this one knows {known})",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest one here.
        known: i64,
    },
    /// An older program made it, and it is opened for reading only.
    #[error(
        "{}: an event store of an older mobilens (schema {found} of {known}): it is migrated by the next run with it",
        .path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest one here.
        known: i64,
    },
    /// SQLite fails.
    #[error("{}: {source}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Its word.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// An error of SQLite on `path`.
    pub(super) fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign { path },
            _ => Self::Sqlite { path, source },
        }
    }

    /// What the system says: disk full, no permission. An error that another attempt does not help is given back.
    ///
    /// # Errors
    /// The same, if the file is not ours.
    pub fn into_io(self) -> Result<(PathBuf, io::Error), Self> {
        match self {
            Self::Sqlite { path, source } => {
                let is_full = source.sqlite_error_code() == Some(ErrorCode::DiskFull);
                let error = if is_full {
                    io::ErrorKind::StorageFull.into()
                } else {
                    io::Error::other(source.to_string())
                };
                Ok((path, error))
            }
            Self::Missing { path } => Ok((path, io::ErrorKind::NotFound.into())),
            refused => Err(refused),
        }
    }
}
