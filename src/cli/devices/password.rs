//! The password of network cameras: from an environment variable, or from a file.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::arguments::LoginArgs;

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
    #[error("{0:?} cannot be the name of an environment variable")]
    Name(String),
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

    /// Whether the environment variable can be named in a pipeline.
    ///
    /// # Errors
    /// When it cannot.
    pub fn validate_variable(&self) -> Result<(), PasswordError> {
        let name = &self.password_env;
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(is_of_name)
        {
            return Err(PasswordError::Name(name.clone()));
        }
        Ok(())
    }
}
