//! `--set KEY=VALUE`: a value of the command line over the file's own.

use std::path::Path;

use super::node::{Content, Node};
use super::parse::parse_yaml;
use super::path::{PathSegment, dotted};
use super::renamed::rename_in_override;
use crate::config::diagnostic::{ConfigError, Location};

/// A dotted key and a YAML value.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The key.
    pub(super) path: Vec<PathSegment>,
    /// The value, located at the argument.
    pub(super) value: Node,
    /// The argument without its value, for instance `--set detect.score_threshold`.
    pub(super) argument: String,
}

impl Override {
    /// Reads `a.b.0.c=VALUE`, where a number is an index into a list.
    ///
    /// Lists, mappings and quoted strings are written as in YAML, between their brackets or quotes.
    /// Everything else is one plain value to the end, so that `-`, `#e6194b` and `a: b` need no
    /// quotes inside the shell's.
    ///
    /// # Errors
    /// When there is no `=`, no key, or the value is not YAML.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let error = |message: String| ConfigError::in_argument(&format!("--set {text}"), message);
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| error("expected KEY=VALUE".to_owned()))?;
        if key.is_empty() || key.split('.').any(str::is_empty) {
            return Err(error("expected a dotted key before the =".to_owned()));
        }
        let path = key.split('.').map(|text| match text.parse() {
            Ok(index) => PathSegment::Index(index),
            Err(_) => PathSegment::Key(text.to_owned()),
        });
        let argument = format!("--set {key}");
        let mut value = match parse_yaml(value) {
            Ok(parsed) if is_bracketed(value) || is_plain(&parsed.root, value) => {
                if let Some(violation) = parsed.root.violations().first() {
                    let at = dotted(&violation.path);
                    let at = if at.is_empty() { at } else { format!("{at}: ") };
                    return Err(error(format!("{at}{}", violation.message)));
                }
                parsed.root
            }
            Err(e) if is_bracketed(value) => {
                return Err(error(format!("invalid YAML value: {}", e.message)));
            }
            _ => Node {
                location: Location::File,
                content: Content::String(value.to_owned()),
            },
        };
        value.relocate(&Location::Argument(argument.as_str().into()));
        Ok(Self {
            path: path.collect(),
            value,
            argument,
        })
    }
}

/// Refuses overrides that `command` makes no use of: of the dotted keys `unused`, and of what is
/// below them.
///
/// # Errors
/// One for each.
pub fn ensure_used(
    overrides: &[Override],
    unused: &[&str],
    command: &str,
) -> Result<(), ConfigError> {
    let mut errors = Vec::new();
    for change in overrides {
        let (path, _) = rename_in_override(&change.path, &change.argument, Path::new(""));
        for key in unused {
            let key_path: Vec<_> = key.split('.').map(PathSegment::from).collect();
            let is_unused = path.starts_with(&key_path)
                || key_path.strip_prefix(path.as_slice()).is_some_and(|rest| {
                    let value = rest.iter().try_fold(&change.value, |v, key| v.child(key));
                    value.is_some_and(|value| value.content != Content::Null)
                });
            if is_unused {
                let message = format!("has no effect: `{command}` does not use `{key}`");
                errors.extend(ConfigError::in_argument(&change.argument, message).0);
                break;
            }
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ConfigError(errors))
    }
}

fn is_bracketed(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[', '"', '\''])
}

/// Whether `node` is one scalar, and all of `text`.
fn is_plain(node: &Node, text: &str) -> bool {
    match &node.content {
        Content::Null => ["", "~", "null"].contains(&text.trim()),
        Content::Bool(_) | Content::Number(_) => !text.contains('#'),
        Content::String(_) | Content::Sequence(_) | Content::Mapping(_) | Content::Invalid(_) => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_typed_as_in_yaml() {
        for (text, value) in [
            ("a=1", json!(1)),
            ("a=0.5", json!(0.5)),
            ("a=true", json!(true)),
            ("a=", json!(null)),
            ("a={}", json!({})),
            ("a={b: {c: 1}}", json!({"b": {"c": 1}})),
            ("a=[1, x]", json!([1, "x"])),
            ("a='1'", json!("1")),
            ("a=street.mp4", json!("street.mp4")),
            ("a=x=y", json!("x=y")),
            // YAML would read these as something else.
            ("a=-", json!("-")),
            ("a=#e6194b", json!("#e6194b")),
            ("a=b: c", json!("b: c")),
            ("a=@b", json!("@b")),
            ("a=*b", json!("*b")),
            ("a=1 # 2", json!("1 # 2")),
        ] {
            assert_eq!(
                Override::parse(text).expect(text).value.to_json(),
                value,
                "{text}"
            );
        }
    }

    #[test]
    fn what_a_command_does_not_use_is_refused() {
        let unused = ["sinks", "gating.tiles"];
        for (text, is_used) in [
            ("sinks.0.jsonl.path=a", false),
            ("sinks=", false),
            ("detect.nms_iou=.5", true),
            ("gating.tiles.rows=2", false),
            ("attention.tiles.rows=2", false),
            ("gating={tiles: {rows: 2}}", false),
            ("gating={tiles: }", true),
            ("gating={}", true),
            ("gating.regions={}", true),
        ] {
            let change = Override::parse(text).expect(text);
            let refused = ensure_used(&[change], &unused, "eval").err();
            assert_eq!(refused.is_none(), is_used, "{text}: {refused:?}");
        }
    }

    #[test]
    fn an_argument_without_key_or_value_is_refused() {
        for text in [
            "a",
            "=1",
            "a..b=1",
            ".a=1",
            "a={",
            "a={b: .nan}",
            "a={1: x}",
        ] {
            assert!(Override::parse(text).is_err(), "{text}");
        }
    }
}
