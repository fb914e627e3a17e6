//! Why there is no pipeline.

use std::path::PathBuf;

use mobilens::config::ConfigError;

#[cfg(feature = "onvif")]
use crate::cli::devices::PasswordError;
use crate::cli::devices::arguments::VariableNameError;

/// Why there is no pipeline.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("{} exists: choose another name, or overwrite it with --force", .0.display())]
    Exists(PathBuf),
    #[error("{}: {why}", .file.display())]
    File { file: PathBuf, why: String },
    #[error(
        "the input ended before the last answer: nothing is written (--yes takes the defaults)"
    )]
    Ended,
    #[error("no usable answer to {0:?}: nothing is written")]
    NoAnswer(String),
    #[error("--camera: {0}")]
    Camera(String),
    #[error(transparent)]
    VariableName(#[from] VariableNameError),
    #[cfg(feature = "onvif")]
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("{option}: {why}")]
    Option { option: &'static str, why: String },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Check(String),
    #[error("cannot write {}: {error}", .file.display())]
    Write {
        file: PathBuf,
        error: std::io::Error,
    },
}
