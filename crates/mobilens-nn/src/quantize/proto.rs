//! Reading and writing parts of an ONNX file's protobuf.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use tract_onnx::prelude::f16;

/// The attribute `name` of a node.
pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

/// A whole number among a node's attributes.
pub(super) fn int(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name).map(|a| a.i)
}

/// A list of whole numbers among a node's attributes; empty where there is none.
pub(super) fn ints<'a>(node: &'a NodeProto, name: &str) -> &'a [i64] {
    attribute(node, name).map_or(&[], |a| a.ints.as_slice())
}

/// A text among a node's attributes; empty where there is none.
pub(super) fn text<'a>(node: &'a NodeProto, name: &str) -> &'a str {
    attribute(node, name).map_or("", |a| std::str::from_utf8(&a.s).unwrap_or_default())
}

/// An attribute that holds a list of whole numbers.
pub(super) fn ints_attribute(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints,
        ..AttributeProto::default()
    }
}

/// An attribute that holds a whole number.
pub(super) fn int_attribute(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i,
        ..AttributeProto::default()
    }
}

/// Puts an attribute over the one of the same name.
pub(super) fn set_attribute(node: &mut NodeProto, attribute: AttributeProto) {
    match node.attribute.iter_mut().find(|a| a.name == attribute.name) {
        Some(old) => *old = attribute,
        None => node.attribute.push(attribute),
    }
}

/// A node with one output, which it is named after.
pub(super) fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        name: output.to_owned(),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// A tensor of the given type from its little-endian bytes.
pub(super) fn tensor(
    name: &str,
    dims: &[usize],
    data_type: DataType,
    raw_data: Vec<u8>,
) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.iter().map(|d| *d as i64).collect(),
        data_type: data_type as i32,
        raw_data,
        ..TensorProto::default()
    }
}

/// A float32 tensor.
pub(super) fn float_tensor(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, dims, DataType::Float, raw)
}

/// An int64 list.
pub(super) fn int_tensor(name: &str, values: &[i64]) -> TensorProto {
    let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, &[values.len()], DataType::Int64, raw)
}

/// The tensor's dimensions; `None` if one is negative.
pub(super) fn dims(tensor: &TensorProto) -> Option<Vec<usize>> {
    tensor
        .dims
        .iter()
        .map(|d| usize::try_from(*d).ok())
        .collect()
}

/// Whether the values lie in another file.
pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32)
}

/// The values of a float tensor (float16, float32, float64) as float32; `None` for other types and
/// where there are not as many values as the dimensions say.
pub(super) fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    let count: usize = dims(tensor)?.iter().product();
    let raw = &tensor.raw_data;
    let values: Vec<f32> = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Float if raw.is_empty() => tensor.float_data.clone(),
        DataType::Float => {
            let values = raw.as_chunks().0.iter();
            values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        DataType::Float16 if raw.is_empty() => {
            let bits = tensor.int32_data.iter();
            bits.map(|bits| f16::from_bits(*bits as u16).to_f32())
                .collect()
        }
        DataType::Float16 => {
            let values = raw.as_chunks().0.iter();
            values
                .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
                .collect()
        }
        DataType::Double if raw.is_empty() => {
            tensor.double_data.iter().map(|v| *v as f32).collect()
        }
        DataType::Double => {
            let values = raw.as_chunks().0.iter();
            values
                .map(|bytes| f64::from_le_bytes(*bytes) as f32)
                .collect()
        }
        _ => return None,
    };
    (values.len() == count).then_some(values)
}

/// The values of an int64 tensor.
pub(super) fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type != DataType::Int64 as i32 {
        return None;
    }
    if tensor.raw_data.is_empty() {
        return Some(tensor.int64_data.clone());
    }
    let values = tensor.raw_data.as_chunks().0.iter();
    Some(values.map(|bytes| i64::from_le_bytes(*bytes)).collect())
}

/// A declared float32 value; without a shape it is left to shape inference.
pub(super) fn float_value(name: &str, shape: Option<&[usize]>) -> ValueInfoProto {
    let dim = |size: &usize| Dimension {
        value: Some(dimension::Value::DimValue(*size as i64)),
        ..Dimension::default()
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: DataType::Float as i32,
                shape: shape.map(|shape| TensorShapeProto {
                    dim: shape.iter().map(dim).collect(),
                }),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// The constant `name`.
pub(super) fn initializer<'a>(graph: &'a GraphProto, name: &str) -> Option<&'a TensorProto> {
    graph.initializer.iter().find(|tensor| tensor.name == name)
}

/// The values of the float constant `name`.
pub(crate) fn constant_floats(graph: &GraphProto, name: &str) -> Option<Vec<f32>> {
    floats(initializer(graph, name)?)
}

/// Indices of the nodes that read `name`, each once.
pub(super) fn consumers(graph: &GraphProto, name: &str) -> Vec<usize> {
    let nodes = graph.node.iter().enumerate();
    nodes
        .filter(|(_, node)| node.input.iter().any(|input| input == name))
        .map(|(index, _)| index)
        .collect()
}

/// Index of the node that computes `name`.
pub(super) fn producer(graph: &GraphProto, name: &str) -> Option<usize> {
    let mut nodes = graph.node.iter();
    nodes.position(|node| node.output.iter().any(|output| output == name))
}

/// Whether `name` is an output of the graph.
pub(super) fn is_output(graph: &GraphProto, name: &str) -> bool {
    graph.output.iter().any(|output| output.name == name)
}

/// What messages call a node.
pub(super) fn name_of(node: &NodeProto) -> &str {
    match node.output.first() {
        _ if !node.name.is_empty() => &node.name,
        Some(output) => output,
        None => &node.op_type,
    }
}

/// A name like `wanted` that nothing in the graph has.
pub(super) fn fresh_name(graph: &GraphProto, wanted: &str) -> String {
    let is_taken = |name: &str| {
        initializer(graph, name).is_some()
            || graph.input.iter().any(|input| input.name == name)
            || graph
                .node
                .iter()
                .any(|node| node.name == name || node.output.iter().any(|o| o == name))
    };
    let mut name = wanted.to_owned();
    let mut count = 1;
    while is_taken(&name) {
        count += 1;
        name = format!("{wanted}_{count}");
    }
    name
}
