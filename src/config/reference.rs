//! The reference of all keys in Markdown, generated from a JSON Schema.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::schema::{PipelineConfig, pipeline_schema, schema_of};

/// Order of a pipeline's and a card's keys at the top level; others follow.
const ORDER: &str = "streams stream source fallback telemetry model models detect segment classify track classify_tracks zones lines \
    gating inference overlay sinks name file sha256 input head labels";

/// The reference of a pipeline's keys.
pub fn pipeline_reference() -> String {
    let mut schema = schema_of::<PipelineConfig>();
    let with_streams = pipeline_schema();
    if let Some(streams) = with_streams.pointer("/properties/streams/description") {
        // The keys of a stream are those of a pipeline: they are not told twice.
        schema["properties"]["streams"] = json!({"type": "array", "description": streams});
    }
    markdown_reference(&schema)
}

/// A Markdown reference of `schema`: a table for each block with its keys, their types, defaults and
/// descriptions. Headings begin at the second level.
pub fn markdown_reference(schema: &Value) -> String {
    let mut reference = Reference {
        root: schema,
        text: String::new(),
        pending: Vec::new(),
        sections: BTreeMap::new(),
    };
    reference.table(schema, "");
    let blocks: Vec<Block<'_>> = std::mem::take(&mut reference.pending);
    for block in blocks {
        reference.block(&block, 2);
    }
    reference.text.trim_start().to_owned()
}

struct Reference<'a> {
    root: &'a Value,
    text: String,
    /// Blocks that the last table refers to.
    pending: Vec<Block<'a>>,
    /// The path of each definition's section.
    sections: BTreeMap<String, String>,
}

/// A block with keys of its own.
struct Block<'a> {
    path: String,
    schema: &'a Value,
}

impl<'a> Reference<'a> {
    /// The section of a block and of the blocks in it.
    fn block(&mut self, block: &Block<'a>, level: usize) {
        let schema = block.schema;
        let heading = "#".repeat(level.min(6));
        let _ = write!(self.text, "\n{heading} `{}`\n\n", block.path);
        if let Some(description) = text_of(schema, "description") {
            let _ = writeln!(self.text, "{}\n", one_paragraph(description));
        }
        if let Some(key) = text_of(schema, "x-short-for") {
            let _ = writeln!(self.text, "A string is short for a mapping with `{key}`.\n");
        }
        if schema.get("maxProperties") == Some(&1.into()) {
            let _ = writeln!(self.text, "Exactly one of these keys must be given.\n");
        }
        self.table(schema, &block.path);
        for inner in std::mem::take(&mut self.pending) {
            self.block(&inner, level + 1);
        }
    }

    /// The table of a block's keys; blocks among their values become pending.
    fn table(&mut self, schema: &'a Value, path: &str) {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut keys: Vec<&String> = properties.unwrap_or(&empty).keys().collect();
        let required = schema.get("required").and_then(Value::as_array);
        let is_required =
            |key: &str| required.is_some_and(|required| required.iter().any(|r| r == key));
        let rank = |key: &str| {
            let mut order = ORDER.split_whitespace();
            let known = order.position(|known| path.is_empty() && known == key);
            (known.unwrap_or(usize::MAX), !is_required(key))
        };
        keys.sort_by_key(|key| rank(key));
        self.text
            .push_str("| Key | Type | Default | Description |\n");
        self.text.push_str("|---|---|---|---|\n");
        for key in keys {
            let Some(property) = properties.and_then(|p| p.get(key)) else {
                continue;
            };
            let of_key = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let (kind, values) = self.kind(property, &of_key);
            let mut about = text_of(property, "description")
                .map(one_paragraph)
                .unwrap_or_default();
            let stated = about
                .find("Default: ")
                .map(|at| about[at + "Default: ".len()..].to_owned());
            let default = match (property.get("default"), stated) {
                _ if is_required(key) => "*required*".to_owned(),
                (_, Some(stated)) => {
                    let at = about.find("Default: ").unwrap_or(about.len());
                    about.truncate(at);
                    stated.trim_end_matches('.').to_owned()
                }
                (Some(default), None) => format!("`{}`", inline(default)),
                (None, None) => "none".to_owned(),
            };
            if !values.is_empty() {
                let _ = write!(about, " {values}");
            }
            let row = [format!("`{key}`"), kind, default, about.trim().to_owned()];
            let row = row.map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(self.text, "| {} |", row.join(" | "));
        }
    }

    /// The type of a value in words, and the meanings of an enumeration's values.
    fn kind(&mut self, schema: &'a Value, path: &str) -> (String, String) {
        let (resolved, name) = self.resolve(schema);
        if let Some(variants) = resolved.get("oneOf").and_then(Value::as_array) {
            let values = variants.iter().filter_map(|variant| {
                let value = text_of(variant, "const")?;
                let about = text_of(variant, "description").map(one_paragraph);
                Some((value, about.unwrap_or_default()))
            });
            let values: Vec<(&str, String)> = values.collect();
            let kind: Vec<String> = values.iter().map(|(v, _)| format!("`{v}`")).collect();
            let meanings: Vec<String> = values
                .iter()
                .map(|(value, about)| format!("`{value}`: {}", about.trim_end_matches('.')))
                .collect();
            return (kind.join(", "), format!("{}.", meanings.join("; ")));
        }
        let kind = match type_of(resolved) {
            "object" if resolved.get("properties").is_some() => self.refer(resolved, name, path),
            "object" => match resolved.get("additionalProperties") {
                Some(of_value @ Value::Object(_)) => {
                    let (kind, _) = self.kind(of_value, &format!("{path}.NAME"));
                    format!("mapping of names to {kind}")
                }
                _ => "mapping".to_owned(),
            },
            "array" => match resolved.get("items") {
                Some(of_item) => {
                    let (kind, _) = self.kind(of_item, &format!("{path}.N"));
                    format!("list{} of {kind}", count_of(resolved))
                }
                None => "list".to_owned(),
            },
            "integer" => format!("integer{}", range_of(resolved)),
            "number" => format!("number{}", range_of(resolved)),
            "boolean" => "boolean".to_owned(),
            _ => match text_of(schema, "x-expected").or_else(|| text_of(resolved, "x-expected")) {
                Some(expected) => {
                    let expected = expected.trim_start_matches("a ");
                    expected.split(", or").next().unwrap_or(expected).to_owned()
                }
                None => "string".to_owned(),
            },
        };
        (kind, String::new())
    }

    /// Refers to the section of a block; the first reference makes it.
    fn refer(&mut self, schema: &'a Value, name: Option<&str>, path: &str) -> String {
        if let Some(known) = name.and_then(|name| self.sections.get(name)) {
            return format!("[as `{known}`](#{})", anchor(known));
        }
        if let Some(name) = name {
            self.sections.insert(name.to_owned(), path.to_owned());
        }
        self.pending.push(Block {
            path: path.to_owned(),
            schema,
        });
        format!("[mapping](#{})", anchor(path))
    }

    /// The schema behind a `$ref` or an optional value, and its definition's name.
    fn resolve(&self, schema: &'a Value) -> (&'a Value, Option<&'a str>) {
        let variants = schema.get("anyOf").and_then(Value::as_array);
        let schema = variants
            .and_then(|v| v.iter().find(|s| type_of(s) != "null"))
            .unwrap_or(schema);
        let reference = text_of(schema, "$ref").and_then(|r| r.strip_prefix('#'));
        match reference.and_then(|pointer| Some((self.root.pointer(pointer)?, pointer))) {
            Some((resolved, pointer)) => (resolved, pointer.rsplit('/').next()),
            None => (schema, None),
        }
    }
}

fn text_of<'a>(schema: &'a Value, key: &str) -> Option<&'a str> {
    schema.get(key).and_then(Value::as_str)
}

/// The type besides null.
fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(one)) => one,
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(Value::as_str)
            .find(|t| *t != "null")
            .unwrap_or(""),
        _ => "",
    }
}

fn range_of(schema: &Value) -> String {
    let bound = |key| schema.get(key).and_then(Value::as_f64);
    match (bound("minimum"), bound("maximum")) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        (Some(min), None) => format!(", at least {min}"),
        (None, Some(max)) => format!(", at most {max}"),
        (None, None) => String::new(),
    }
}

fn count_of(schema: &Value) -> String {
    let bound = |key| schema.get(key).and_then(Value::as_u64);
    match (bound("minItems"), bound("maxItems")) {
        (Some(min), Some(max)) if min == max => format!(" ({min})"),
        (Some(min), Some(max)) => format!(" ({min} to {max})"),
        (Some(min), None) => format!(" (at least {min})"),
        (None, Some(max)) => format!(" (at most {max})"),
        (None, None) => String::new(),
    }
}

fn one_paragraph(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A default as it is written in YAML.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The anchor of a heading, as most Markdown renderers make it.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || "_- ".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn each_key_has_its_default_from_the_schema() {
        let text = pipeline_reference();
        for row in [
            "| `score_threshold` | number, 0 to 1 | `0.4` | Lowest score of a detection. |",
            "| `nms_iou` | number, 0 to 1 | the card's |",
            "| `model` | [mapping](#model) | *required* |",
            "## `sinks.N`",
            "### `sinks.N.mqtt`",
            "### `gating.motion_gate`",
        ] {
            assert!(text.contains(row), "{row} is missing in:\n{text}");
        }
    }
}
