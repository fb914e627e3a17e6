//! From YAML text to the document tree, in one pass over the parser's events.
//!
//! What YAML can express and a configuration cannot hold (a number that is not finite, a key that
//! is no string, an application's tag) becomes [`Content::Invalid`] at its place, so that it is
//! reported together with all other errors.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::node::{Content, Entry, Node};
use super::path::{MAX_VIOLATIONS, PathSegment};
use super::scalar::resolve_plain;
use super::size::DocumentSize;
use crate::config::diagnostic::Location;

/// Deepest nesting of mappings and lists.
const MAX_DEPTH: usize = 64;
/// Longest key in bytes; it is repeated in the path of each value below.
const MAX_KEY_BYTES: usize = 256;

/// A parsed text.
#[derive(Debug)]
pub struct ParsedYaml {
    /// The document's value; null if the text has none.
    pub root: Node,
    /// Keys that were given again in their mapping; the last one counts.
    pub duplicates: Vec<DuplicateKey>,
}

/// A key that was given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateKey {
    /// The key.
    pub path: Vec<PathSegment>,
    /// Where it was given again.
    pub location: Location,
    /// Where it was given before.
    pub first: Location,
}

/// Why a text is not YAML, or not YAML for a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Line and column, from 1.
    pub position: (usize, usize),
    /// What is wrong.
    pub message: String,
}

/// Parses `text`.
///
/// # Errors
/// When it is not YAML, has several documents, is nested too deep or holds too much.
pub fn parse_yaml(text: &str) -> Result<ParsedYaml, SyntaxError> {
    let mut builder = TreeBuilder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| scan_error(&error))?;
        builder.event(event, &span.start)?;
    }
    Ok(ParsedYaml {
        root: builder.root.unwrap_or(Node {
            location: Location::File,
            content: Content::Null,
        }),
        duplicates: builder.duplicates,
    })
}

fn scan_error(error: &ScanError) -> SyntaxError {
    SyntaxError {
        position: position(error.marker()),
        message: error.info().to_owned(),
    }
}

fn position(marker: &Marker) -> (usize, usize) {
    (marker.line(), marker.col() + 1)
}

#[derive(Default)]
struct TreeBuilder {
    root: Option<Node>,
    /// The mappings and lists that are being read, outermost first.
    open: Vec<OpenNode>,
    /// Finished nodes with an anchor, by its id.
    anchors: HashMap<usize, Node>,
    duplicates: Vec<DuplicateKey>,
    size: DocumentSize,
    /// Of what `anchors` keeps.
    anchored: DocumentSize,
    documents: usize,
}

struct OpenNode {
    location: Location,
    anchor: usize,
    /// Why the node's tag is refused, if it is.
    tag_error: Option<String>,
    children: OpenChildren,
}

enum OpenChildren {
    Items(Vec<Node>),
    Entries {
        entries: Vec<Entry>,
        /// Index of each key in `entries`.
        index: HashMap<String, usize>,
        /// The key that waits for its value.
        key: Option<(String, Location, Option<String>)>,
    },
}

impl TreeBuilder {
    fn event(&mut self, event: Event<'_>, start: &Marker) -> Result<(), SyntaxError> {
        let (line, column) = position(start);
        let location = Location::Position { line, column };
        let refuse = |message: String| {
            Err(SyntaxError {
                position: (line, column),
                message,
            })
        };
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return refuse("a file must hold one document; another begins here".to_owned());
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let content = scalar(&text, style, tag.as_deref());
                self.size.text_bytes += text.len();
                if self.waits_for_key() {
                    if text.len() > MAX_KEY_BYTES {
                        return refuse(format!("a key is longer than {MAX_KEY_BYTES} bytes"));
                    }
                    self.key(&text, &content, location);
                    return Ok(());
                }
                self.finish(Node { location, content }, anchor);
            }
            Event::Alias(anchor) => {
                if self.waits_for_key() {
                    return refuse("an alias cannot be a key".to_owned());
                }
                let Some(node) = self.anchors.get(&anchor) else {
                    return refuse("an alias cannot refer to a value that holds it".to_owned());
                };
                // Before it is copied.
                self.size += DocumentSize::of(node);
                self.size.values -= 1;
                if let Some(excess) = self.size.excess() {
                    return refuse(format!("{excess}, with aliases expanded"));
                }
                let mut node = node.clone();
                node.relocate(&location);
                self.finish(node, 0);
            }
            Event::MappingStart(anchor, tag) | Event::SequenceStart(anchor, tag)
                if self.waits_for_key() =>
            {
                let _ = (anchor, tag);
                return refuse("a key must be a scalar".to_owned());
            }
            Event::MappingStart(anchor, tag) => {
                let children = OpenChildren::Entries {
                    entries: Vec::new(),
                    index: HashMap::new(),
                    key: None,
                };
                self.begin(
                    location,
                    anchor,
                    collection_tag(tag.as_deref(), "map"),
                    children,
                );
            }
            Event::SequenceStart(anchor, tag) => {
                let children = OpenChildren::Items(Vec::new());
                self.begin(
                    location,
                    anchor,
                    collection_tag(tag.as_deref(), "seq"),
                    children,
                );
            }
            Event::MappingEnd | Event::SequenceEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        if self.open.len() > MAX_DEPTH {
            return refuse(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        match self.size.excess().or_else(|| self.anchored.excess()) {
            Some(excess) => refuse(format!("{excess}, with aliases expanded")),
            None => Ok(()),
        }
    }

    fn waits_for_key(&self) -> bool {
        let last = self.open.last().map(|open| &open.children);
        matches!(last, Some(OpenChildren::Entries { key: None, .. }))
    }

    fn key(&mut self, text: &str, content: &Content, location: Location) {
        let error = match content {
            Content::String(_) => None,
            Content::Invalid(message) => Some(message.clone()),
            _ => Some(format!("a key must be a string; write \"{text}\"")),
        };
        if let Some(OpenNode {
            children: OpenChildren::Entries { key, .. },
            ..
        }) = self.open.last_mut()
        {
            *key = Some((text.to_owned(), location, error));
        }
    }

    fn begin(
        &mut self,
        location: Location,
        anchor: usize,
        tag_error: Option<String>,
        children: OpenChildren,
    ) {
        self.open.push(OpenNode {
            location,
            anchor,
            tag_error,
            children,
        });
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let content = match (open.tag_error, open.children) {
            (Some(message), _) => Content::Invalid(message),
            (None, OpenChildren::Items(items)) => Content::Sequence(items),
            (None, OpenChildren::Entries { entries, .. }) => Content::Mapping(entries),
        };
        let node = Node {
            location: open.location,
            content,
        };
        self.finish(node, open.anchor);
    }

    /// Puts a finished node into what is around it.
    fn finish(&mut self, node: Node, anchor: usize) {
        self.size.values += 1;
        if anchor > 0 {
            self.anchored += DocumentSize::of(&node);
            self.anchors.insert(anchor, node.clone());
        }
        let path =
            (self.is_duplicate() && self.duplicates.len() < MAX_VIOLATIONS).then(|| self.path());
        match self.open.last_mut().map(|open| &mut open.children) {
            None => self.root = Some(node),
            Some(OpenChildren::Items(items)) => items.push(node),
            Some(OpenChildren::Entries {
                entries,
                index,
                key,
            }) => {
                let Some((key, location, error)) = key.take() else {
                    return;
                };
                let entry = Entry {
                    key,
                    location,
                    error,
                    value: node,
                };
                let known = index.get(&entry.key).and_then(|at| entries.get_mut(*at));
                let Some(known) = known else {
                    index.insert(entry.key.clone(), entries.len());
                    entries.push(entry);
                    return;
                };
                self.duplicates.extend(path.map(|path| DuplicateKey {
                    path,
                    location: entry.location.clone(),
                    first: known.location.clone(),
                }));
                *known = entry;
            }
        }
    }

    /// Whether the key that waits for its value was given before in its mapping.
    fn is_duplicate(&self) -> bool {
        let last = self.open.last().map(|open| &open.children);
        matches!(last, Some(OpenChildren::Entries { index, key: Some((key, ..)), .. })
            if index.contains_key(key))
    }

    /// The path of the node that is being finished.
    fn path(&self) -> Vec<PathSegment> {
        let segment = |open: &OpenNode| match &open.children {
            OpenChildren::Items(items) => Some(PathSegment::Index(items.len())),
            OpenChildren::Entries { key, .. } => {
                key.as_ref().map(|(key, ..)| PathSegment::Key(key.clone()))
            }
        };
        self.open.iter().filter_map(segment).collect()
    }
}

/// The value of a scalar under its style and tag.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Content {
    let plain = || resolve_plain(text);
    let string = || Content::String(text.to_owned());
    let Some(tag) = tag else {
        return if style == ScalarStyle::Plain {
            plain()
        } else {
            string()
        };
    };
    let (is_core, suffix) = (tag.is_yaml_core_schema(), tag.suffix.as_str());
    if is_core && suffix == "str" || tag.handle == "!" && suffix.is_empty() {
        return string();
    }
    let content = plain();
    let fits = match suffix {
        "null" => content == Content::Null,
        "bool" => matches!(content, Content::Bool(_)),
        "int" => matches!(&content, Content::Number(number) if !number.is_f64()),
        "float" => matches!(content, Content::Number(_) | Content::Invalid(_)),
        _ => return unsupported_tag(tag),
    };
    match (is_core, fits) {
        (false, _) => unsupported_tag(tag),
        (true, true) => content,
        (true, false) => Content::Invalid(format!("expected a value of type {suffix}")),
    }
}

fn unsupported_tag(tag: &Tag) -> Content {
    Content::Invalid(tag_error(tag))
}

fn tag_error(tag: &Tag) -> String {
    let suffix: String = tag.suffix.chars().take(40).collect();
    format!("the tag \"{}\" is not supported", suffix.escape_debug())
}

/// Why the tag of a mapping or a list is refused, if it is.
fn collection_tag(tag: Option<&Tag>, name: &str) -> Option<String> {
    let refused = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == name));
    refused.filter(|tag| !tag.suffix.is_empty()).map(tag_error)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::path::key_path;
    use super::*;

    fn at(line: usize, column: usize) -> Location {
        Location::Position { line, column }
    }

    fn value(text: &str) -> Value {
        parse_yaml(text).expect(text).root.to_json()
    }

    fn errors(text: &str) -> Vec<String> {
        let violations = parse_yaml(text).expect(text).root.violations();
        violations.into_iter().map(|v| v.message).collect()
    }

    #[test]
    fn keys_and_values_have_locations() {
        let text = "a:\n  b: 1\n  c: [x, {d: 2}]\ne:\n- f: 3\n- 4\n";
        let root = parse_yaml(text).expect("YAML").root;
        assert_eq!(root.key_location(&key_path!["a", "b"]), &at(2, 3));
        assert_eq!(root.value_location(&key_path!["a", "b"]), &at(2, 6));
        assert_eq!(
            root.value_location(&key_path!["a", "c", 1, "d"]),
            &at(3, 14)
        );
        assert_eq!(root.key_location(&key_path!["e", 0, "f"]), &at(5, 3));
        assert_eq!(root.value_location(&key_path!["e", 1]), &at(6, 3));
        // What is not there is where the nearest value around it is.
        let missing = root.value_location(&key_path!["a", "zzz", "y"]);
        assert_eq!(missing, root.value_location(&key_path!["a"]));
    }

    #[test]
    fn scalars_have_the_types_of_yaml() {
        assert_eq!(
            value("a: [1, -2, 0.5, yes, true, ~, '3', !!str 4, !!float 5]\n"),
            json!({"a": [1, -2, 0.5, "yes", true, null, "3", "4", 5]})
        );
        assert_eq!(value("a: |\n  x\n  y\n"), json!({"a": "x\ny\n"}));
    }

    #[test]
    fn a_text_without_a_value_is_null() {
        for text in ["", "# only a comment\n", "---\n", "~"] {
            assert_eq!(value(text), Value::Null, "{text:?}");
        }
    }

    #[test]
    fn aliases_are_expanded_where_they_stand() {
        let root = parse_yaml("a: &x {b: [1]}\nc: *x\n").expect("YAML").root;
        assert_eq!(root.to_json(), json!({"a": {"b": [1]}, "c": {"b": [1]}}));
        assert_eq!(root.value_location(&key_path!["c", "b", 0]), &at(2, 4));
        assert!(parse_yaml("a: &x [*x]\n").is_err());
    }

    #[test]
    fn duplicate_keys_are_noted_and_the_last_counts() {
        let parsed = parse_yaml("a: {b: 1, b: 2}\n").expect("YAML");
        let duplicate = DuplicateKey {
            path: key_path!["a", "b"].to_vec(),
            location: at(1, 11),
            first: at(1, 5),
        };
        assert_eq!(parsed.duplicates, vec![duplicate]);
        assert_eq!(parsed.root.to_json(), json!({"a": {"b": 2}}));
    }

    #[test]
    fn a_small_text_cannot_become_a_large_document() {
        let refused = |text: &str| parse_yaml(text).expect_err("too large").message;
        let long = "x".repeat(500_000);
        // An alias of a long text: 20 GB in 700 kB.
        let texts = format!("a: &x {long}\nb:\n{}", "- *x\n".repeat(40_000));
        assert_eq!(
            refused(&texts),
            "more than 4194304 bytes of text, with aliases expanded"
        );
        // Anchors within anchors, each of which is kept.
        let nested = format!(
            "{}{}{}",
            "&a [".repeat(60),
            "x,".repeat(5000),
            "]".repeat(60)
        );
        assert_eq!(
            refused(&nested),
            "more than 100000 values, with aliases expanded"
        );
        // A key that stands in the path of each duplicate below: 50 GB in 700 kB.
        let path = format!("? {long}\n:\n{}", " a: 1\n".repeat(30_000));
        assert_eq!(refused(&path), "a key is longer than 256 bytes");
    }

    #[test]
    fn of_many_duplicates_the_first_hundred_are_kept() {
        let parsed = parse_yaml(&format!("a:\n{}", " b: 1\n".repeat(5000))).expect("YAML");
        assert_eq!(parsed.duplicates.len(), MAX_VIOLATIONS);
        assert_eq!(parsed.root.to_json(), json!({"a": {"b": 1}}));
        let keys: String = (0..50_000).map(|i| format!("k{i}: 1\n")).collect();
        let root = parse_yaml(&keys).expect("YAML").root;
        assert_eq!(root.entries().map(<[_]>::len), Some(50_000));
        let many: String = (0..500).map(|i| format!("{i}: x\n")).collect();
        let violations = parse_yaml(&many).expect("YAML").root.violations();
        assert_eq!(violations.len(), MAX_VIOLATIONS);
    }

    #[test]
    fn what_a_configuration_cannot_hold_is_invalid() {
        assert_eq!(errors("a: .nan"), ["expected a finite number; got NaN"]);
        assert_eq!(errors("a: -.inf"), ["expected a finite number; got -inf"]);
        assert_eq!(errors("1: x"), ["a key must be a string; write \"1\""]);
        assert_eq!(errors("a: {true: x}").len(), 1);
        assert_eq!(errors("a: !b {c: 1}"), ["the tag \"b\" is not supported"]);
        assert_eq!(errors("a: !b c").len(), 1);
        assert_eq!(errors("a: !!int x").len(), 1);
        assert_eq!(errors("a: 99999999999999999999999").len(), 0);
    }

    #[test]
    fn the_shipped_files_have_the_values_of_another_parser() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut count = 0;
        for folder in ["pipelines", "models", "tests/data/tiny"] {
            for entry in std::fs::read_dir(root.join(folder)).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.extension().is_some_and(|e| e == "yaml") {
                    let text = std::fs::read_to_string(&path).expect("readable");
                    let expected: Value = serde_yaml::from_str(&text).expect("YAML");
                    assert_eq!(value(&text), expected, "{}", path.display());
                    count += 1;
                }
            }
        }
        assert!(count > 10);
    }
}
