//! From a document to a type, through the type's JSON Schema.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::json_schema::{normalize, violations};
use crate::config::diagnostic::{ConfigError, Diagnostic};
use crate::config::document::{Document, MAX_VIOLATIONS};
use crate::config::schema::schema_of;

/// Validates the document against `T`'s JSON Schema. Gives the `T`, and the values that it was made
/// of: those that are given, without defaults.
///
/// # Errors
/// The violations, all at once up to [`MAX_VIOLATIONS`].
pub fn typed<T: JsonSchema + DeserializeOwned>(
    document: &Document<'_>,
) -> Result<(T, Value), ConfigError> {
    let mut errors: Vec<Diagnostic> = document.duplicate_keys();
    let schema = schema_of::<T>();
    let mut value = document.to_json();
    normalize(&schema, &mut value);
    let mut found = document.violations();
    for further in violations(&schema, &value) {
        // What counts as null because it is refused is not refused again.
        if !found.iter().any(|known| known.path == further.path) {
            found.push(further);
        }
    }
    if found.len() >= MAX_VIOLATIONS {
        let message = format!("many errors; the first {MAX_VIOLATIONS} follow");
        errors.extend(ConfigError::in_file(document.file, message).0);
    }
    found.truncate(MAX_VIOLATIONS);
    for violation in found {
        let error = if violation.at_key {
            document.error_at_key(&violation.path, violation.message)
        } else {
            document.error_at_value(&violation.path, violation.message)
        };
        // One of the first of several models is found where it stands and in its place.
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
    if !errors.is_empty() {
        return Err(ConfigError::sorted(errors));
    }
    T::deserialize(&value)
        .map(|typed| (typed, value))
        .map_err(|e| ConfigError::in_file(document.file, e.to_string().replace('\n', " ")))
}
