//! Raises an ONNX file to opset 13, the first with per-channel `DequantizeLinear`.

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto};

use super::proto::{attribute, float_tensor, fresh_name, int_tensor, name_of};

/// The first opset in which scales may be per channel.
const PER_CHANNEL: i64 = 13;
/// The IR version that opset 13 belongs to.
const IR_VERSION: i64 = 7;

/// Operators that mean the same in every opset from 9 to 13, in the forms that are met in
/// convolutional networks.
const UNCHANGED: [&str; 44] = [
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Div",
    "Dropout",
    "Elu",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "ReduceMax",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Softplus",
    "Sqrt",
    "Sub",
    "Tanh",
    "Transpose",
    "Where",
];

/// Operators whose attributes of opset 9 became inputs: name, and the attributes in the order of
/// the inputs from the second on.
const ATTRIBUTES_TO_INPUTS: [(&str, &[&str]); 6] = [
    ("Clip", &["min", "max"]),
    ("Pad", &["pads", "value"]),
    ("ReduceSum", &["axes"]),
    ("Split", &["split"]),
    ("Squeeze", &["axes"]),
    ("Unsqueeze", &["axes"]),
];

/// Raises the file to opset 13 if it is lower.
///
/// # Errors
/// When an operator means something else there.
pub(super) fn raise_opset(model: &mut ModelProto) -> Result<(), String> {
    model.ir_version = model.ir_version.max(IR_VERSION);
    let is_default = |set: &&mut OperatorSetIdProto| matches!(&*set.domain, "" | "ai.onnx");
    let Some(set) = model.opset_import.iter_mut().find(is_default) else {
        return Err("the file does not say which opset it is of".to_owned());
    };
    let old = set.version;
    if old >= PER_CHANNEL {
        return Ok(());
    }
    set.version = PER_CHANNEL;
    let graph = model.graph.as_mut().ok_or("the file holds no graph")?;
    for index in 0..graph.node.len() {
        let mut node = graph.node[index].clone();
        raise_node(graph, &mut node, old)?;
        graph.node[index] = node;
    }
    Ok(())
}

fn raise_node(graph: &mut GraphProto, node: &mut NodeProto, old: i64) -> Result<(), String> {
    let op = node.op_type.as_str();
    if !matches!(&*node.domain, "" | "ai.onnx") || UNCHANGED.contains(&op) {
        return Ok(());
    }
    // Both were defined anew in opset 11, and are the same from then on.
    if matches!(op, "Resize" | "Slice") && old >= 11 {
        return Ok(());
    }
    let Some((_, names)) = ATTRIBUTES_TO_INPUTS.iter().find(|(name, _)| *name == op) else {
        return Err(format!(
            "operator {op} ({}) of opset {old} cannot be raised to opset {PER_CHANNEL}: export the \
             model with opset {PER_CHANNEL} or later",
            name_of(node)
        ));
    };
    if node.input.len() > 1 {
        return Ok(());
    }
    let mut inputs = Vec::new();
    for name in *names {
        let Some(given) = attribute(node, name) else {
            inputs.push(String::new());
            continue;
        };
        let fresh = fresh_name(graph, &format!("{}.{name}", name_of(node)));
        graph.initializer.push(if given.ints.is_empty() {
            float_tensor(&fresh, &[], &[given.f])
        } else {
            int_tensor(&fresh, &given.ints)
        });
        inputs.push(fresh);
    }
    while inputs.last().is_some_and(String::is_empty) {
        inputs.pop();
    }
    node.input.extend(inputs);
    node.attribute
        .retain(|attribute| !names.contains(&attribute.name.as_str()));
    Ok(())
}
