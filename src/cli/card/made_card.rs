//! A card that is made from a model's file.

use std::path::{Component, Path, PathBuf};

use mobilens::config::{self, CardConfig, ConfigError};

use super::arguments::CardOptions;
use super::facts::{CardError, Facts};
use super::guess::choose;
use super::labels::label_lines;
use super::note::{Lines, Note, quoted};

/// What the card says of its comments.
const LEGEND: &str = "# Comments say why each value is what it is: \"guess\" is what networks of this kind usually have,\n\
                      # \"UNKNOWN\" what the file does not say.";

/// A card and its text.
#[derive(Debug)]
pub struct MadeCard {
    /// The YAML.
    pub text: String,
    /// What the file does not say.
    pub unknowns: Vec<String>,
    /// The head's key.
    pub head: &'static str,
    card: (CardConfig, String),
}

impl MadeCard {
    /// Looks at the file `model` and makes the card that stands in `card_file`.
    ///
    /// # Errors
    /// When the file is no model that a card describes; says what to do.
    pub fn of_model(
        model: &Path,
        card_file: &Path,
        options: &CardOptions,
    ) -> Result<Self, MakeError> {
        let shape = options.shape.as_ref().map(|shape| &shape.0[..]);
        let facts = Facts::read(model, shape)?;
        let fault = |why: String| CardError::Model {
            path: model.display().to_string(),
            why,
        };
        let guess = choose(&facts, options.head).map_err(fault)?;
        let preprocess = guess.preprocess.clone().with_file(&facts.file);
        let labels = label_lines(
            &guess.classes,
            facts.names.as_deref(),
            options.labels.as_deref(),
        );
        let name = name_of(model);
        let mut lines = Lines::default();
        lines.plain(0, format_args!("name: {}", quoted(&name)));
        let file = relative(model, card_file.parent().unwrap_or(Path::new("")));
        lines.plain(0, format_args!("file: {}", quoted(&file.to_string_lossy())));
        lines.plain(0, "input:");
        lines.put(
            1,
            format_args!("width_px: {}", facts.width),
            facts.size_note.clone(),
        );
        lines.plain(1, format_args!("height_px: {}", facts.height));
        lines.extend(preprocess.lines());
        lines.plain(0, "head:");
        lines.extend(guess.head);
        if let Some(licence) = facts
            .metadata("license")
            .or_else(|| facts.metadata("licence"))
        {
            let note = Note::Known("of the file's metadata".to_owned());
            let licence = serde_json::to_string(licence).unwrap_or_default();
            lines.put(0, format_args!("licence: {licence}"), note);
        }
        lines.extend(labels.map_err(fault)?);
        let text = format!(
            "# Made by `mobilens card {}`.\n{LEGEND}\n{lines}",
            file_name(model)
        );
        let card = config::card_from_text(card_file, &text)?;
        Ok(Self {
            unknowns: lines.unknowns().map(ToOwned::to_owned).collect(),
            head: guess.kind.key(),
            text,
            card,
        })
    }

    /// The card, and the SHA-256 of its model.
    pub fn into_card(self) -> (CardConfig, String) {
        self.card
    }
}

/// Why a card cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The model's file.
    #[error(transparent)]
    Model(#[from] CardError),
    /// A card that the program's own checks refuse.
    #[error(transparent)]
    Card(#[from] ConfigError),
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().replace(char::is_control, "_")
}

/// The file's name without its extension, in the letters of a stream's name.
fn name_of(model: &Path) -> String {
    let stem = model.file_stem().unwrap_or_default().to_string_lossy();
    let is_usual = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let name: String = stem
        .chars()
        .map(|c| if is_usual(c) { c } else { '_' })
        .collect();
    if name.is_empty() {
        "model".to_owned()
    } else {
        name
    }
}

/// The path of a file from a folder; both exist.
fn relative(file: &Path, folder: &Path) -> PathBuf {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let (Ok(file), Ok(folder)) = (file.canonicalize(), folder.canonicalize()) else {
        return file.to_owned();
    };
    let (mut of_file, mut of_folder) =
        (file.components().peekable(), folder.components().peekable());
    while of_file.peek().is_some() && of_file.peek() == of_folder.peek() {
        of_file.next();
        of_folder.next();
    }
    let up = of_folder.map(|_| Component::ParentDir);
    up.chain(of_file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_from_its_card() {
        let root = tempfile::tempdir().expect("a folder");
        let (models, cards) = (root.path().join("models"), root.path().join("cards/mine"));
        std::fs::create_dir_all(&models).expect("room");
        std::fs::create_dir_all(&cards).expect("room");
        let model = models.join("a b.onnx");
        std::fs::write(&model, "").expect("room");
        assert_eq!(relative(&model, &models), Path::new("a b.onnx"));
        assert_eq!(relative(&model, &cards), Path::new("../../models/a b.onnx"));
        assert_eq!(name_of(&model), "a_b");
    }
}
