//! What an ONNX file says of itself, without running it: inputs, outputs, operators, metadata.
//!
//! For those who look at a file that they do not know yet; [`Network::load`](crate::Network::load) is independent
//! of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

use crate::error::{NnError, panic_message};
use crate::external_data::read_external_data;
use crate::onnx::read_proto;
use crate::weight_checks::check_tensors;

/// Most values of a constant that are kept.
const MAX_VALUES: usize = 1 << 17;

/// An ONNX file, as it was written.
#[derive(Clone, Debug, Default)]
pub struct OnnxFile {
    /// Inputs, without the weights that old files list among them.
    pub inputs: Vec<OnnxValue>,
    /// Outputs, in the order of the file.
    pub outputs: Vec<OnnxValue>,
    /// `metadata_props`: what the exporter wrote, for instance the names of the classes.
    pub metadata: BTreeMap<String, String>,
    /// Operators, each after what it reads.
    pub nodes: Vec<OnnxNode>,
    /// Constants of up to 131,072 values by name.
    pub constants: HashMap<String, OnnxConstant>,
    /// Names of all operators, also of those in branches and loops.
    pub operators: HashSet<String>,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxValue {
    /// Its name.
    pub name: String,
    /// Type of its elements in ONNX's terms, for instance `Float` or `Int64`.
    pub element: String,
    /// Its axes; `None` for each that is free, and none at all where the file does not say.
    pub axes: Vec<Option<u64>>,
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxNode {
    /// Its name in ONNX, for instance `Conv`.
    pub op: String,
    /// Names of the values that it reads; empty for those that are left out.
    pub inputs: Vec<String>,
    /// Names of the values that it makes.
    pub outputs: Vec<String>,
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxConstant {
    /// Type of its elements in ONNX's terms.
    pub element: String,
    /// Its axes.
    pub shape: Vec<usize>,
    /// Its values, row by row.
    pub values: Vec<f32>,
}

impl OnnxFile {
    /// Reads an ONNX file, and the weights beside it.
    ///
    /// # Errors
    /// When a file cannot be read, is not ONNX, is cut off, or has weights that are no numbers.
    pub fn read(path: &Path) -> Result<Self, NnError> {
        let bytes = read_model(path)?;
        let read = || {
            let mut file = read_proto(&bytes)?;
            let graph = file.graph.as_mut().ok_or("it has no graph")?;
            read_external_data(graph, path.parent())?;
            check_tensors(graph)?;
            Ok(Self::of_proto(&file))
        };
        catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|panic| Err(panic_message(&*panic)))
            .map_err(|reason: String| NnError::InvalidModel {
                path: path.to_owned(),
                reason,
            })
    }

    fn of_proto(file: &ModelProto) -> Self {
        let empty = GraphProto::default();
        let graph = file.graph.as_ref().unwrap_or(&empty);
        let mut constants = HashMap::new();
        for tensor in &graph.initializer {
            constants.extend(constant(tensor).map(|value| (tensor.name.clone(), value)));
        }
        for node in graph.node.iter().filter(|node| node.op_type == "Constant") {
            let value = node.attribute.iter().find_map(|a| a.t.as_ref());
            let value = value.and_then(constant);
            constants.extend(node.output.first().cloned().zip(value));
        }
        let names: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let mut operators = HashSet::new();
        add_operators(graph, &mut operators);
        let metadata = file.metadata_props.iter();
        Self {
            inputs: graph
                .input
                .iter()
                .filter(|input| !names.contains(input.name.as_str()))
                .map(value)
                .collect(),
            outputs: graph.output.iter().map(value).collect(),
            metadata: metadata
                .map(|entry| (entry.key.clone(), entry.value.clone()))
                .collect(),
            nodes: graph.node.iter().map(node).collect(),
            constants,
            operators,
        }
    }
}

/// The content of a model's file. A device could be endless, and a named pipe block.
///
/// # Errors
/// When it is not a regular file, empty, or cannot be read.
pub(super) fn read_model(path: &Path) -> Result<Vec<u8>, NnError> {
    let failed = |reason: String| NnError::Read {
        path: path.to_owned(),
        reason,
    };
    let meta = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?;
    if !meta.is_file() {
        return Err(failed("not a regular file".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    if bytes.is_empty() {
        return Err(NnError::InvalidModel {
            path: path.to_owned(),
            reason: "the file is empty".to_owned(),
        });
    }
    Ok(bytes)
}

fn add_operators(graph: &GraphProto, operators: &mut HashSet<String>) {
    for node in &graph.node {
        operators.insert(node.op_type.clone());
        for attribute in &node.attribute {
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                add_operators(graph, operators);
            }
        }
    }
}

fn value(info: &ValueInfoProto) -> OnnxValue {
    let tensor = match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => Some(tensor),
        _ => None,
    };
    let axes = tensor.and_then(|tensor| tensor.shape.as_ref());
    let element = tensor.and_then(|tensor| DataType::try_from(tensor.elem_type).ok());
    OnnxValue {
        name: info.name.clone(),
        element: element.map_or_else(|| "unknown".to_owned(), |element| format!("{element:?}")),
        axes: axes
            .iter()
            .flat_map(|shape| &shape.dim)
            .map(|dim| match dim.value {
                Some(Value::DimValue(size)) => u64::try_from(size).ok().filter(|s| *s > 0),
                _ => None,
            })
            .collect(),
    }
}

fn node(node: &NodeProto) -> OnnxNode {
    OnnxNode {
        op: node.op_type.clone(),
        inputs: node.input.clone(),
        outputs: node.output.clone(),
    }
}

/// The values of a small tensor.
fn constant(tensor: &TensorProto) -> Option<OnnxConstant> {
    let shape: Option<Vec<usize>> = tensor
        .dims
        .iter()
        .map(|dim| usize::try_from(*dim).ok())
        .collect();
    let shape = shape?;
    let count = shape
        .iter()
        .try_fold(1usize, |n, dim| n.checked_mul(*dim))?;
    if count > MAX_VALUES {
        return None;
    }
    let raw = &tensor.raw_data;
    let element = DataType::try_from(tensor.data_type).ok()?;
    let values: Vec<f32> = match element {
        DataType::Float if raw.is_empty() => tensor.float_data.clone(),
        DataType::Float => {
            let all = raw.as_chunks::<4>().0;
            all.iter().map(|b| f32::from_le_bytes(*b)).collect()
        }
        DataType::Double if raw.is_empty() => {
            tensor.double_data.iter().map(|v| *v as f32).collect()
        }
        DataType::Double => {
            let all = raw.as_chunks::<8>().0;
            all.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()
        }
        DataType::Int64 if raw.is_empty() => tensor.int64_data.iter().map(|v| *v as f32).collect(),
        DataType::Int64 => {
            let all = raw.as_chunks::<8>().0;
            all.iter().map(|b| i64::from_le_bytes(*b) as f32).collect()
        }
        DataType::Uint8 if raw.is_empty() => tensor.int32_data.iter().map(|v| *v as f32).collect(),
        DataType::Uint8 => raw.iter().map(|b| f32::from(*b)).collect(),
        DataType::Int8 if raw.is_empty() => tensor.int32_data.iter().map(|v| *v as f32).collect(),
        DataType::Int8 => raw.iter().map(|b| f32::from(*b as i8)).collect(),
        _ => return None,
    };
    (values.len() == count).then(|| OnnxConstant {
        element: format!("{element:?}"),
        shape,
        values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> OnnxFile {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        OnnxFile::read(&root.join(name)).expect("a model")
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let file = shipped("centerface.onnx");
        let input = &file.inputs[0];
        assert_eq!(file.inputs.len(), 1);
        assert_eq!(
            (input.name.as_str(), input.element.as_str()),
            ("input", "Float")
        );
        assert_eq!(input.axes, [Some(1), Some(3), Some(480), Some(640)]);
        let names: Vec<&str> = file.outputs.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["heatmap", "size", "offset", "landmarks"]);
        assert!(file.operators.contains("Sigmoid"));
        let quantised = shipped("efficientnet_lite0_imagenet_int8.onnx");
        let first = &quantised.nodes[0];
        assert_eq!(first.op, "QuantizeLinear");
        assert!(quantised.constants.contains_key(&first.inputs[1]));
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.onnx");
        for (bytes, expected) in [
            (&b""[..], "the file is empty"),
            (b"<!DOCTYPE html>", "not an ONNX file, or cut off"),
        ] {
            std::fs::write(&path, bytes).expect("room");
            let message = OnnxFile::read(&path).expect_err(expected).to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert!(OnnxFile::read(folder.path()).is_err());
    }
}
