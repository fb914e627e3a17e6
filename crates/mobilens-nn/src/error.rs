//! Errors of loading and running a network.

use std::any::Any;
use std::path::PathBuf;

/// Why a network cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NnError {
    /// The file cannot be read.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        why: String,
    },
    /// The file is not an ONNX model that can be run here.
    #[error("{path}: not a model that can be run: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The kernels that were asked for do not run on this machine.
    #[error("this processor does not have the instructions of the kernels `{kernels}`")]
    NoSuchKernels {
        /// Their name.
        kernels: &'static str,
    },
    /// The engine failed while running.
    #[error("inference failed: {why}")]
    Run {
        /// The engine's word.
        why: String,
    },
}

/// The text of a panic that was caught.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
