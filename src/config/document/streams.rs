//! Several streams in one file.
//!
//! `streams` is a list of blocks with the keys of a pipeline. A key beside it is for every stream
//! that does not have the key itself; the model and the inference workers are shared by all, and so
//! are the sinks beside `streams`.

use std::collections::BTreeSet;

use super::file::Document;
use super::node::{Content, Entry, Node};
use super::path::key_path;
use super::size::DocumentSize;
use super::view::StreamView;
use crate::config::diagnostic::{ConfigError, Diagnostic};

/// Most streams of a file.
const MAX_STREAMS: usize = 256;

/// Keys that are allowed beside `streams` only.
pub const SHARED_KEYS: [&str; 4] = ["model", "inference", "sandbox", "watch"];

impl Document<'_> {
    /// One document for each of the file's streams; the file itself if it has no `streams`.
    ///
    /// # Errors
    /// What is wrong with the list itself.
    pub fn split(self) -> Result<Vec<Self>, ConfigError> {
        let Some(streams) = self.root.get("streams") else {
            return Ok(vec![self]);
        };
        let Some(blocks) = streams.items().filter(|blocks| !blocks.is_empty()) else {
            let message = "expected a list with at least one stream";
            let error = self.error_at_value(&key_path!["streams"], message);
            return Err(ConfigError(vec![error]));
        };
        if let Some(message) = self.excess_of_streams(blocks.len()) {
            let error = self.error_at_value(&key_path!["streams"], message);
            return Err(ConfigError(vec![error]));
        }
        let mut errors = self.duplicate_keys();
        let mut documents = Vec::new();
        let mut names = BTreeSet::new();
        for (i, block) in blocks.iter().enumerate() {
            let Some(own) = block.entries() else {
                let message = "expected a mapping with the keys of a stream";
                errors.push(self.error_at_value(&key_path!["streams", i], message));
                continue;
            };
            for shared in SHARED_KEYS.into_iter().chain(["streams"]) {
                if block.get(shared).is_some() {
                    let message = "all streams share this key; move it beside `streams`";
                    errors.push(self.error_at_key(&key_path!["streams", i, shared], message));
                }
            }
            match block.get("stream").map(|name| &name.content) {
                Some(Content::String(name)) if !names.insert(name) => {
                    let message = format!("duplicate stream name {name:?}");
                    errors.push(self.error_at_value(&key_path!["streams", i, "stream"], message));
                }
                Some(Content::String(_)) => match self.models_of_stream(i, block) {
                    Ok(models) => documents.push(self.stream(i, block, own, models)),
                    Err(of_models) => errors.extend(of_models),
                },
                _ => {
                    let message = "missing key \"stream\" (name of the stream in every record)";
                    errors.push(self.error_at_value(&key_path!["streams", i], message));
                }
            }
        }
        self.unused_shared_keys(blocks, &mut errors);
        if errors.is_empty() {
            Ok(documents)
        } else {
            Err(ConfigError::sorted(errors))
        }
    }

    /// Errors for keys beside `streams` that each stream has itself.
    fn unused_shared_keys(&self, blocks: &[Node], errors: &mut Vec<Diagnostic>) {
        for entry in self.root.entries().unwrap_or_default() {
            let key = entry.key.as_str();
            let is_shared =
                SHARED_KEYS.contains(&key) || ["streams", "sinks", "models"].contains(&key);
            if !is_shared && blocks.iter().all(|block| block.get(key).is_some()) {
                let message = format!(
                    "has no effect: each stream has a `{key}` of its own; use `streams.0.{key}`"
                );
                errors.push(self.error_at_key(&key_path![key], message));
            }
        }
    }

    /// Why a file cannot have `count` streams: each gets a copy of what stands beside `streams`.
    fn excess_of_streams(&self, count: usize) -> Option<String> {
        if count > MAX_STREAMS {
            return Some(format!(
                "expected at most {MAX_STREAMS} streams; got {count}"
            ));
        }
        let mut shared = DocumentSize::default();
        for entry in self.root.entries().unwrap_or_default() {
            if entry.key != "streams" {
                shared += DocumentSize::of(&entry.value);
            }
        }
        let excess = shared.times(count).excess()?;
        Some(format!(
            "{excess} when each of {count} streams gets the keys beside `streams`"
        ))
    }

    /// What the file says of stream `i`, whose block is `block` with the entries `own`, and which runs
    /// `models`, if it does not run all.
    fn stream(&self, i: usize, block: &Node, own: &[Entry], models: Option<Vec<Entry>>) -> Self {
        let shared = self.root.entries().unwrap_or_default();
        let mut entries: Vec<Entry> = shared
            .iter()
            .filter(|entry| entry.key != "streams")
            .cloned()
            .collect();
        let is_given = |entry: &&mut Entry| entry.key == "sinks";
        let shared_sinks = entries.iter_mut().find(is_given).map(|entry| &entry.value);
        let shared_sinks = shared_sinks.and_then(Node::items).unwrap_or_default();
        let shared_sinks = shared_sinks.to_vec();
        if let Some(chosen) = models {
            let shared = entries.iter_mut().find(|entry| entry.key == "models");
            if let Some(shared) = shared {
                shared.value.content = Content::Mapping(chosen);
            }
        }
        for entry in own.iter().filter(|entry| entry.key != "models") {
            let mut entry = entry.clone();
            if let (true, Content::Sequence(sinks)) =
                (entry.key == "sinks", &mut entry.value.content)
            {
                sinks.splice(0..0, shared_sinks.iter().cloned());
            }
            match entries.iter_mut().find(|known| known.key == entry.key) {
                Some(known) => *known = entry,
                None => entries.push(entry),
            }
        }
        Self {
            file: self.file,
            warnings: Vec::new(),
            root: Node {
                location: block.location.clone(),
                content: Content::Mapping(entries),
            },
            duplicates: Vec::new(),
            view: Some(StreamView {
                stream: i,
                own: own
                    .iter()
                    .map(|entry| entry.key.clone())
                    .filter(|key| key != "models")
                    .collect(),
                shared_sinks: shared_sinks.len(),
            }),
            first_model: None,
        }
    }

    /// How many of the sinks stand beside `streams`; `None` if the file has no streams.
    pub fn shared_sinks(&self) -> Option<usize> {
        self.view.as_ref().map(|view| view.shared_sinks)
    }
}
