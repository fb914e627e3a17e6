//! Parts of a node of an ONNX file.

use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{AttributeProto, NodeProto, ValueInfoProto};

/// An attribute of the node.
pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

/// Operator and name of a node, for messages.
pub(super) fn describe(node: &NodeProto) -> String {
    format!("{} {}", node.op_type, name_of(node))
}

/// The node's name, or that of its output if it has none.
pub(super) fn name_of(node: &NodeProto) -> &str {
    match node.output.first() {
        Some(output) if node.name.is_empty() => output,
        _ => &node.name,
    }
}

/// The name of an input; none if it is left out.
pub(super) fn input(node: &NodeProto, index: usize) -> Option<&str> {
    let name = node.input.get(index)?;
    (!name.is_empty()).then_some(name)
}

/// The element type that an input or output is declared to have.
pub(super) fn element_type(info: &mut ValueInfoProto) -> Option<&mut i32> {
    match info.r#type.as_mut()?.value.as_mut()? {
        TypeValue::TensorType(tensor) => Some(&mut tensor.elem_type),
    }
}
