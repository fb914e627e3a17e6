//! Stands for Landlock where there is none.

use super::Folders;

/// Fails.
///
/// # Errors
/// Always.
pub fn restrict(_: &Folders) -> Result<(), String> {
    Err("it needs Linux".to_owned())
}
