//! Stands for seccomp where there is none.

/// Fails.
///
/// # Errors
/// Always.
pub fn restrict() -> Result<(), String> {
    Err("it needs Linux on 64 bits".to_owned())
}

/// Fails.
///
/// # Errors
/// Always.
pub fn is_available() -> Result<(), String> {
    restrict()
}
