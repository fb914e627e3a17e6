//! `--set KEY=VALUE`: one value put over the pipeline's own.

use serde_json::Value;

use super::fault::ConfigFaults;
use super::locate::Step;
use super::values::read_values;
use super::yaml::{dotted, one_line};

/// A dotted key and a YAML value.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    pub(super) path: Vec<Step>,
    pub(super) value: Value,
    pub(super) argument: String,
}

impl Override {
    /// Reads `a.b.0.c=VALUE`, where a number steps into a list.
    ///
    /// Lists, mappings and quoted texts are written as in YAML, between their brackets or quotes.
    /// Everything else is one plain value to the end, so that `-`, `#e6194b` and `a: b` need no
    /// quotes inside the shell's.
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
        let value = match read_values(value) {
            Ok((read, wrong)) if is_bracketed(value) || is_plain(&read, value) => {
                if let Some(wrong) = wrong.first() {
                    let at = dotted(&wrong.path);
                    let at = if at.is_empty() { at } else { format!("{at}: ") };
                    return Err(fault(format!("{at}{}", wrong.what)));
                }
                read
            }
            Err(e) if is_bracketed(value) => {
                return Err(fault(format!(
                    "the value is no YAML: {}",
                    one_line(&e.to_string())
                )));
            }
            _ => Value::String(value.to_owned()),
        };
        Ok(Self {
            path,
            value,
            argument: format!("--set {key}"),
        })
    }
}

fn is_bracketed(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[', '"', '\''])
}

/// Whether `read` is one value, and all of `text`.
fn is_plain(read: &Value, text: &str) -> bool {
    match read {
        Value::Null => ["", "~", "null"].contains(&text.trim()),
        Value::Bool(_) | Value::Number(_) => !text.contains('#'),
        Value::String(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

fn step(text: &str) -> Step {
    text.parse()
        .map_or_else(|_| Step::Key(text.to_owned()), Step::Index)
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
            // What YAML would make of these is never meant.
            ("a=-", json!("-")),
            ("a=#e6194b", json!("#e6194b")),
            ("a=b: c", json!("b: c")),
            ("a=@b", json!("@b")),
            ("a=*b", json!("*b")),
            ("a=1 # 2", json!("1 # 2")),
        ] {
            assert_eq!(Override::parse(text).expect(text).value, value, "{text}");
        }
    }

    #[test]
    fn what_is_no_override_is_refused() {
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
