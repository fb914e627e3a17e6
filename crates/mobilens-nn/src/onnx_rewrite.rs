//! Rewrites nodes of an ONNX graph that tract would read in another way than the kernels want, or than ONNX means.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// Before opset 11 a `Resize` to the nearest neighbour rounds down, as ONNX Runtime does; tract takes the default of
/// later versions, which rounds to the nearest.
pub(super) fn round_old_resizes_down(file: &mut ModelProto) {
    let is_old = file
        .opset_import
        .iter()
        .any(|opset| opset.domain.is_empty() && opset.version < 11);
    let Some(graph) = file.graph.as_mut().filter(|_| is_old) else {
        return;
    };
    for node in &mut graph.node {
        let rounds = |attribute: &AttributeProto| attribute.name == "nearest_mode";
        if node.op_type == "Resize" && !node.attribute.iter().any(rounds) {
            node.attribute.push(AttributeProto {
                name: "nearest_mode".to_owned(),
                r#type: AttributeType::String as i32,
                s: b"floor".to_vec(),
                ..AttributeProto::default()
            });
        }
    }
}

/// Replaces each `PRelu`, which tract would turn into a comparison and a choice of values, by
/// `max(x, 0) + slope * min(x, 0)`.
pub(super) fn rewrite_prelu(graph: &mut GraphProto) {
    if !graph.node.iter().any(|node| node.op_type == "PRelu") {
        return;
    }
    let zero = "mobilens.prelu.zero";
    graph.initializer.push(TensorProto {
        name: zero.to_owned(),
        data_type: tract_onnx::pb::tensor_proto::DataType::Float as i32,
        float_data: vec![0.0],
        ..TensorProto::default()
    });
    let nodes = std::mem::take(&mut graph.node);
    for node in nodes {
        let ("PRelu", [x, slope], [output]) =
            (node.op_type.as_str(), &node.input[..], &node.output[..])
        else {
            graph.node.push(node);
            continue;
        };
        let name = |part: &str| format!("{output}.prelu.{part}");
        let made = |op: &str, inputs: [&str; 2], output: String| NodeProto {
            op_type: op.to_owned(),
            input: inputs.map(str::to_owned).to_vec(),
            name: output.clone(),
            output: vec![output],
            ..NodeProto::default()
        };
        let parts = [
            made("Max", [x, zero], name("positive")),
            made("Min", [x, zero], name("negative")),
            made("Mul", [&name("negative"), slope], name("scaled")),
            made("Add", [&name("positive"), &name("scaled")], output.clone()),
        ];
        graph.node.extend(parts);
    }
}
