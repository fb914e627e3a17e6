//! A YAML file as a document.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::node::{Content, Node};
use super::overrides::Override;
use super::parse::{DuplicateKey, parse_yaml};
use super::path::{PathSegment, Violation, dotted};
use super::renamed::{rename_in_override, rename_keys};
use super::view::StreamView;
use crate::config::diagnostic::{ConfigError, Diagnostic, Location, io_reason};
use crate::config::input::InputSource;

/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A YAML file, or what it says of one of its streams.
pub struct Document<'a> {
    /// The file.
    pub file: &'a Path,
    /// Keys that are read under their old names, and not for much longer.
    pub warnings: Vec<Diagnostic>,
    pub(super) root: Node,
    pub(super) duplicates: Vec<DuplicateKey>,
    /// Which stream of the file it is.
    pub(super) view: Option<StreamView>,
    /// The name of the model that stands for `model` and `detect`, where there are several.
    pub(super) first_model: Option<String>,
}

impl<'a> Document<'a> {
    /// Reads `file`.
    ///
    /// # Errors
    /// When the file cannot be read or is not YAML.
    pub fn read(file: &'a Path) -> Result<Self, ConfigError> {
        Self::of_text(file, &read_text(file)?)
    }

    /// What `text` says, which is, or will be, the content of `file`.
    ///
    /// # Errors
    /// When it is not YAML.
    pub fn of_text(file: &'a Path, text: &str) -> Result<Self, ConfigError> {
        // Editors on Windows begin files with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let parsed = parse_yaml(text).map_err(|error| {
            let (line, column) = error.position;
            ConfigError(vec![Diagnostic {
                file: file.to_owned(),
                location: Location::Position { line, column },
                key: String::new(),
                message: format!("invalid YAML: {}", one_line(&error.message)),
            }])
        })?;
        if parsed.root.content == Content::Null {
            return Err(ConfigError::in_file(file, "the file is empty"));
        }
        Ok(Self {
            file,
            warnings: Vec::new(),
            root: parsed.root,
            duplicates: parsed.duplicates,
            view: None,
            first_model: None,
        })
    }

    /// Reads the pipeline `file`, with old names of keys brought up to date, puts `input` in the
    /// place of its source, and `overrides` over both.
    ///
    /// # Errors
    /// When the file cannot be read or is not YAML, gives a key under its old and its new name, has
    /// several streams and an input, or when an override does not fit into it or has no effect.
    pub fn read_pipeline(
        file: &'a Path,
        overrides: &[Override],
        input: Option<&InputSource>,
    ) -> Result<Self, ConfigError> {
        let mut document = Self::read(file)?;
        document.warnings = rename_keys(&mut document.root, file)?;
        if let Some(input) = input {
            input.replace_source(&mut document.root);
        }
        for change in overrides {
            let (path, warning) = rename_in_override(&change.path, &change.argument, file);
            document.warnings.extend(warning);
            document
                .root
                .set(&path, &change.value)
                .map_err(|message| ConfigError::in_argument(&change.argument, message))?;
        }
        if let Some(input) = input {
            if document.root.get("streams").is_some() {
                let message = "the pipeline has several streams, each with its own source; use --set \
                               streams.0.source=... for one of them";
                return Err(ConfigError::in_argument("--input", message));
            }
            input.validate_overrides(&document.root)?;
        }
        Ok(document)
    }

    /// The `--set KEY` that the value at `path` was last changed by, if it was.
    pub fn set_argument(&self, path: &[PathSegment]) -> Option<&str> {
        let node = path
            .iter()
            .try_fold(&self.root, |node, segment| node.child(segment))?;
        match &node.location {
            Location::Argument(argument) if argument.starts_with("--set ") => Some(argument),
            _ => None,
        }
    }

    /// The document's values.
    pub fn to_json(&self) -> Value {
        self.root.to_json()
    }

    /// Values and keys that no configuration can hold.
    pub fn violations(&self) -> Vec<Violation> {
        self.root.violations()
    }

    /// Errors for the keys that were given again. Those of a file with streams are of the file, not
    /// of its streams.
    pub fn duplicate_keys(&self) -> Vec<Diagnostic> {
        let message = |first: &Location| match first {
            Location::Position { line, .. } => {
                format!("duplicate key (first defined on line {line})")
            }
            _ => "duplicate key".to_owned(),
        };
        let duplicates = self.duplicates.iter().filter(|_| self.view.is_none());
        duplicates
            .map(|duplicate| Diagnostic {
                file: self.file.to_owned(),
                location: duplicate.location.clone(),
                key: dotted(&duplicate.path),
                message: message(&duplicate.first),
            })
            .collect()
    }

    /// An error of the value at `path`.
    pub fn error_at_value(&self, path: &[PathSegment], message: impl Into<String>) -> Diagnostic {
        self.error(path, self.root.value_location(path), message.into())
    }

    /// An error of the key at the end of `path`.
    pub fn error_at_key(&self, path: &[PathSegment], message: impl Into<String>) -> Diagnostic {
        self.error(path, self.root.key_location(path), message.into())
    }

    fn error(&self, path: &[PathSegment], location: &Location, message: String) -> Diagnostic {
        let in_models = self.path_in_models(path);
        let path = in_models.as_deref().unwrap_or(path);
        let in_file = self.view.as_ref().map(|view| view.path_in_file(path));
        Diagnostic {
            file: self.file.to_owned(),
            location: location.clone(),
            key: dotted(in_file.as_deref().unwrap_or(path)),
            message,
        }
    }
}

/// The text of `file`, which may be a pipe.
fn read_text(file: &Path) -> Result<String, ConfigError> {
    let whole = |message: String| ConfigError::in_file(file, message);
    let unreadable = |e: std::io::Error| whole(format!("cannot read the file: {}", io_reason(&e)));
    let opened = File::open(file).map_err(unreadable)?;
    if opened.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(whole("is a directory; expected a YAML file".to_owned()));
    }
    let mut bytes = Vec::new();
    opened
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(whole(format!(
            "the file is longer than {MAX_BYTES} bytes, the limit for a configuration"
        )));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let good = String::from_utf8_lossy(e.as_bytes().get(..good).unwrap_or_default());
        let line = good.matches('\n').count() + 1;
        let column = good.chars().rev().take_while(|c| *c != '\n').count() + 1;
        ConfigError(vec![Diagnostic {
            file: file.to_owned(),
            location: Location::Position { line, column },
            key: String::new(),
            message: "invalid UTF-8".to_owned(),
        }])
    })
}

/// `text` without line breaks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
