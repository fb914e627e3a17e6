//! Paths of keys and indices inside a document.

/// A key or an index on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathSegment {
    /// Of a mapping.
    Key(String),
    /// Of a sequence.
    Index(usize),
}

impl From<&str> for PathSegment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<&String> for PathSegment {
    fn from(key: &String) -> Self {
        Self::Key(key.clone())
    }
}

impl From<usize> for PathSegment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// `key_path!["sinks", 0, "jsonl"]`: texts are keys, numbers are indices.
macro_rules! key_path {
    ($($segment:expr),* $(,)?) => {
        [$($crate::config::document::PathSegment::from($segment)),*]
    };
}
pub(in crate::config) use key_path;

/// The path as it is written on the command line; a key that would be misread stands in quotes.
pub fn dotted(path: &[PathSegment]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_- /<".contains(c);
    path.iter()
        .map(|segment| match segment {
            PathSegment::Key(key) if key.is_empty() || !key.chars().all(plain) => {
                format!("{key:?}")
            }
            PathSegment::Key(key) => key.clone(),
            PathSegment::Index(index) => index.to_string(),
        })
        .collect::<Vec<_>>()
        .join(".")
}

/// Most violations, and most duplicate keys, that are collected.
pub const MAX_VIOLATIONS: usize = 100;

/// What is wrong at a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The value, or the key if `at_key`.
    pub path: Vec<PathSegment>,
    /// The key itself is wrong, not its value.
    pub at_key: bool,
    /// What is expected and what was given.
    pub message: String,
}
