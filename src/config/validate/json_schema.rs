//! Validates values against a JSON Schema and collects all violations.
//!
//! Supports the part of JSON Schema that the types of this crate lead to: `$ref`, nullable `anyOf`,
//! `const` alternatives, types, ranges, lengths, patterns (with `x-expected` as their description),
//! closed objects, and "exactly one key" as `minProperties` = `maxProperties` = 1.

use std::collections::HashMap;
use std::fmt::Write;

use regex_lite::Regex;
use serde_json::{Map, Value};

use crate::config::document::{MAX_VIOLATIONS, PathSegment, Violation};

/// Longest word for which similar ones are looked for, in bytes.
const MAX_HINT_BYTES: usize = 64;

/// The violations of `schema` in `value`, at most [`MAX_VIOLATIONS`].
pub fn violations(schema: &Value, value: &Value) -> Vec<Violation> {
    let mut validator = SchemaValidator {
        root: schema,
        path: Vec::new(),
        violations: Vec::new(),
        patterns: HashMap::new(),
    };
    validator.value(schema, value);
    validator.violations
}

struct SchemaValidator<'a> {
    root: &'a Value,
    path: Vec<PathSegment>,
    violations: Vec<Violation>,
    /// The compiled patterns of the schema; none for one that is invalid.
    patterns: HashMap<&'a str, Option<Regex>>,
}

impl<'a> SchemaValidator<'a> {
    fn violation(&mut self, at_key: bool, message: String) {
        self.violations.push(Violation {
            path: self.path.clone(),
            at_key,
            message,
        });
    }

    fn value_violation(&mut self, message: String) {
        self.violation(false, message);
    }

    fn is_full(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }

    fn value(&mut self, schema: &'a Value, value: &Value) {
        if self.is_full() || value.is_null() && is_nullable(schema) {
            return;
        }
        let schema = resolve_ref(self.root, schema);
        if let Some(allowed) = enum_values(schema) {
            if !value.as_str().is_some_and(|got| allowed.contains(&got)) {
                let hint = did_you_mean(value.as_str().unwrap_or(""), &allowed);
                let allowed = allowed.join(", ");
                let got = display_value(value);
                self.value_violation(format!("expected one of {allowed}; got {got}{hint}"));
            }
            return;
        }
        if !self.has_type(schema, value) {
            return;
        }
        match value {
            Value::Object(map) => self.object(schema, map),
            Value::Array(items) => self.array(schema, items),
            Value::Number(number) => self.number(schema, number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => self.text(schema, text),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn has_type(&mut self, schema: &Value, value: &Value) -> bool {
        let types = types_of(schema);
        let fits = types.is_empty()
            || types.iter().any(|t| match *t {
                "null" => value.is_null(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "string" => value.is_string(),
                "array" => value.is_array(),
                "object" => value.is_object(),
                _ => false,
            });
        if !fits {
            let expected = expected(schema);
            // A string that YAML reads as another type.
            let hint = match value {
                Value::Number(_) | Value::Bool(_) if types.contains(&"string") => {
                    format!("; for a string, write \"{value}\"")
                }
                _ => String::new(),
            };
            self.value_violation(format!(
                "expected {expected}; got {}{hint}",
                display_value(value)
            ));
        }
        fits
    }

    fn object(&mut self, schema: &'a Value, map: &Map<String, Value>) {
        let empty = Map::new();
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let known: Vec<&str> = properties.keys().map(String::as_str).collect();
        let one_of = schema.get("maxProperties") == Some(&1.into());
        let mut unknown = false;
        for (key, value) in map {
            if self.is_full() {
                return;
            }
            self.path.push(PathSegment::Key(key.clone()));
            // The borrow of `properties` may be of `empty`, which has nothing to give.
            let property = schema.get("properties").and_then(|p| p.get(key));
            match (property, schema.get("additionalProperties")) {
                (Some(property), _) => self.value(property, value),
                (None, Some(any @ Value::Object(_))) => self.value(any, value),
                (None, _) => {
                    unknown = true;
                    let message = self.unknown_key(key, &known);
                    self.violation(true, message);
                }
            }
            self.path.pop();
        }
        if one_of {
            let given: Vec<&str> = map
                .iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, _)| k.as_str())
                .collect();
            if given.len() != 1 && !unknown {
                let got = if given.is_empty() {
                    "none".to_owned()
                } else {
                    given.join(" and ")
                };
                let known = known.join(", ");
                self.value_violation(format!("expected exactly one of {known}; got {got}"));
            }
        }
        for key in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|key| !map.contains_key(*key))
        {
            let about = properties
                .get(key)
                .and_then(|p| p.get("description"))
                .and_then(Value::as_str)
                .map(|d| format!(" ({})", d.trim_end_matches('.').replace('\n', " ")))
                .unwrap_or_default();
            self.value_violation(format!("missing key \"{key}\"{about}"));
        }
    }

    fn unknown_key(&self, key: &str, known: &[&str]) -> String {
        let allowed = known.join(", ");
        if key == "<<" {
            return format!("merge keys are not supported (allowed: {allowed})");
        }
        let mut hint = did_you_mean(key, known);
        if hint.is_empty()
            && let Some(found) = find_key(self.root, self.root, key)
        {
            hint = format!("; did you mean \"{found}\"?");
        }
        format!("unknown key{hint} (allowed: {allowed})")
    }

    fn array(&mut self, schema: &'a Value, items: &[Value]) {
        let bound = |key| schema.get(key).and_then(Value::as_u64);
        let (min, max) = (bound("minItems"), bound("maxItems"));
        let n = items.len() as u64;
        if min.is_some_and(|min| n < min) || max.is_some_and(|max| n > max) {
            let expected = match (min, max) {
                (Some(min), Some(max)) if min == max => format!("{min}"),
                (Some(min), Some(max)) => format!("{min} to {max}"),
                (Some(min), None) => format!("at least {min}"),
                (_, max) => format!("at most {}", max.unwrap_or(u64::MAX)),
            };
            self.value_violation(format!("expected {expected} items; got {n}"));
        }
        if let Some(of_item) = schema.get("items") {
            for (i, item) in items.iter().enumerate() {
                self.path.push(PathSegment::Index(i));
                self.value(of_item, item);
                self.path.pop();
            }
        }
    }

    fn number(&mut self, schema: &Value, number: f64) {
        let bound = |key| schema.get(key).and_then(Value::as_f64);
        let low = bound("minimum").is_some_and(|min| number < min);
        let high = bound("maximum").is_some_and(|max| number > max);
        if low || high || !number.is_finite() {
            let expected = expected(schema);
            self.value_violation(format!("expected {expected}; got {number}"));
        }
    }

    fn text(&mut self, schema: &'a Value, text: &str) {
        let is_short = schema
            .get("minLength")
            .and_then(Value::as_u64)
            .is_some_and(|min| (text.chars().count() as u64) < min);
        let is_other = schema
            .get("pattern")
            .and_then(Value::as_str)
            .is_some_and(|pattern| !self.matches(pattern, text));
        if is_short || is_other {
            let expected = expected(schema);
            self.value_violation(format!(
                "expected {expected}; got {}",
                display_value(&text.into())
            ));
        }
    }

    fn matches(&mut self, pattern: &'a str, text: &str) -> bool {
        let compiled = self.patterns.entry(pattern);
        let compiled = compiled.or_insert_with(|| Regex::new(pattern).ok());
        compiled.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// Brings what may be written shorter into its full form: null becomes an empty mapping where a
/// mapping is expected (`window:` alone, or `{person, car}`), a string a mapping with the key that it
/// is short for, and a key with a default whose value is null is left out.
pub fn normalize(schema: &Value, value: &mut Value) {
    fill(schema, schema, value);
}

fn fill(root: &Value, schema: &Value, value: &mut Value) {
    let schema = resolve_ref(root, schema);
    let is_mapping = types_of(schema).contains(&"object");
    if let (Value::String(_), Some(Value::String(key))) = (&*value, schema.get("x-short-for")) {
        *value = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
    }
    if value.is_null() && is_mapping && schema.get("maxProperties").is_none() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => {
            let property = |key: &str| schema.get("properties").and_then(|p| p.get(key));
            map.retain(|key, value| {
                let has_default = property(key).is_some_and(|p| p.get("default").is_some());
                !(value.is_null() && has_default)
            });
            for (key, value) in map {
                let property = property(key);
                if let Some(of_value) = property.or_else(|| schema.get("additionalProperties")) {
                    fill(root, of_value, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(of_item) = schema.get("items") {
                for item in items {
                    fill(root, of_item, item);
                }
            }
        }
        _ => {}
    }
}

/// Whether null is allowed.
fn is_nullable(schema: &Value) -> bool {
    let is_null = |s: &Value| s.get("type") == Some(&"null".into());
    let variants = schema.get("anyOf").and_then(Value::as_array);
    variants.is_some_and(|v| v.iter().any(is_null)) || types_of(schema).contains(&"null")
}

/// The schema that a `$ref` names, and the one of an optional `anyOf` besides null.
fn resolve_ref<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let variants = schema.get("anyOf").and_then(Value::as_array);
    let schema = variants
        .and_then(|v| v.iter().find(|s| s.get("type") != Some(&"null".into())))
        .unwrap_or(schema);
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|r| r.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer))
        .unwrap_or(schema)
}

fn types_of(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A description of the values that the schema allows.
fn expected(schema: &Value) -> String {
    if let Some(description) = schema.get("x-expected").and_then(Value::as_str) {
        return description.to_owned();
    }
    let types = types_of(schema);
    let what = match types.iter().find(|t| **t != "null") {
        Some(&"boolean") => "true or false",
        Some(&"integer") => "an integer",
        Some(&"number") => "a number",
        Some(&"string") => "a string",
        Some(&"array") => "a list",
        _ => "a mapping",
    };
    let pattern = schema.get("pattern").and_then(Value::as_str);
    let pattern = pattern.map(|p| format!(" like {p}")).unwrap_or_default();
    format!("{what}{}{pattern}", range_of(schema))
}

/// The dotted path of the first block that has `key`, leaving out lists and blocks of which exactly
/// one key is given.
fn find_key(root: &Value, schema: &Value, key: &str) -> Option<String> {
    let properties = resolve_ref(root, schema).get("properties")?.as_object()?;
    let mut blocks: Vec<_> = properties.iter().collect();
    // A key of several blocks is looked for in the usual one first.
    blocks.sort_by_key(|(name, _)| *name == "classify");
    blocks.into_iter().find_map(|(name, property)| {
        let property = resolve_ref(root, property);
        if property.get("maxProperties").is_some() {
            return None;
        }
        let within = property.get("properties").and_then(|p| p.get(key));
        if within.is_some() {
            return Some(format!("{name}.{key}"));
        }
        find_key(root, property, key).map(|rest| format!("{name}.{rest}"))
    })
}

/// The values of an enumeration of strings.
fn enum_values(schema: &Value) -> Option<Vec<&str>> {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(Value::as_str).collect();
    }
    let variants = schema.get("oneOf").and_then(Value::as_array)?;
    let mut all = Vec::new();
    for variant in variants {
        match (variant.get("const"), variant.get("enum")) {
            (Some(word), _) => all.push(word.as_str()?),
            (None, Some(Value::Array(words))) => {
                for word in words {
                    all.push(word.as_str()?);
                }
            }
            _ => return None,
        }
    }
    Some(all)
}

fn range_of(schema: &Value) -> String {
    let bound = |key| schema.get(key).and_then(Value::as_f64);
    match (bound("minimum"), bound("maximum")) {
        (Some(min), Some(max)) => format!(" from {min} to {max}"),
        (Some(min), None) => format!(" of at least {min}"),
        (None, Some(max)) => format!(" of at most {max}"),
        (None, None) => String::new(),
    }
}

/// A value in a message; long ones are cut.
fn display_value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let keys: Vec<&str> = map.keys().take(3).map(String::as_str).collect();
            format!(
                "a mapping ({}{})",
                keys.join(", "),
                if map.len() > 3 { ", ..." } else { "" }
            )
        }
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::String(text) => {
            let mut short: String = text.chars().take(40).collect();
            if short.len() < text.len() {
                short.push_str("...");
            }
            format!("\"{}\"", short.escape_debug())
        }
        other => other.to_string(),
    }
}

/// `; did you mean "x"?` if a known word is similar enough, else an empty string.
pub fn did_you_mean(got: &str, known: &[&str]) -> String {
    let mut hint = String::new();
    if got.len() > MAX_HINT_BYTES {
        return hint;
    }
    let nearest = known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(got, word), word))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, word)| *distance <= 1.max(word.chars().count() / 3))
        .or_else(|| {
            // The first word of several, as `score` of `score_threshold`.
            let begins = |word: &&&str| word.strip_prefix(got).is_some_and(|r| r.starts_with('_'));
            known.iter().find(begins).map(|word| (0, word))
        });
    if let Some((_, word)) = nearest {
        let _ = write!(hint, "; did you mean \"{word}\"?");
    }
    hint
}
