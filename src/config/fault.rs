//! What is wrong with a configuration, where, and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a fault stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Line and column in the file, from 1.
    At(usize, usize),
    /// Nowhere in particular in the file.
    File,
    /// On the command line, for instance `--set detect.score_threshold`.
    Argument(String),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The YAML file.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// The key, dotted; empty for the whole file.
    pub key: String,
    /// What was got and what is allowed, in one line.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::At(line, column) => write!(f, "{}:{line}:{column}: ", self.file.display())?,
            Place::File => write!(f, "{}: ", self.file.display())?,
            Place::Argument(argument) => write!(f, "{argument}: ")?,
        }
        let said = matches!(&self.place, Place::Argument(argument)
            if argument.strip_prefix("--set ") == Some(self.key.as_str()));
        if !self.key.is_empty() && !said {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.what)
    }
}

/// Everything that is wrong, one fault a line; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<Fault>);

impl ConfigFaults {
    /// A single fault of a file as a whole.
    pub fn of_file(file: &Path, what: impl Into<String>) -> Self {
        Self(vec![Fault {
            file: file.to_owned(),
            place: Place::File,
            key: String::new(),
            what: what.into(),
        }])
    }

    /// Several faults, file by file in the order of their lines; the command line's come last.
    pub fn in_order(mut faults: Vec<Fault>) -> Self {
        faults.sort_by_cached_key(|fault| match fault.place {
            Place::File => (0, fault.file.clone(), 0, 0),
            Place::At(line, column) => (0, fault.file.clone(), line, column),
            Place::Argument(_) => (1, PathBuf::new(), 0, 0),
        });
        Self(faults)
    }

    /// A single fault of the command line.
    pub fn of_argument(argument: &str, what: impl Into<String>) -> Self {
        Self(vec![Fault {
            file: PathBuf::new(),
            place: Place::Argument(argument.to_owned()),
            key: String::new(),
            what: what.into(),
        }])
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

/// The system's reason, without its number.
pub(super) fn why(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
