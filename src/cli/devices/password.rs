//! The password of network cameras: from an environment variable, or from a file.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::arguments::{LoginArgs, VariableNameError};

/// Longest password, in bytes.
const MAX_PASSWORD: u64 = 4096;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("{0}")]
    Variable(String),
    #[error("cannot read {}: {error}", .file.display())]
    File {
        file: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: expected one line with a password", .0.display())]
    NoPassword(PathBuf),
    #[error(transparent)]
    Name(#[from] VariableNameError),
}

impl LoginArgs {
    /// The user's password.
    ///
    /// # Errors
    /// When there is none.
    pub fn password(&self) -> Result<String, PasswordError> {
        let Some(file) = &self.password_file else {
            self.validate_variable()?;
            let reference = format!("${{{}}}", self.password_env);
            let password = mobilens::config::expand_env(&reference);
            return password.map_err(PasswordError::Variable);
        };
        let mut text = String::new();
        File::open(file)
            .and_then(|open| open.take(MAX_PASSWORD).read_to_string(&mut text))
            .map_err(|error| PasswordError::File {
                file: file.clone(),
                error,
            })?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() || password.contains(['\r', '\n']) {
            return Err(PasswordError::NoPassword(file.clone()));
        }
        Ok(password.to_owned())
    }
}
