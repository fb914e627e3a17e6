//! Rewrites `PRelu` of an ONNX graph, which tract would turn into a comparison and a choice of values, as
//! `max(x, 0) + slope * min(x, 0)`.

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// Replaces each `PRelu` by nodes that have kernels.
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
