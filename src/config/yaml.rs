//! From a YAML file to a typed description: the one place that reads YAML.

use std::fs;
use std::path::Path;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::check::check;
use super::fault::{ConfigFaults, Fault, Place};
use super::locate::{Places, Step};

/// More than any person writes, and little enough to read at once.
const MAX_BYTES: u64 = 1 << 20;

/// `--set KEY=VALUE`: a dotted key and a YAML value.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    path: Vec<Step>,
    value: Value,
    argument: String,
}

impl Override {
    /// Reads `a.b.0.c=VALUE`.
    ///
    /// # Errors
    /// When there is no `=`, no key, or the value is no YAML.
    pub fn parse(text: &str) -> Result<Self, ConfigFaults> {
        let fault = |what: String| ConfigFaults::of_argument(&format!("--set {text}"), what);
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| fault("expected KEY=VALUE".to_owned()))?;
        if key.is_empty() || key.split('.').any(str::is_empty) {
            return Err(fault("expected a dotted key before the =".to_owned()));
        }
        let path = key.split('.').map(step).collect();
        let value = serde_yaml::from_str(value).map_err(|e| {
            fault(format!(
                "the value is no YAML: {}",
                one_line(&e.to_string())
            ))
        })?;
        Ok(Self {
            path,
            value,
            argument: format!("--set {key}"),
        })
    }
}

fn step(text: &str) -> Step {
    text.parse()
        .map_or_else(|_| Step::Key(text.to_owned()), Step::Index)
}

/// A YAML file: its values, and where they stand.
pub struct Document<'a> {
    file: &'a Path,
    places: Places,
    overrides: &'a [Override],
    value: Value,
}

impl<'a> Document<'a> {
    /// Reads `file` and puts `overrides` over it.
    ///
    /// # Errors
    /// When the file cannot be read or is no YAML, or an override has no place in it.
    pub fn read(file: &'a Path, overrides: &'a [Override]) -> Result<Self, ConfigFaults> {
        let whole = |what: String| ConfigFaults::of_file(file, what);
        let unreadable = |e: std::io::Error| whole(format!("cannot read the file: {e}"));
        let meta = fs::metadata(file).map_err(unreadable)?;
        if meta.is_dir() {
            return Err(whole("is a folder; expected a YAML file".to_owned()));
        }
        if meta.len() > MAX_BYTES {
            return Err(whole(format!(
                "is {} bytes long; that is no configuration",
                meta.len()
            )));
        }
        let bytes = fs::read(file).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|e| {
            whole(format!(
                "is not UTF-8 text (byte {})",
                e.utf8_error().valid_up_to()
            ))
        })?;
        let places = Places::of(&text).map_err(|e| {
            ConfigFaults(vec![Fault {
                file: file.to_owned(),
                place: Place::At(e.position.0, e.position.1),
                key: String::new(),
                what: format!("this is no YAML: {}", one_line(&e.why)),
            }])
        })?;
        let value: Value = serde_yaml::from_str(&text).map_err(|e| {
            ConfigFaults(vec![Fault {
                file: file.to_owned(),
                place: e
                    .location()
                    .map_or(Place::File, |l| Place::At(l.line(), l.column())),
                key: String::new(),
                what: format!("this is no YAML: {}", one_line(&e.to_string())),
            }])
        })?;
        if value.is_null() {
            return Err(whole("is empty".to_owned()));
        }
        let mut document = Self {
            file,
            places,
            overrides,
            value,
        };
        for change in overrides {
            put(&mut document.value, &change.path, &change.value)
                .map_err(|what| ConfigFaults::of_argument(&change.argument, what))?;
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
            .map(|path| self.fault_at_key(path, "the key stands here a second time"))
            .collect();
        for wrong in check(&schema_of::<T>(), &self.value) {
            faults.push(if wrong.at_key {
                self.fault_at_key(&wrong.path, wrong.what)
            } else {
                self.fault_at_value(&wrong.path, wrong.what)
            });
        }
        if !faults.is_empty() {
            return Err(ConfigFaults::in_order(faults));
        }
        serde_json::from_value(self.value.clone())
            .map_err(|e| ConfigFaults::of_file(self.file, one_line(&e.to_string())))
    }

    /// A fault of the value at `path`.
    pub fn fault_at_value(&self, path: &[Step], what: impl Into<String>) -> Fault {
        self.fault(path, self.places.value(path), what.into())
    }

    /// A fault of the key at the end of `path`.
    pub fn fault_at_key(&self, path: &[Step], what: impl Into<String>) -> Fault {
        self.fault(path, self.places.key(path), what.into())
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

fn dotted(path: &[Step]) -> String {
    path.iter()
        .map(|step| match step {
            Step::Key(key) => key.clone(),
            Step::Index(index) => index.to_string(),
        })
        .collect::<Vec<_>>()
        .join(".")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The JSON Schema of `T`, as what a person may write.
pub fn schema_of<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}
