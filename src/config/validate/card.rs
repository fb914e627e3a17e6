//! Model cards: what their schema cannot express.

use std::collections::HashSet;

use crate::config::diagnostic::Diagnostic;
use crate::config::document::{Document, PathSegment, key_path};
use crate::config::schema::{CardConfig, ResizeConfig};

use super::heads::head_errors;

/// The errors of a card, without its ONNX file.
pub fn validate_card(card: &CardConfig, document: &Document<'_>) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    let mut error = |path: &[PathSegment], message: String| {
        errors.push(document.error_at_value(path, message));
    };
    for (path, message) in head_errors(&card.head) {
        error(&path, message);
    }
    if card.input.std.contains(&0.0) {
        error(
            &key_path!["input", "std"],
            "expected numbers other than 0".to_owned(),
        );
    }
    if card.input.resize != ResizeConfig::Letterbox {
        for (key, is_given) in [
            ("pad_value", card.input.pad_value.is_some()),
            ("anchor", card.input.anchor.is_some()),
        ] {
            if is_given {
                error(
                    &key_path!["input", key],
                    "only valid with `resize: letterbox`".to_owned(),
                );
            }
        }
    }
    let has_background = card.head.has_background();
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    for (i, label) in card.labels.iter().enumerate() {
        if !ids.insert(label.id) {
            let message = format!("duplicate label id {}", label.id);
            error(&key_path!["labels", i, "id"], message);
        }
        if !names.insert(label.name.as_str()) {
            let message = format!("duplicate label name {:?}", label.name);
            error(&key_path!["labels", i, "name"], message);
        }
        if has_background && label.id == 0 {
            let message = "channel 0 is the background; expected ids from 1";
            error(&key_path!["labels", i, "id"], message.to_owned());
        }
    }
    errors
}
