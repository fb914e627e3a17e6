//! The values of a YAML text, as JSON has them.
//!
//! What YAML can say and JSON cannot (a number that is not finite, a key that is no text, a tag) is
//! noted at its place, so that it is refused like any other fault instead of becoming nothing.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde::de::{Error, VariantAccess};
use serde_json::{Map, Number, Value};

use super::check::Wrong;
use super::locate::Step;

/// Reads the values of `text`, and what is wrong with them.
///
/// # Errors
/// When it is no YAML.
pub fn read_values(text: &str) -> Result<(Value, Vec<Wrong>), serde_yaml::Error> {
    let mut reader = Reader {
        path: Vec::new(),
        wrong: Vec::new(),
    };
    let value = reader.deserialize(serde_yaml::Deserializer::from_str(text))?;
    Ok((value, reader.wrong))
}

struct Reader {
    path: Vec<Step>,
    wrong: Vec<Wrong>,
}

impl Reader {
    /// Notes a fault of the value that is being read, which then counts as nothing.
    fn refuse(&mut self, at_key: bool, what: String) -> Value {
        self.wrong.push(Wrong {
            path: self.path.clone(),
            at_key,
            what,
        });
        Value::Null
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    // A text without any value.
    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    // No key takes a number of this size: its nearest float is refused for its type or range.
    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(match Number::from_f64(value) {
            Some(number) => Value::Number(number),
            None => self.refuse(false, format!("got {value}; expected a finite number")),
        })
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            self.path.push(Step::Index(items.len()));
            let item = from.next_element_seed(&mut *self);
            self.path.pop();
            match item? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key_seed(KeyReader)? {
            let (text, is_text) = match key {
                Key::Text(text) => (text, true),
                Key::Other(text) => (text, false),
            };
            self.path.push(Step::Key(text.clone()));
            if !is_text {
                self.refuse(true, format!("a key must be a text; write \"{text}\""));
            }
            let value = from.next_value_seed(&mut *self);
            self.path.pop();
            map.insert(text, value?);
        }
        Ok(Value::Object(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<Value, A::Error> {
        let (tag, value): (String, _) = from.variant()?;
        value.newtype_variant_seed(&mut *self)?;
        Ok(self.refuse(
            false,
            format!("has the tag {tag:?}; tags mean nothing here"),
        ))
    }
}

enum Key {
    Text(String),
    /// A number, a truth value or null.
    Other(String),
}

struct KeyReader;

impl<'de> DeserializeSeed<'de> for KeyReader {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Key, D::Error> {
        from.deserialize_any(self)
    }
}

impl Visitor<'_> for KeyReader {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_unit<E: Error>(self) -> Result<Key, E> {
        Ok(Key::Other("null".to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Key, E> {
        Ok(Key::Other(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Key, E> {
        Ok(Key::Other(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Key, E> {
        Ok(Key::Other(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Key, E> {
        Ok(Key::Other(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Key, E> {
        Ok(Key::Text(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrongs(text: &str) -> Vec<String> {
        let (_, wrong) = read_values(text).expect("YAML");
        wrong.into_iter().map(|w| w.what).collect()
    }

    #[test]
    fn plain_values_are_what_they_look_like() {
        let (value, wrong) = read_values("a: [1, -2, 0.5, yes, true, ~, '3']\n").expect("YAML");
        assert_eq!(
            value,
            serde_json::json!({"a": [1, -2, 0.5, "yes", true, null, "3"]})
        );
        assert_eq!(wrong, vec![]);
    }

    #[test]
    fn a_text_without_values_is_nothing() {
        for text in ["", "# only a comment\n", "---\n", "~"] {
            let (value, wrong) = read_values(text).expect(text);
            assert_eq!((value, wrong.len()), (Value::Null, 0), "{text:?}");
        }
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        assert_eq!(wrongs("a: .nan"), ["got NaN; expected a finite number"]);
        assert_eq!(wrongs("a: -.inf"), ["got -inf; expected a finite number"]);
        assert_eq!(wrongs("1: x"), ["a key must be a text; write \"1\""]);
        assert_eq!(wrongs("a: {true: x}").len(), 1);
        assert_eq!(wrongs("a: !b {c: 1}").len(), 1);
        assert_eq!(wrongs("a: 99999999999999999999999").len(), 0);
    }
}
