//! Several streams in one file.
//!
//! `streams` is a list of blocks with the keys of a pipeline. What stands beside it counts for every
//! stream that does not say otherwise; the model and the workers are shared by all, and so are the
//! sinks that stand there.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::check::Wrong;
use super::fault::{ConfigFaults, Fault};
use super::load::LoadedPipeline;
use super::locate::Step;
use super::spec::{PipelineConfig, SinkConfig};
use super::yaml::{Document, schema_of};

/// Which stream of a file a document is about.
pub struct View {
    stream: usize,
    /// The keys that the stream's block has.
    own: BTreeSet<String>,
    /// The sinks that stand beside `streams`; the stream's own follow them.
    shared_sinks: usize,
}

/// Keys that only stand beside `streams`.
const SHARED: [&str; 2] = ["model", "inference"];

impl<'a> Document<'a> {
    /// One document for each of the file's streams; the file itself if it has no `streams`.
    ///
    /// # Errors
    /// What is wrong with the list itself.
    pub fn split(self) -> Result<Vec<Self>, ConfigFaults> {
        let Some(streams) = self.value.get("streams").cloned() else {
            return Ok(vec![self]);
        };
        let at = |rest: &[Step]| -> Vec<Step> {
            let list = Step::Key("streams".to_owned());
            std::iter::once(list).chain(rest.iter().cloned()).collect()
        };
        let Some(blocks) = streams.as_array().filter(|blocks| !blocks.is_empty()) else {
            let what = "expected a list with a block for each stream";
            let fault = self.fault_at_value(&at(&[]), what);
            return Err(ConfigFaults(vec![fault]));
        };
        let mut faults: Vec<Fault> = self
            .places
            .repeated
            .iter()
            .map(|again| {
                let line = again.first.0;
                let what = format!("the key stands here a second time, after line {line}");
                self.fault_at_key(&again.path, what)
            })
            .collect();
        let mut documents = Vec::new();
        let mut names = BTreeSet::new();
        for (i, block) in blocks.iter().enumerate() {
            let Some(block) = block.as_object() else {
                let what = "expected a mapping with the stream's keys";
                faults.push(self.fault_at_value(&at(&[Step::Index(i)]), what));
                continue;
            };
            let key = |key: &str| at(&[Step::Index(i), Step::Key(key.to_owned())]);
            for shared in SHARED.into_iter().chain(["streams"]) {
                if block.contains_key(shared) {
                    let what = "all streams share it: it stands beside `streams`";
                    faults.push(self.fault_at_key(&key(shared), what));
                }
            }
            match block.get("stream").and_then(Value::as_str) {
                None => {
                    let what = "the key \"stream\" is missing (the stream's name in every record)";
                    faults.push(self.fault_at_value(&at(&[Step::Index(i)]), what));
                }
                Some(name) if !names.insert(name) => {
                    let what = format!("another stream has the name {name:?}");
                    faults.push(self.fault_at_value(&key("stream"), what));
                }
                Some(_) => documents.push(self.stream(i, block)),
            }
        }
        if faults.is_empty() {
            Ok(documents)
        } else {
            Err(ConfigFaults::in_order(faults))
        }
    }

    /// What the file says of stream `i`, whose block is `own`.
    fn stream(&self, i: usize, own: &Map<String, Value>) -> Self {
        let mut value = self.value.clone();
        let mut shared_sinks = 0;
        if let Some(all) = value.as_object_mut() {
            all.remove("streams");
            for (key, value) in own {
                match (all.get_mut("sinks"), value) {
                    (Some(Value::Array(shared)), Value::Array(sinks)) if key == "sinks" => {
                        shared_sinks = shared.len();
                        shared.extend(sinks.iter().cloned());
                    }
                    _ => {
                        all.insert(key.clone(), value.clone());
                    }
                }
            }
            if !own.contains_key("sinks") {
                let sinks = all.get("sinks").and_then(Value::as_array);
                shared_sinks = sinks.map_or(0, Vec::len);
            }
        }
        let view = View {
            stream: i,
            own: own.keys().cloned().collect(),
            shared_sinks,
        };
        let wrong = self.wrong.iter().filter_map(|wrong| {
            Some(Wrong {
                path: view.path_in_stream(&wrong.path)?,
                ..wrong.clone()
            })
        });
        Self {
            file: self.file,
            places: self.places.clone(),
            overrides: self.overrides,
            value,
            wrong: wrong.collect(),
            view: Some(view),
        }
    }

    /// Where in the file a value of this document stands.
    pub(super) fn path_in_file(&self, path: &[Step]) -> Vec<Step> {
        let Some(view) = &self.view else {
            return path.to_vec();
        };
        let block = [Step::Key("streams".to_owned()), Step::Index(view.stream)];
        let Some(Step::Key(first)) = path.first() else {
            return block.to_vec();
        };
        if !view.own.contains(first) {
            return path.to_vec();
        }
        let mut path = path.to_vec();
        if let (true, Some(Step::Index(sink))) = (first == "sinks", path.get_mut(1)) {
            match sink.checked_sub(view.shared_sinks) {
                Some(own) => *sink = own,
                None => return path,
            }
        }
        [block.to_vec(), path].concat()
    }

    /// How many of the sinks stand beside `streams`; `None` if the file has no streams.
    pub(super) fn shared_sinks(&self) -> Option<usize> {
        self.view.as_ref().map(|view| view.shared_sinks)
    }
}

impl View {
    /// Where in the stream's document a value of the file stands, if it counts for it.
    fn path_in_stream(&self, path: &[Step]) -> Option<Vec<Step>> {
        match path {
            [Step::Key(first), Step::Index(stream), rest @ ..] if first == "streams" => {
                let mut rest = rest.to_vec();
                let is_sink = rest.first() == Some(&Step::Key("sinks".to_owned()));
                if let (true, Some(Step::Index(sink))) = (is_sink, rest.get_mut(1)) {
                    *sink += self.shared_sinks;
                }
                (*stream == self.stream).then_some(rest)
            }
            [Step::Key(first), ..] if self.own.contains(first) && first != "sinks" => None,
            _ => Some(path.to_vec()),
        }
    }
}

/// Faults of sinks that only show when all streams are seen together.
pub fn check_together(
    documents: &[Document<'_>],
    configs: &[LoadedPipeline],
    faults: &mut Vec<Fault>,
) {
    let mut windows = 0;
    let mut written = BTreeSet::new();
    for (document, config) in documents.iter().zip(configs) {
        let key = |i: usize, kind: &str| {
            [
                Step::Key("sinks".to_owned()),
                Step::Index(i),
                Step::Key(kind.to_owned()),
            ]
        };
        let sinks = config.config.sinks.iter().zip(&config.shared).enumerate();
        for (i, (sink, is_shared)) in sinks {
            if *is_shared {
                if let Some(kind) = of_one_stream(sink) {
                    let what = "it is for one stream: it stands in the stream's own `sinks`";
                    faults.push(document.fault_at_key(&key(i, kind), what));
                }
                continue;
            }
            if sink.window.is_some() {
                windows += 1;
                if windows == 2 {
                    faults.push(document.fault_at_key(&key(i, "window"), "a second window"));
                }
            }
            if let Some((kind, name, path)) = super::named_sinks::path_of_sink(sink)
                && name == "path"
                && !written.insert(path.to_owned())
            {
                let what = format!("{} is written by another stream", path.display());
                faults.push(document.fault_at_key(&key(i, kind), what));
            }
        }
    }
}

/// The name of a sink that cannot take several streams.
fn of_one_stream(sink: &SinkConfig) -> Option<&'static str> {
    let kinds = [
        ("window", sink.window.is_some()),
        ("coco", sink.coco.is_some()),
        ("mot", sink.mot.is_some()),
    ];
    kinds.iter().find(|(_, is)| *is).map(|(kind, _)| *kind)
}

/// The JSON Schema of a pipeline's file: one stream, or several with what they share.
pub fn pipeline_schema() -> Value {
    let mut schema = schema_of::<PipelineConfig>();
    let mut block = schema.clone();
    if let Some(block) = block.as_object_mut() {
        for key in ["$schema", "$defs", "title"] {
            block.remove(key);
        }
        block.insert("required".to_owned(), json!(["stream"]));
        block.insert("description".to_owned(), json!("One stream."));
        if let Some(properties) = block.get_mut("properties").and_then(Value::as_object_mut) {
            for key in SHARED {
                properties.remove(key);
            }
        }
    }
    for definition in schema
        .get_mut("$defs")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(Map::values_mut)
    {
        // What is also written as a text by itself.
        if definition.get("x-short-for").is_some() {
            let whole = definition.take();
            *definition = json!({ "anyOf": [{ "type": "string", "minLength": 1 }, whole] });
        }
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("required");
        schema.insert(
            "anyOf".to_owned(),
            json!([
                { "required": ["source", "model"] },
                { "required": ["streams", "model"] },
            ]),
        );
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            let streams = json!({
                "description": "Several streams, each with the keys of a pipeline; what stands beside \
                    this list counts for all.",
                "type": "array",
                "minItems": 1,
                "items": block,
            });
            properties.insert("streams".to_owned(), streams);
        }
    }
    schema
}
