//! Folds constants, batch normalisation and padding into convolutions, so that what is quantised is
//! what the kernels compute.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::proto::{
    attribute, constant_floats, consumers, dims, float_tensor, floats, fresh_name, initializer,
    int, int_tensor, integers, ints, ints_attribute, is_output, name_of, set_attribute, text,
};

/// Epsilon of a `BatchNormalization` that names none.
const EPSILON: f32 = 1e-5;

/// Folds what can be folded; what cannot stays as it is.
pub(super) fn fold(graph: &mut GraphProto) {
    // Files of the first IR versions list constants among the inputs too.
    let constants: Vec<String> = graph.initializer.iter().map(|t| t.name.clone()).collect();
    graph.input.retain(|input| !constants.contains(&input.name));
    fold_constants(graph);
    while let Some(step) = (0..graph.node.len()).find_map(|index| folding_at(graph, index)) {
        apply(graph, step);
    }
    drop_unused(graph);
}

/// Constants that are the result of a node: `Constant`, and `Cast` or `Identity` of a constant.
fn fold_constants(graph: &mut GraphProto) {
    let mut index = 0;
    while index < graph.node.len() {
        let folded = constant_of(graph, &graph.node[index]);
        match folded {
            Some(tensor) if !is_output(graph, &tensor.name) => {
                graph.initializer.push(tensor);
                graph.node.remove(index);
            }
            _ => index += 1,
        }
    }
}

fn constant_of(graph: &GraphProto, node: &NodeProto) -> Option<TensorProto> {
    let [output] = &node.output[..] else {
        return None;
    };
    let source = || initializer(graph, node.input.first()?);
    match node.op_type.as_str() {
        "Constant" => {
            if let Some(tensor) = attribute(node, "value").and_then(|a| a.t.clone()) {
                return Some(TensorProto {
                    name: output.clone(),
                    ..tensor
                });
            }
            if let Some(value) = attribute(node, "value_float") {
                return Some(float_tensor(output, &[], &[value.f]));
            }
            if let Some(values) = attribute(node, "value_floats") {
                return Some(float_tensor(output, &[values.floats.len()], &values.floats));
            }
            let mut tensor = match (attribute(node, "value_int"), attribute(node, "value_ints")) {
                (Some(value), _) => int_tensor(output, &[value.i]),
                (None, Some(values)) => int_tensor(output, &values.ints),
                (None, None) => return None,
            };
            if attribute(node, "value_int").is_some() {
                tensor.dims.clear();
            }
            Some(tensor)
        }
        "Identity" => source().map(|tensor| TensorProto {
            name: output.clone(),
            ..tensor.clone()
        }),
        "Cast" if int(node, "to") == Some(DataType::Float as i64) => {
            let tensor = source()?;
            Some(float_tensor(output, &dims(tensor)?, &floats(tensor)?))
        }
        _ => None,
    }
}

/// What a node can be folded to.
enum Folding {
    /// Another weight and bias of the convolution `conv`, which then computes what node `removed`
    /// did.
    Scaled {
        conv: usize,
        removed: usize,
        weight: Vec<f32>,
        bias: Vec<f32>,
    },
    /// More padding of the convolution `conv` in place of the node `removed`.
    Padded {
        conv: usize,
        removed: usize,
        pads: Vec<i64>,
    },
}

fn folding_at(graph: &GraphProto, index: usize) -> Option<Folding> {
    let node = &graph.node[index];
    match node.op_type.as_str() {
        "BatchNormalization" | "Mul" | "Div" | "Add" | "Sub" => scaled(graph, index),
        "Pad" => padded(graph, index),
        _ => None,
    }
}

fn scaled(graph: &GraphProto, index: usize) -> Option<Folding> {
    let node = &graph.node[index];
    let input_of_conv = |name: &str| {
        let conv = super::proto::producer(graph, name)?;
        let is_conv = graph.node[conv].op_type == "Conv";
        let is_free = consumers(graph, name).len() == 1 && !is_output(graph, name);
        (is_conv && is_free).then_some(conv)
    };
    // Whichever operand is a convolution's.
    let (conv, name) = node
        .input
        .iter()
        .take(2)
        .find_map(|name| Some((input_of_conv(name)?, name)))?;
    let of_conv = &graph.node[conv];
    let weight_tensor = initializer(graph, of_conv.input.get(1)?)?;
    let weight = floats(weight_tensor)?;
    let channels = *dims(weight_tensor)?.first()?;
    let (mul, add) = affine(graph, node, name, channels)?;
    let bias = match of_conv.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => constant_floats(graph, name)?,
        None => vec![0.0; channels],
    };
    if bias.len() != channels || channels == 0 {
        return None;
    }
    let per_channel = (weight.len() / channels).max(1);
    let scaled = weight
        .chunks(per_channel)
        .zip(&mul)
        .flat_map(|(row, mul)| row.iter().map(move |w| w * mul));
    let shifted = bias.iter().zip(&mul).zip(&add);
    Some(Folding::Scaled {
        conv,
        removed: index,
        weight: scaled.collect(),
        bias: shifted.map(|((bias, mul), add)| bias * mul + add).collect(),
    })
}

/// The node as `x * mul + add` of its input `name` for each channel, where the other operands are
/// constants that are the same for all pixels.
fn affine(
    graph: &GraphProto,
    node: &NodeProto,
    name: &str,
    channels: usize,
) -> Option<(Vec<f32>, Vec<f32>)> {
    if node.op_type == "BatchNormalization" {
        let is_first = node.input.first().map(String::as_str) == Some(name);
        let has_statistics = node.output.len() > 1 && !node.output[1].is_empty();
        if !is_first || has_statistics || int(node, "training_mode").unwrap_or(0) != 0 {
            return None;
        }
        let parameter = |at: usize| {
            let values = constant_floats(graph, node.input.get(at)?)?;
            (values.len() == channels).then_some(values)
        };
        let (scale, shift) = (parameter(1)?, parameter(2)?);
        let (mean, variance) = (parameter(3)?, parameter(4)?);
        let epsilon = attribute(node, "epsilon").map_or(EPSILON, |a| a.f);
        let mul: Vec<f32> = scale
            .iter()
            .zip(&variance)
            .map(|(scale, variance)| scale / (variance + epsilon).sqrt())
            .collect();
        let add = shift.iter().zip(&mean).zip(&mul);
        let add = add.map(|((shift, mean), mul)| shift - mean * mul).collect();
        return Some((mul, add));
    }
    let at = node.input.iter().position(|i| i == name)?;
    let constant = initializer(graph, node.input.get(1 - at)?)?;
    let values = floats(constant)?;
    let shape = dims(constant)?;
    // A scalar, or [c, 1, 1] behind any number of ones.
    let per_channel = shape.len() >= 3
        && shape[shape.len() - 3] == channels
        && shape.iter().product::<usize>() == channels;
    let values = match values.len() {
        1 => vec![values[0]; channels],
        _ if per_channel => values,
        _ => return None,
    };
    let all = |value: f32| vec![value; channels];
    let (mul, add) = match (node.op_type.as_str(), at) {
        ("Mul", _) => (values, all(0.0)),
        ("Div", 0) => (values.iter().map(|v| 1.0 / v).collect(), all(0.0)),
        ("Add", _) => (all(1.0), values),
        ("Sub", 0) => (all(1.0), values.iter().map(|v| -v).collect()),
        ("Sub", _) => (all(-1.0), values),
        _ => return None,
    };
    let is_finite = mul.iter().chain(&add).all(|v| v.is_finite());
    is_finite.then_some((mul, add))
}

/// `Pad` with zeros around the pixels, before convolutions alone.
fn padded(graph: &GraphProto, index: usize) -> Option<Folding> {
    let node = &graph.node[index];
    let output = node.output.first()?;
    let [conv] = consumers(graph, output)[..] else {
        return None;
    };
    let of_conv = &graph.node[conv];
    let is_zero = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => constant_floats(graph, name)? == [0.0],
        None => true,
    };
    let is_constant = matches!(text(node, "mode"), "" | "constant");
    let has_axes = node.input.get(3).is_some_and(|name| !name.is_empty());
    let explicit = matches!(text(of_conv, "auto_pad"), "" | "NOTSET" | "VALID");
    let reads_it = of_conv.op_type == "Conv" && of_conv.input.first() == Some(output);
    if !(is_zero && is_constant && explicit && reads_it) || has_axes || is_output(graph, output) {
        return None;
    }
    let wanted = integers(initializer(graph, node.input.get(1)?)?)?;
    let &[0, 0, top, left, 0, 0, bottom, right] = wanted.as_slice() else {
        return None;
    };
    let old = match ints(of_conv, "pads") {
        [] => [0; 4],
        pads => pads.try_into().ok()?,
    };
    let more = [top, left, bottom, right];
    if more.iter().any(|pad| *pad < 0) {
        return None;
    }
    Some(Folding::Padded {
        conv,
        removed: index,
        pads: old.iter().zip(more).map(|(old, more)| old + more).collect(),
    })
}

fn apply(graph: &mut GraphProto, step: Folding) {
    let removed = match step {
        Folding::Scaled {
            conv,
            removed,
            weight,
            bias,
        } => {
            let name = name_of(&graph.node[conv]).to_owned();
            let shape = initializer(graph, &graph.node[conv].input[1]).and_then(dims);
            let weight_name = fresh_name(graph, &format!("{name}.weight"));
            let shape = shape.unwrap_or_default();
            graph
                .initializer
                .push(float_tensor(&weight_name, &shape, &weight));
            let bias_name = fresh_name(graph, &format!("{name}.bias"));
            graph
                .initializer
                .push(float_tensor(&bias_name, &[bias.len()], &bias));
            let output = graph.node[removed].output[0].clone();
            let node = &mut graph.node[conv];
            node.input.truncate(1);
            node.input.extend([weight_name, bias_name]);
            node.output = vec![output];
            removed
        }
        Folding::Padded {
            conv,
            removed,
            pads,
        } => {
            let input = graph.node[removed].input[0].clone();
            let node = &mut graph.node[conv];
            node.input[0] = input;
            node.attribute.retain(|a| a.name != "auto_pad");
            set_attribute(node, ints_attribute("pads", pads));
            removed
        }
    };
    graph.node.remove(removed);
    drop_unused(graph);
}

/// Leaves out constants that nothing reads, and what is said of values that are gone.
pub(super) fn drop_unused(graph: &mut GraphProto) {
    let mut initializers = std::mem::take(&mut graph.initializer);
    initializers.retain(|tensor| {
        is_output(graph, &tensor.name)
            || graph
                .node
                .iter()
                .any(|node| node.input.contains(&tensor.name) || !subgraphs(node).is_empty())
    });
    graph.initializer = initializers;
    let nodes = &graph.node;
    graph
        .value_info
        .retain(|info| nodes.iter().any(|node| node.output.contains(&info.name)));
}

/// The graphs inside a node, such as the branches of an `If`.
pub(super) fn subgraphs(node: &NodeProto) -> Vec<&GraphProto> {
    node.attribute
        .iter()
        .flat_map(|a| a.g.iter().chain(&a.graphs))
        .collect()
}
