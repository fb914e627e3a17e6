//! From a YAML file to a typed description: the one place that reads YAML.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::check::{Wrong, check, fill_empty};
use super::fault::{ConfigFaults, Fault, Place, why};
use super::locate::{Places, Step};
use super::overrides::Override;
use super::streams::View;
use super::values::read_values;

/// More than any person writes, and little enough to read at once.
const MAX_BYTES: u64 = 1 << 20;

/// A YAML file, or what it says of one of its streams: its values, and where they stand.
pub struct Document<'a> {
    pub(super) file: &'a Path,
    pub(super) places: Arc<Places>,
    pub(super) overrides: &'a [Override],
    pub(super) value: Value,
    /// What is wrong with the values themselves.
    pub(super) wrong: Vec<Wrong>,
    /// Which stream of the file it is.
    pub(super) view: Option<View>,
}

impl<'a> Document<'a> {
    /// Reads `file` and puts `overrides` over it.
    ///
    /// # Errors
    /// When the file cannot be read or is no YAML, or an override has no place in it.
    pub fn read(file: &'a Path, overrides: &'a [Override]) -> Result<Self, ConfigFaults> {
        let text = read_text(file)?;
        // Editors on Windows begin files with a mark that is no part of the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let no_yaml = |place: Place, what: &str| {
            ConfigFaults(vec![Fault {
                file: file.to_owned(),
                place,
                key: String::new(),
                what: format!("this is no YAML: {}", one_line(what)),
            }])
        };
        let places =
            Places::of(text).map_err(|e| no_yaml(Place::At(e.position.0, e.position.1), &e.why))?;
        let (value, wrong) = read_values(text).map_err(|e| {
            let place = e.location().map(|l| Place::At(l.line(), l.column()));
            let what = e.to_string();
            // The place stands before the message already.
            let what = what.split(" at line ").next().unwrap_or(&what);
            no_yaml(place.unwrap_or(Place::File), what)
        })?;
        if value.is_null() && wrong.is_empty() {
            return Err(ConfigFaults::of_file(file, "is empty"));
        }
        let mut document = Self {
            file,
            places: Arc::new(places),
            overrides,
            value,
            wrong,
            view: None,
        };
        for change in overrides {
            put(&mut document.value, &change.path, &change.value)
                .map_err(|what| ConfigFaults::of_argument(&change.argument, what))?;
            document
                .wrong
                .retain(|wrong| !wrong.path.starts_with(&change.path));
        }
        Ok(document)
    }

    /// Checks the values against `T`'s schema and makes them a `T`.
    ///
    /// # Errors
    /// All faults at once.
    pub fn parse<T: JsonSchema + DeserializeOwned>(&self) -> Result<T, ConfigFaults> {
        let mut faults: Vec<Fault> = self
            .places
            .repeated
            .iter()
            // Of a file with streams, they were told before.
            .filter(|_| self.view.is_none())
            .map(|again| {
                let line = again.first.0;
                let what = format!("the key stands here a second time, after line {line}");
                self.fault_at_key(&again.path, what)
            })
            .collect();
        let schema = schema_of::<T>();
        let mut value = self.value.clone();
        fill_empty(&schema, &mut value);
        let mut wrong = self.wrong.clone();
        for further in check(&schema, &value) {
            // What counts as nothing because it was refused is not refused again.
            if !self.wrong.iter().any(|known| known.path == further.path) {
                wrong.push(further);
            }
        }
        for wrong in wrong {
            faults.push(if wrong.at_key {
                self.fault_at_key(&wrong.path, wrong.what)
            } else {
                self.fault_at_value(&wrong.path, wrong.what)
            });
        }
        if !faults.is_empty() {
            return Err(ConfigFaults::in_order(faults));
        }
        serde_json::from_value(value)
            .map_err(|e| ConfigFaults::of_file(self.file, one_line(&e.to_string())))
    }

    /// A fault of the value at `path`.
    pub fn fault_at_value(&self, path: &[Step], what: impl Into<String>) -> Fault {
        let path = self.path_in_file(path);
        self.fault(&path, self.places.value(&path), what.into())
    }

    /// A fault of the key at the end of `path`.
    pub fn fault_at_key(&self, path: &[Step], what: impl Into<String>) -> Fault {
        let path = self.path_in_file(path);
        self.fault(&path, self.places.key(&path), what.into())
    }

    fn fault(&self, path: &[Step], at: Option<(usize, usize)>, what: String) -> Fault {
        let by_argument = self.overrides.iter().rev().find(|change| {
            path.starts_with(&change.path) || change.path.starts_with(path) && !path.is_empty()
        });
        let place = match (by_argument, at) {
            (Some(change), _) => Place::Argument(change.argument.clone()),
            (None, Some((line, column))) => Place::At(line, column),
            (None, None) => Place::File,
        };
        Fault {
            file: self.file.to_owned(),
            place,
            key: dotted(path),
            what,
        }
    }
}

/// Puts `value` at `path`, making mappings on the way.
fn put(tree: &mut Value, path: &[Step], value: &Value) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else {
        *tree = value.clone();
        return Ok(());
    };
    let key = match first {
        Step::Key(key) => key.clone(),
        Step::Index(index) => index.to_string(),
    };
    match (tree, first) {
        (Value::Array(items), Step::Index(index)) => {
            let count = items.len();
            if *index == count {
                items.push(Value::Null);
            }
            let item = items
                .get_mut(*index)
                .ok_or_else(|| format!("the list has {count} entries, there is no {index}"))?;
            put(item, rest, value)
        }
        (Value::Object(map), _) => put(map.entry(key).or_insert(Value::Null), rest, value),
        (tree @ Value::Null, _) => {
            let mut inner = Value::Null;
            put(&mut inner, rest, value)?;
            *tree = Value::Object(Map::from_iter([(key, inner)]));
            Ok(())
        }
        (other, _) => {
            let what = if other.is_array() {
                "a list"
            } else {
                "a plain value"
            };
            Err(format!("\"{key}\" cannot be set inside {what}"))
        }
    }
}

/// The path as a person would write it; a key that would be misread stands in quotes.
pub(super) fn dotted(path: &[Step]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_- /<".contains(c);
    path.iter()
        .map(|step| match step {
            Step::Key(key) if key.is_empty() || !key.chars().all(plain) => format!("{key:?}"),
            Step::Key(key) => key.clone(),
            Step::Index(index) => index.to_string(),
        })
        .collect::<Vec<_>>()
        .join(".")
}

/// The text of `file`, which may be a pipe.
fn read_text(file: &Path) -> Result<String, ConfigFaults> {
    let whole = |what: String| ConfigFaults::of_file(file, what);
    let unreadable = |e: std::io::Error| whole(format!("cannot read the file: {}", why(&e)));
    let opened = File::open(file).map_err(unreadable)?;
    if opened.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(whole("is a folder; expected a YAML file".to_owned()));
    }
    let mut bytes = Vec::new();
    opened
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(whole(format!(
            "is longer than {MAX_BYTES} bytes; that is no configuration"
        )));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let good = String::from_utf8_lossy(e.as_bytes().get(..good).unwrap_or_default());
        let line = good.matches('\n').count() + 1;
        let column = good.chars().rev().take_while(|c| *c != '\n').count() + 1;
        ConfigFaults(vec![Fault {
            file: file.to_owned(),
            place: Place::At(line, column),
            key: String::new(),
            what: "this is no UTF-8 text".to_owned(),
        }])
    })
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The JSON Schema of `T`, as what a person may write.
pub fn schema_of<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}
