//! Errors of loading and running a network.

use std::any::Any;
use std::path::PathBuf;

/// Why a network cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum NnError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        reason: String,
    },
    /// The file is not a valid ONNX model, or one that is not supported.
    #[error("{path}: invalid or unsupported ONNX model: {reason}")]
    InvalidModel {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The CPU does not support the instruction set of the kernels that were asked for.
    #[error("this CPU does not support the instruction set of the `{kernels}` kernels")]
    UnsupportedIsa {
        /// Name of the kernels, as in [`KernelChoice::name`](crate::KernelChoice::name).
        kernels: &'static str,
    },
    /// Int8 was asked for, but the file is not quantised.
    #[error(
        "{path} is not quantised, as the precision `int8` asks: quantise it with `mobilens quantize`, \
         or use the precision `model` or `f32`"
    )]
    NotQuantized {
        /// The file.
        path: PathBuf,
    },
    /// The number format that was asked for cannot be used on this CPU or with these kernels.
    #[error(
        "the precision `{precision}` cannot be used here: {reason}; `model` and `f32` run on every CPU"
    )]
    UnsupportedPrecision {
        /// Its name, as in the configuration.
        precision: &'static str,
        /// What is missing.
        reason: &'static str,
    },
    /// Inference failed, or a session could not be created.
    #[error("inference failed: {reason}")]
    Run {
        /// What went wrong.
        reason: String,
    },
}

/// The text of a panic that was caught.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
