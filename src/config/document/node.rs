//! The document tree: each value with the location of its key and of itself.

use serde_json::{Map, Number, Value};

use super::path::{MAX_VIOLATIONS, PathSegment, Violation};
use crate::config::diagnostic::Location;

/// A value and where it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value begins.
    pub location: Location,
    /// The value.
    pub content: Content,
}

/// What a node consists of.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// A string.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys with values, in the order of the file; each key once.
    Mapping(Vec<Entry>),
    /// A value that YAML has and a configuration cannot hold: why not.
    Invalid(String),
}

/// A key of a mapping and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub location: Location,
    /// Why the key is refused, if it is.
    pub error: Option<String>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value without its locations. What is invalid is null.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Null | Content::Invalid(_) => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(value) => Value::Number(value.clone()),
            Content::String(value) => Value::String(value.clone()),
            Content::Sequence(items) => items.iter().map(Self::to_json).collect(),
            Content::Mapping(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// What is invalid in this node and below, at most [`MAX_VIOLATIONS`].
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        self.collect_violations(&mut Vec::new(), &mut found);
        found
    }

    fn collect_violations(&self, path: &mut Vec<PathSegment>, found: &mut Vec<Violation>) {
        let violation = |path: &[PathSegment], at_key: bool, message: &str| Violation {
            path: path.to_vec(),
            at_key,
            message: message.to_owned(),
        };
        if found.len() >= MAX_VIOLATIONS {
            return;
        }
        match &self.content {
            Content::Invalid(message) => found.push(violation(path, false, message)),
            Content::Sequence(items) => {
                for (i, item) in items.iter().enumerate() {
                    path.push(PathSegment::Index(i));
                    item.collect_violations(path, found);
                    path.pop();
                }
            }
            Content::Mapping(entries) => {
                for entry in entries {
                    if found.len() >= MAX_VIOLATIONS {
                        return;
                    }
                    path.push(PathSegment::Key(entry.key.clone()));
                    if let Some(message) = &entry.error {
                        found.push(violation(path, true, message));
                    }
                    entry.value.collect_violations(path, found);
                    path.pop();
                }
            }
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::String(_) => {}
        }
    }

    /// The entries, if it is a mapping.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.content {
            Content::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The entries, if it is a mapping.
    pub fn entries_mut(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.content {
            Content::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, if it is a sequence.
    pub fn items(&self) -> Option<&[Self]> {
        match &self.content {
            Content::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The entry of `key`, if it is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key == key)
    }

    /// The value of `key`, if it is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The value of a key or at an index, if it has it.
    pub fn child(&self, segment: &PathSegment) -> Option<&Self> {
        match segment {
            PathSegment::Key(key) => self.get(key),
            PathSegment::Index(index) => self.items()?.get(*index),
        }
    }

    /// Where the value at `path` begins, or the nearest value around it.
    pub fn value_location(&self, path: &[PathSegment]) -> &Location {
        let mut node = self;
        for segment in path {
            let Some(child) = node.child(segment) else {
                break;
            };
            node = child;
        }
        &node.location
    }

    /// Where the key at the end of `path` begins, or the nearest value around it.
    pub fn key_location(&self, path: &[PathSegment]) -> &Location {
        let mut node = self;
        for (i, segment) in path.iter().enumerate() {
            if let (PathSegment::Key(key), true) = (segment, i + 1 == path.len())
                && let Some(entry) = node.entry(key)
            {
                return &entry.location;
            }
            let Some(child) = node.child(segment) else {
                break;
            };
            node = child;
        }
        &node.location
    }

    /// Moves this node and all below to `location`.
    pub fn relocate(&mut self, location: &Location) {
        self.location = location.clone();
        match &mut self.content {
            Content::Sequence(items) => items.iter_mut().for_each(|item| item.relocate(location)),
            Content::Mapping(entries) => {
                for entry in entries {
                    entry.location = location.clone();
                    entry.value.relocate(location);
                }
            }
            _ => {}
        }
    }

    /// Sets `path` to `value`, adding mappings on the way; what is touched moves to the value's
    /// location.
    ///
    /// # Errors
    /// When there is a list or a scalar where the path needs a mapping.
    pub fn set(&mut self, path: &[PathSegment], value: &Self) -> Result<(), String> {
        let Some((first, rest)) = path.split_first() else {
            *self = value.clone();
            return Ok(());
        };
        let key = match first {
            PathSegment::Key(key) => key.clone(),
            PathSegment::Index(index) => index.to_string(),
        };
        if self.content == Content::Null {
            self.content = Content::Mapping(Vec::new());
        }
        let null = Self {
            location: value.location.clone(),
            content: Content::Null,
        };
        let child = match (&mut self.content, first) {
            (Content::Sequence(items), PathSegment::Index(index)) => {
                let count = items.len();
                if *index == count {
                    items.push(null);
                }
                items
                    .get_mut(*index)
                    .ok_or_else(|| format!("index {index} is out of range: the list has {count}"))?
            }
            (Content::Mapping(entries), _) => {
                let at = entries.iter().position(|entry| entry.key == key);
                let at = at.unwrap_or_else(|| {
                    entries.push(Entry {
                        key,
                        location: value.location.clone(),
                        error: None,
                        value: null,
                    });
                    entries.len() - 1
                });
                let entry = &mut entries[at];
                entry.location = value.location.clone();
                entry.error = None;
                &mut entry.value
            }
            (Content::Sequence(_), PathSegment::Key(_)) => {
                return Err(format!("\"{key}\" cannot be set inside a list"));
            }
            _ => return Err(format!("\"{key}\" cannot be set inside a scalar value")),
        };
        child.set(rest, value)?;
        child.location = value.location.clone();
        Ok(())
    }
}
