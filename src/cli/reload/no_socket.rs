//! Stands for the socket of a run where there are no Unix sockets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Reloads;

/// There is none.
pub struct ControlSocket;

impl ControlSocket {
    /// There is none.
    pub fn bind() -> Option<Self> {
        None
    }

    /// Nobody asks.
    pub fn serve(&self, _: &Arc<Reloads>) {}
}

/// There is none.
pub fn socket_dir() -> Option<PathBuf> {
    None
}

/// Nobody can be asked.
///
/// # Errors
/// Always.
pub fn ask(_: Option<&Path>, _: Option<u32>) -> Result<String, String> {
    Err("this system has no Unix sockets: set `watch: true` in the pipeline".to_owned())
}
