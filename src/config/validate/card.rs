//! Model cards: what their schema cannot express.

use std::collections::HashSet;

use crate::config::diagnostic::Diagnostic;
use crate::config::document::{Document, PathSegment, key_path};
use crate::config::schema::{CardConfig, ResizeConfig};

use super::heads::head_errors;

/// What is wrong with a centre crop, each with its key in `input`.
fn center_crop_errors(card: &CardConfig) -> Vec<(&'static str, String)> {
    let input = &card.input;
    let given = [
        ("shorter_px", input.shorter_px.is_some()),
        ("crop_share", input.crop_share.is_some()),
    ];
    let given: Vec<&str> = given
        .iter()
        .filter(|(_, is)| *is)
        .map(|(k, _)| *k)
        .collect();
    if input.resize != ResizeConfig::CenterCrop {
        let message = "only valid with `resize: center_crop`";
        return given.iter().map(|key| (*key, message.to_owned())).collect();
    }
    let mut errors = Vec::new();
    if card.head.classify.is_none() {
        let message = "`center_crop` cuts off what lies outside: only for a `classify` head";
        errors.push(("resize", message.to_owned()));
    }
    match given.as_slice() {
        [] => {
            let message = "`center_crop` needs `shorter_px` or `crop_share`";
            errors.push(("resize", message.to_owned()));
        }
        [_] => {}
        _ => {
            let message = "expected one of `shorter_px` and `crop_share`; got both";
            errors.push(("crop_share", message.to_owned()));
        }
    }
    let longer = input.width_px.max(input.height_px);
    if let Some(px) = input.shorter_px.filter(|px| *px < longer) {
        let message = format!("expected at least the input's {longer} pixels; got {px}");
        errors.push(("shorter_px", message));
    }
    errors
}

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
            ("pad_colour", card.input.pad_colour.is_some()),
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
    if card.input.pad_value.is_some() && card.input.pad_colour.is_some() {
        error(
            &key_path!["input", "pad_colour"],
            "expected one of `pad_value` and `pad_colour`; got both".to_owned(),
        );
    }
    for (key, message) in center_crop_errors(card) {
        error(&key_path!["input", key], message);
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
