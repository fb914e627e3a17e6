//! The types of YAML scalars: YAML 1.2's core schema.

use serde_json::Number;

use super::node::Content;

/// The value of a plain (unquoted) scalar.
pub fn resolve_plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" => return Content::Bool(true),
        "false" | "False" | "FALSE" => return Content::Bool(false),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return Content::Number(number);
    }
    let Some(value) = float(text) else {
        return Content::String(text.to_owned());
    };
    match Number::from_f64(value) {
        Some(number) => Content::Number(number),
        None => Content::Invalid(format!("expected a finite number; got {value}")),
    }
}

/// A decimal, `0x`, `0o` or `0b` integer of at most 64 bits.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixed = [("0x", 16), ("0o", 8), ("0b", 2)];
    let (digits, radix) = prefixed
        .iter()
        .find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, *radix)))
        .unwrap_or((digits, 10));
    if digits.starts_with(['+', '-']) || has_leading_zero(text) {
        return None;
    }
    if negative {
        i64::from_str_radix(&format!("-{digits}"), radix)
            .ok()
            .map(Number::from)
    } else {
        u64::from_str_radix(digits, radix).ok().map(Number::from)
    }
}

fn float(text: &str) -> Option<f64> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    // Rust also reads "inf" and "nan", which are strings in YAML.
    let begins_like_number = text
        .strip_prefix(['+', '-'])
        .unwrap_or(text)
        .starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !begins_like_number || has_leading_zero(text) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Digits after a leading zero are a string, for instance a number plate or a telephone number.
fn has_leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn json(text: &str) -> Value {
        match resolve_plain(text) {
            Content::Null => Value::Null,
            Content::Bool(value) => json!(value),
            Content::Number(value) => Value::Number(value),
            Content::String(value) => json!(value),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn plain_scalars_have_the_types_of_the_core_schema() {
        for (text, expected) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("true", json!(true)),
            ("yes", json!("yes")),
            ("12", json!(12)),
            ("-3", json!(-3)),
            ("+3", json!(3)),
            ("0x10", json!(16)),
            ("0o17", json!(15)),
            ("0b11", json!(3)),
            ("-0x10", json!(-16)),
            ("007", json!("007")),
            ("+-3", json!("+-3")),
            ("0x+1", json!("0x+1")),
            ("0.5", json!(0.5)),
            ("-.5", json!(-0.5)),
            ("1e3", json!(1000.0)),
            ("1e999", json!("1e999")),
            (
                "18446744073709551615",
                json!(18_446_744_073_709_551_615_u64),
            ),
            ("99999999999999999999999", json!(1e23)),
            ("inf", json!("inf")),
            ("nan", json!("nan")),
            ("1 2", json!("1 2")),
            ("192.0.2.1", json!("192.0.2.1")),
        ] {
            assert_eq!(json(text), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_must_be_finite() {
        for text in [".inf", "-.inf", "+.INF", ".nan"] {
            assert!(matches!(resolve_plain(text), Content::Invalid(_)), "{text}");
        }
    }
}
