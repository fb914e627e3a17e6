//! Loads model cards.

use std::fs;
use std::path::Path;

use super::diagnostic::{ConfigError, Diagnostic, io_reason};
use super::document::{Document, key_path};
use super::input_size::SsdInputSizes;
use super::loaded::hex_sha256;
use super::schema::{CardConfig, FitConfig, ModelConfig, ResizeConfig};
use super::validate::{typed, validate_card};

/// Loads a model card and the SHA-256 of its ONNX file.
///
/// # Errors
/// All errors of the card; an ONNX file that is missing or has another hash.
pub fn load_card(file: &Path) -> Result<(CardConfig, String), ConfigError> {
    card_of_document(file, &Document::read(file)?)
}

/// Like [`load_card`], of a card that is, or will be, the content of `file`.
///
/// # Errors
/// The same.
pub fn card_from_text(file: &Path, text: &str) -> Result<(CardConfig, String), ConfigError> {
    card_of_document(file, &Document::of_text(file, text)?)
}

fn card_of_document(
    file: &Path,
    document: &Document<'_>,
) -> Result<(CardConfig, String), ConfigError> {
    let (card, mut errors) = parse_card(file, document)?;
    let shown = card.file.display();
    let sha256 = match read_regular(&card.file) {
        Err(e) => {
            let message = format!("cannot read {shown}: {}", io_reason(&e));
            errors.push(document.error_at_value(&key_path!["file"], message));
            String::new()
        }
        Ok(bytes) => {
            let sha256 = hex_sha256(&bytes);
            let expected = card.sha256.as_ref();
            if expected.is_some_and(|expected| *expected != sha256) {
                let message = format!("{shown} has the SHA-256 {sha256}");
                errors.push(document.error_at_value(&key_path!["sha256"], message));
            }
            sha256
        }
    };
    if errors.is_empty() {
        Ok((card, sha256))
    } else {
        Err(ConfigError::sorted(errors))
    }
}

/// The content of a file. A device could be endless, and a named pipe block.
fn read_regular(path: &Path) -> std::io::Result<Vec<u8>> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() && !meta.is_dir() {
        return Err(std::io::Error::other("not a regular file"));
    }
    fs::read(path)
}

/// Loads a model card without its ONNX file.
pub(super) fn load_card_only(file: &Path) -> Result<CardConfig, ConfigError> {
    let document = Document::read(file)?;
    let (card, errors) = parse_card(file, &document)?;
    if errors.is_empty() {
        Ok(card)
    } else {
        Err(ConfigError::sorted(errors))
    }
}

fn parse_card(
    file: &Path,
    document: &Document<'_>,
) -> Result<(CardConfig, Vec<Diagnostic>), ConfigError> {
    let (mut card, _) = typed::<CardConfig>(document)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    card.file = folder.join(&card.file);
    let list = card
        .head
        .ssd
        .as_mut()
        .and_then(|ssd| ssd.anchor_list.as_mut());
    if let Some(list) = list.and_then(|list| list.file.as_mut()) {
        *list = folder.join(&list);
    }
    let errors = validate_card(&card, document);
    Ok((card, errors))
}

/// The card under the pipeline's options: another output stride, another input size.
pub(super) fn with_options(
    document: &Document<'_>,
    model: &ModelConfig,
    (mut card, mut sha256): (CardConfig, String),
) -> Result<(CardConfig, String), ConfigError> {
    let error = |key: &str, message: String| {
        let error = document.error_at_value(&key_path!["model", key], message);
        Err(ConfigError(vec![error]))
    };
    let size = match (model.input_px, model.width_px, model.height_px) {
        (None, None, None) => None,
        (Some(px), None, None) => Some(("input_px", px, px)),
        (None, Some(width), Some(height)) => Some(("width_px", width, height)),
        (None, Some(_), None) => return error("width_px", "needs `height_px`".to_owned()),
        (None, None, Some(_)) => return error("height_px", "needs `width_px`".to_owned()),
        (Some(_), ..) => return error("input_px", "not with `width_px` or `height_px`".to_owned()),
    };
    if card.head.classify.is_some() {
        let given = [
            ("output_stride", model.output_stride.is_some()),
            ("fit", model.fit.is_some()),
        ];
        let given = given.into_iter().find(|(_, is_given)| *is_given);
        let given = given.map(|(key, _)| key).or(size.map(|(key, ..)| key));
        return match given {
            Some(key) => {
                let message = format!(
                    "{} is a classification model, whose card says how",
                    card.name
                );
                error(key, message)
            }
            None => Ok((card, sha256)),
        };
    }
    let Some(head) = card.head.deeplab.clone() else {
        if let Some((key, width, height)) = size {
            let other = if key == "width_px" { "height_px" } else { key };
            for (key, px) in [(key, width), (other, height)] {
                if card.head.sizable_anchors().is_some()
                    && let Err(message) = SsdInputSizes::of(&card).check(px)
                {
                    return error(key, message);
                }
            }
            let input = &mut card.input;
            input.trained_px = Some((input.width_px, input.height_px));
            (input.width_px, input.height_px) = (width, height);
        }
        if card.head.segment.is_some() && model.fit.is_some() {
            let message = format!("{} is a segmentation model, whose card says how", card.name);
            return error("fit", message);
        }
        match model.fit {
            Some(FitConfig::Stretch) => card.input.resize = ResizeConfig::Stretch,
            Some(FitConfig::Letterbox) => card.input.resize = ResizeConfig::Letterbox,
            Some(FitConfig::Rectangle) | None => {}
        }
        if model.output_stride.is_some() {
            let message = format!("{} has no other output stride", card.name);
            return error("output_stride", message);
        }
        return Ok((card, sha256));
    };
    if let Some(wanted) = model.output_stride.filter(|s| *s != head.output_stride) {
        let folder = model.card.parent().unwrap_or(Path::new(""));
        let siblings = head.siblings.iter();
        let siblings: Vec<_> = siblings
            .map(|sibling| load_card(&folder.join(sibling)))
            .collect::<Result<_, _>>()?;
        let stride = |card: &CardConfig| card.head.deeplab.as_ref().map(|head| head.output_stride);
        let mut strides = vec![head.output_stride];
        strides.extend(siblings.iter().filter_map(|(card, _)| stride(card)));
        let found = siblings
            .into_iter()
            .find(|(card, _)| stride(card) == Some(wanted));
        let Some(found) = found else {
            let strides: Vec<_> = strides.iter().map(u32::to_string).collect();
            let message = format!("expected one of {}; got {wanted}", strides.join(", "));
            return error("output_stride", message);
        };
        (card, sha256) = found;
    }
    if model.fit.is_some() {
        let message = format!("{} is a segmentation model, whose card says how", card.name);
        return error("fit", message);
    }
    if let Some((_, width, height)) = size {
        (card.input.width_px, card.input.height_px) = (width, height);
    }
    Ok((card, sha256))
}
