//! `mobilens card`: makes a card, writes it, and tries it on a picture.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use mobilens::config::ConfigError;

use super::arguments::CardArgs;
use super::made_card::{MadeCard, MakeError};
use super::try_picture::{TryError, try_picture};
use crate::cli::{DONE, FAILED, USAGE, data_dir, print, print_error};

/// Why there is no card.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Make(#[from] MakeError),
    #[error(transparent)]
    Try(#[from] TryError),
    #[error("{} exists: choose another name, or overwrite it with --force", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: {error}", .file.display())]
    Write {
        file: PathBuf,
        error: std::io::Error,
    },
}

/// Makes a card; exit code 2 if the model cannot have one, 1 if a file cannot be written.
pub fn card(arguments: &CardArgs) -> u8 {
    match make(arguments) {
        Ok(()) => DONE,
        Err(failure) => {
            print_error(&failure.to_string());
            match failure {
                Failure::Write { .. } | Failure::Try(TryError::Write { .. }) => FAILED,
                _ => USAGE,
            }
        }
    }
}

fn make(arguments: &CardArgs) -> Result<(), Failure> {
    let model = data_dir::find(&arguments.model)?;
    let drawn = arguments.try_picture.as_deref().map(|picture| {
        let drawn = arguments.drawn.clone();
        drawn.unwrap_or_else(|| drawn_beside(picture, &model))
    });
    // Said before all the work.
    let outputs = arguments.output.iter().chain(&drawn);
    if let Some(exists) = outputs
        .clone()
        .find(|file| !arguments.force && file.exists())
    {
        return Err(Failure::Exists(exists.clone()));
    }
    let beside = model.with_extension("yaml");
    let card_file = arguments.output.as_deref().unwrap_or(&beside);
    let made = MadeCard::of_model(&model, card_file, &arguments.options)?;
    match &arguments.output {
        None => print(made.text.trim_end()),
        Some(file) => {
            write(file, made.text.as_bytes(), arguments.force)?;
            print(&format!("{}: head `{}`", file.display(), made.head));
            for unknown in &made.unknowns {
                print_error(&format!("{}: UNKNOWN: {unknown}", file.display()));
            }
        }
    }
    let (Some(picture), Some(drawn)) = (&arguments.try_picture, drawn) else {
        return Ok(());
    };
    let lines = try_picture(made.into_card(), picture, &drawn)?;
    for line in lines {
        if arguments.output.is_some() {
            print(&line);
        } else {
            print_error(&line);
        }
    }
    Ok(())
}

/// PICTURE.MODEL.png.
fn drawn_beside(picture: &Path, model: &Path) -> PathBuf {
    let mut name = picture.file_stem().unwrap_or_default().to_owned();
    name.push(".");
    name.push(model.file_stem().unwrap_or_default());
    name.push(".png");
    picture.with_file_name(name)
}

/// Does not follow in the steps of another program that makes the same file meanwhile.
fn write(file: &Path, bytes: &[u8], force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).truncate(true);
    if force {
        options.create(true);
    } else {
        options.create_new(true);
    }
    let written = options
        .open(file)
        .and_then(|mut open| open.write_all(bytes));
    written.map_err(|error| Failure::Write {
        file: file.to_owned(),
        error,
    })
}
