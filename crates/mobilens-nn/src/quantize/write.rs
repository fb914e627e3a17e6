//! Writes the quantised network in the QDQ format of ONNX Runtime: `QuantizeLinear` and
//! `DequantizeLinear` around every rounded value, `DequantizeLinear` behind every constant of codes.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use super::fold::drop_unused;
use super::placement::{Placement, QuantizedConv};
use super::proto::{float_tensor, fresh_name, int_attribute, is_output, name_of, node, tensor};
use super::ranges::Scale;

/// A convolution in codes.
#[derive(Clone, Debug)]
pub(super) struct ConvCodes {
    /// In the order of the file.
    pub weights: Vec<i8>,
    /// One for each output channel.
    pub weight_scales: Vec<f32>,
    /// In units of the input's scale times the weights'.
    pub bias: Vec<i32>,
}

impl ConvCodes {
    /// Scale of the bias of each output channel.
    pub fn bias_scales(&self, input: Scale) -> Vec<f32> {
        let scales = self.weight_scales.iter();
        scales.map(|scale| input.scale * scale).collect()
    }

    /// The weights as real numbers.
    pub fn real_weights(&self) -> Vec<f32> {
        let per_channel = (self.weights.len() / self.weight_scales.len().max(1)).max(1);
        let rows = self.weights.chunks(per_channel).zip(&self.weight_scales);
        rows.flat_map(|(row, scale)| row.iter().map(move |code| f32::from(*code) * scale))
            .collect()
    }

    /// The bias as real numbers.
    pub fn real_bias(&self, input: Scale) -> Vec<f32> {
        let scales = self.bias_scales(input);
        let codes = self.bias.iter().zip(scales);
        codes.map(|(code, scale)| *code as f32 * scale).collect()
    }
}

/// The network with its codes; `scales` are of the rounded values, `codes` of the convolutions.
pub(super) fn qdq_file(
    model: &ModelProto,
    placement: &Placement,
    scales: &[Scale],
    codes: &[ConvCodes],
) -> ModelProto {
    let mut model = model.clone();
    let Some(mut graph) = model.graph.take() else {
        return model;
    };
    let mut before: Vec<Vec<NodeProto>> = vec![Vec::new(); graph.node.len()];
    for (conv, codes) in placement.convs.iter().zip(codes) {
        before[conv.node] = dequantized_constants(&mut graph, conv, codes, scales[conv.input]);
    }
    let pairs: Vec<[NodeProto; 2]> = placement
        .values
        .iter()
        .zip(scales)
        .map(|(name, scale)| quantize_and_dequantize(&mut graph, name, *scale))
        .collect();
    for node in &mut graph.node {
        for input in &mut node.input {
            if let Some(value) = placement.index(input) {
                input.clone_from(&pairs[value][1].output[0]);
            }
        }
    }
    let mut nodes = Vec::new();
    let mut pairs: Vec<_> = pairs.into_iter().map(Some).collect();
    let mut take = |name: &str| {
        let value = placement.index(name)?;
        pairs[value].take()
    };
    for input in &graph.input {
        nodes.extend(take(&input.name).into_iter().flatten());
    }
    for (node, before) in graph.node.drain(..).zip(before) {
        let outputs = node.output.clone();
        nodes.extend(before);
        nodes.push(node);
        for output in &outputs {
            nodes.extend(take(output).into_iter().flatten());
        }
    }
    graph.node = nodes;
    // What was said of values between may be of names that changed their meaning; it can be
    // inferred.
    graph.value_info.clear();
    drop_unused(&mut graph);
    debug_assert!(graph.output.iter().all(|o| is_output(&graph, &o.name)));
    model.graph = Some(graph);
    model
}

/// Puts the codes of a convolution in the place of its weights and bias. Returns the nodes that
/// make real numbers of them.
fn dequantized_constants(
    graph: &mut GraphProto,
    conv: &QuantizedConv,
    codes: &ConvCodes,
    input: Scale,
) -> Vec<NodeProto> {
    let name = name_of(&graph.node[conv.node]).to_owned();
    let channels = codes.weight_scales.len();
    let given = |at: usize, otherwise: &str| match graph.node[conv.node].input.get(at) {
        Some(given) if !given.is_empty() => given.clone(),
        _ => format!("{name}.{otherwise}"),
    };
    let (weight, bias) = (given(1, "weight"), given(2, "bias"));
    let weight_bytes = codes.weights.iter().map(|code| *code as u8).collect();
    let bias_bytes = codes.bias.iter().flat_map(|code| code.to_le_bytes());
    let constants = [
        (
            weight,
            "",
            tensor("", &conv.shape, DataType::Int8, weight_bytes),
            codes.weight_scales.clone(),
            tensor("", &[channels], DataType::Int8, vec![0; channels]),
        ),
        (
            bias,
            "_quantized",
            tensor("", &[channels], DataType::Int32, bias_bytes.collect()),
            codes.bias_scales(input),
            tensor("", &[channels], DataType::Int32, vec![0; 4 * channels]),
        ),
    ];
    let mut nodes = Vec::new();
    let mut inputs = vec![graph.node[conv.node].input[0].clone()];
    for (name, of_scale, mut quantized, scales, mut zero_point) in constants {
        quantized.name = fresh_name(graph, &format!("{name}_quantized"));
        let scale_name = fresh_name(graph, &format!("{name}{of_scale}_scale"));
        let scale = float_tensor(&scale_name, &[channels], &scales);
        zero_point.name = fresh_name(graph, &format!("{name}{of_scale}_zero_point"));
        // Two convolutions may share their weights, but not the codes.
        let output = format!("{}_DequantizeLinear_Output", quantized.name);
        let from = [&*quantized.name, &*scale_name, &*zero_point.name];
        let mut dequantize = node("DequantizeLinear", &from, &output);
        dequantize.name = format!("{}_DequantizeLinear", quantized.name);
        dequantize.attribute.push(int_attribute("axis", 0));
        nodes.push(dequantize);
        inputs.push(output);
        graph.initializer.extend([quantized, scale, zero_point]);
    }
    graph.node[conv.node].input = inputs;
    nodes
}

/// The two nodes that round a value.
fn quantize_and_dequantize(graph: &mut GraphProto, name: &str, scale: Scale) -> [NodeProto; 2] {
    let scale_name = fresh_name(graph, &format!("{name}_scale"));
    graph
        .initializer
        .push(float_tensor(&scale_name, &[], &[scale.scale]));
    let zero_name = fresh_name(graph, &format!("{name}_zero_point"));
    let zero_point = vec![scale.zero_point];
    graph
        .initializer
        .push(tensor(&zero_name, &[], DataType::Uint8, zero_point));
    let pair = ["QuantizeLinear", "DequantizeLinear"];
    let outputs = pair.map(|op| fresh_name(graph, &format!("{name}_{op}_Output")));
    let inputs = [name, &outputs[0]];
    [0, 1].map(|i| {
        let mut node = node(pair[i], &[inputs[i], &scale_name, &zero_name], &outputs[i]);
        node.name = format!("{name}_{}", pair[i]);
        node
    })
}
