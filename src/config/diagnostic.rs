//! Configuration errors: file, line and column, key and message.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a key or a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the YAML file.
    Position {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// The file as a whole.
    File,
    /// On the command line, for instance `--set detect.score_threshold`.
    Argument(Arc<str>),
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The YAML file.
    pub file: PathBuf,
    /// Where in it, or on the command line.
    pub location: Location,
    /// The dotted key; empty for the whole file.
    pub key: String,
    /// What is expected and what was given, in one line.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::Position { line, column } => {
                write!(f, "{}:{line}:{column}: ", self.file.display())?;
            }
            Location::File => write!(f, "{}: ", self.file.display())?,
            Location::Argument(argument) => write!(f, "{argument}: ")?,
        }
        let is_repeated = matches!(&self.location, Location::Argument(argument)
            if argument.strip_prefix("--set ") == Some(self.key.as_str()));
        if !self.key.is_empty() && !is_repeated {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.message)
    }
}

/// All errors of a configuration, displayed one a line; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Diagnostic>);

impl ConfigError {
    /// A single error of a file as a whole.
    pub fn in_file(file: &Path, message: impl Into<String>) -> Self {
        Self(vec![Diagnostic {
            file: file.to_owned(),
            location: Location::File,
            key: String::new(),
            message: message.into(),
        }])
    }

    /// A single error of a command-line argument.
    pub fn in_argument(argument: &str, message: impl Into<String>) -> Self {
        Self(vec![Diagnostic {
            file: PathBuf::new(),
            location: Location::Argument(argument.into()),
            key: String::new(),
            message: message.into(),
        }])
    }

    /// Several errors, sorted by file, line and column; those of arguments come last.
    pub fn sorted(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_cached_key(|diagnostic| match diagnostic.location {
            Location::File => (0, diagnostic.file.clone(), 0, 0),
            Location::Position { line, column } => (0, diagnostic.file.clone(), line, column),
            Location::Argument(_) => (1, PathBuf::new(), 0, 0),
        });
        Self(diagnostics)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The operating system's message, without its error number.
pub(super) fn io_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}
