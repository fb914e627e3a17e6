//! Constants of an ONNX file that are not a part of its network: anchors of a detector.

use std::path::Path;

use tract_onnx::prelude::*;

use crate::error::NnError;
use crate::onnx::one_line;
use crate::quantize::constant_floats;

/// The values of the float32 or float16 constant `name` of the ONNX file `path`, in row-major order.
///
/// # Errors
/// When the file cannot be read or is no ONNX file; `None` in the result where it has no such constant.
pub fn initializer_values(path: &Path, name: &str) -> Result<Option<Vec<f32>>, NnError> {
    let file = onnx().proto_model_for_path(path);
    let file = file.map_err(|error| NnError::InvalidModel {
        path: path.to_owned(),
        reason: one_line(error),
    })?;
    Ok(file.graph.and_then(|graph| constant_floats(&graph, name)))
}
