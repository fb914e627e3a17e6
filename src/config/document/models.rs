//! Several models in one file.
//!
//! `models` beside `streams` defines models by name; `models` in a stream lists the names of those that the
//! stream runs. The first of them takes the place of `model` and `detect`, so that whatever is checked and
//! done with the one model of a pipeline is checked and done with it.

use std::collections::BTreeSet;

use super::file::Document;
use super::node::{Content, Entry, Node};
use super::path::{PathSegment, key_path};
use crate::config::diagnostic::{ConfigError, Diagnostic};
use crate::config::validate::did_you_mean;

/// Keys of a model that a pipeline of one model has itself.
const KEYS_OF_ONE: [&str; 2] = ["model", "detect"];

impl Document<'_> {
    /// The document with `model` and `detect` of its first model, if it has `models`.
    ///
    /// # Errors
    /// When `models` is empty, or a key of one model is given too.
    pub fn with_first_model(mut self) -> Result<Self, ConfigError> {
        let Some(models) = self.root.get("models").and_then(Node::entries) else {
            return Ok(self);
        };
        let mut errors = Vec::new();
        for key in KEYS_OF_ONE {
            if self.root.get(key).is_some() {
                let message = match key {
                    "model" => "expected one of `model` and `models`; got both".to_owned(),
                    _ => format!("with `models`, each model has its own: `models.NAME.{key}`"),
                };
                errors.push(self.error_at_key(&key_path![key], message));
            }
        }
        let Some(first) = models.first() else {
            errors.push(self.error_at_value(&key_path!["models"], "expected at least one model"));
            return Err(ConfigError::sorted(errors));
        };
        if !errors.is_empty() {
            return Err(ConfigError::sorted(errors));
        }
        let stand_in = |key: &str, location| Entry {
            key: key.to_owned(),
            location,
            error: None,
            value: first.value.clone(),
        };
        let mut added = Vec::new();
        match &first.value.content {
            Content::Mapping(entries) => {
                let of_one = |entry: &&Entry| KEYS_OF_ONE.contains(&entry.key.as_str());
                added.extend(entries.iter().filter(of_one).cloned());
            }
            // A string is short for the model; whatever else it is, is refused as what it is.
            _ => added.push(stand_in("model", first.location.clone())),
        }
        if !added.iter().any(|entry| entry.key == "model") {
            // Missing in `models`, which is told there.
            let mut entry = stand_in("model", first.location.clone());
            entry.value.content = Content::String(first.key.clone());
            added.push(entry);
        }
        self.first_model = Some(first.key.clone());
        if let Some(entries) = self.root.entries_mut() {
            entries.extend(added);
        }
        Ok(self)
    }

    /// The names of the models, in their order.
    pub fn model_names(&self) -> Vec<String> {
        let models = self.root.get("models").and_then(Node::entries);
        let models = models.unwrap_or_default().iter();
        models.map(|entry| entry.key.clone()).collect()
    }

    /// Where the file gives what stands at `path` of the first model.
    pub(super) fn path_in_models(&self, path: &[PathSegment]) -> Option<Vec<PathSegment>> {
        let first = self.first_model.as_ref()?;
        match path.first() {
            Some(PathSegment::Key(key)) if KEYS_OF_ONE.contains(&key.as_str()) => {
                Some([&key_path!["models", first], path].concat())
            }
            _ => None,
        }
    }

    /// The models that stream `i`, whose block is `block`, names; `None` if it names none, and so runs all.
    pub(super) fn models_of_stream(
        &self,
        i: usize,
        block: &Node,
    ) -> Result<Option<Vec<Entry>>, Vec<Diagnostic>> {
        let Some(own) = block.get("models") else {
            return Ok(None);
        };
        let path = key_path!["streams", i, "models"];
        let one = |message: String| Err(vec![self.error_at_value(&path, message)]);
        let Some(names) = own.items().filter(|names| !names.is_empty()) else {
            return one("expected a list of names of the `models` beside `streams`".to_owned());
        };
        let Some(defined) = self.root.get("models").and_then(Node::entries) else {
            return one("there are no `models` beside `streams`".to_owned());
        };
        let known: Vec<&str> = defined.iter().map(|entry| entry.key.as_str()).collect();
        let (mut chosen, mut errors) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for (at, name) in names.iter().enumerate() {
            let mut error = |message: String| {
                let path = key_path!["streams", i, "models", at];
                errors.push(self.error_at_value(&path, message));
            };
            let Content::String(name) = &name.content else {
                error("expected the name of a model".to_owned());
                continue;
            };
            match defined.iter().find(|entry| entry.key == *name) {
                None => {
                    let hint = did_you_mean(name, &known);
                    error(format!("no model has the name {name:?}{hint}"));
                }
                Some(_) if !seen.insert(name) => error(format!("duplicate model {name:?}")),
                Some(entry) => chosen.push(entry.clone()),
            }
        }
        if errors.is_empty() {
            Ok(Some(chosen))
        } else {
            Err(errors)
        }
    }
}
