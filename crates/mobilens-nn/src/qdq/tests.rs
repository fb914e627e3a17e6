//! What is known of weights after the rewriting. The values are tested in `tests/integration/qdq.rs`.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

use super::weight_scales::grid_scales;
use super::{WeightScales, dequantize_model};

const CODES: [i8; 12] = [1, -2, 3, 127, -128, 6, 0, 8, -9, 10, 11, -12];

fn tensor(name: &str, dims: &[i64], data_type: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: data_type as i32,
        raw_data,
        ..TensorProto::default()
    }
}

fn floats(name: &str, values: &[f32]) -> TensorProto {
    let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, &[values.len() as i64], DataType::Float, raw)
}

fn bytes(codes: &[i8]) -> Vec<u8> {
    codes.iter().map(|code| *code as u8).collect()
}

fn node(op_type: &str, input: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op_type.to_owned(),
        input: input.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn with_ints(mut node: NodeProto, name: &str, i: i64, ints: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.to_owned(),
        i,
        ints: ints.to_vec(),
        ..AttributeProto::default()
    });
    node
}

fn model(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let info = |name: &str| ValueInfoProto {
        name: name.to_owned(),
        ..ValueInfoProto::default()
    };
    ModelProto {
        graph: Some(GraphProto {
            node: nodes,
            initializer,
            input: vec![info("input")],
            output: vec![info("output")],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

/// The scales of the weights `[3, 4, 1, 1]` after `nodes` have made `weights` of the codes.
fn scales_after(nodes: Vec<NodeProto>, tensors: Vec<TensorProto>) -> (ModelProto, WeightScales) {
    let mut nodes = nodes;
    nodes.push(node("Conv", &["input", "weights"], "output"));
    let mut model = model(nodes, tensors);
    let scales = dequantize_model(&mut model).expect("it is valid");
    (model, scales.expect("it is quantised"))
}

fn initializer<'a>(model: &'a ModelProto, name: &str) -> &'a TensorProto {
    let graph = model.graph.as_ref().expect("a graph");
    let found = graph.initializer.iter().find(|t| t.name == name);
    found.expect("the initializer")
}

fn values(tensor: &TensorProto) -> Vec<f32> {
    let chunks = tensor.raw_data.as_chunks().0.iter();
    chunks.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn scales_of_each_channel_are_found_by_the_contents() {
    let scales = [0.1, 0.2, 0.7];
    let codes = tensor("codes", &[3, 4, 1, 1], DataType::Int8, bytes(&CODES));
    let dequantize = node("DequantizeLinear", &["codes", "scales"], "weights");
    let (model, found) = scales_after(
        vec![with_ints(dequantize, "axis", 0, &[])],
        vec![codes, floats("scales", &scales)],
    );
    let weights = values(initializer(&model, "weights"));
    let expected: Vec<f32> = CODES
        .iter()
        .enumerate()
        .map(|(at, code)| f32::from(*code) * scales[at / 4])
        .collect();
    assert_eq!(weights, expected);
    assert_eq!(found.find(&weights, 3).as_deref(), Some(&scales[..]));
    assert_eq!(found.find(&weights, 4), None);
    assert_eq!(found.find(&weights[1..], 3), None);
    let graph = model.graph.expect("a graph");
    assert_eq!(graph.initializer.len(), 1, "codes and scales are gone");
    assert_eq!(graph.node.len(), 1);
}

#[test]
fn one_scale_counts_for_every_channel_and_asymmetric_weights_have_one_too() {
    let codes: Vec<u8> = (0..12).map(|code| code * 23).collect();
    let codes = tensor("codes", &[3, 4, 1, 1], DataType::Uint8, codes);
    let zero = tensor("zero", &[1], DataType::Uint8, vec![0]);
    let (model, found) = scales_after(
        vec![node(
            "DequantizeLinear",
            &["codes", "scale", "zero"],
            "weights",
        )],
        vec![codes, floats("scale", &[0.25]), zero],
    );
    let weights = values(initializer(&model, "weights"));
    assert_eq!(weights[11], 253.0 * 0.25);
    assert_eq!(found.find(&weights, 3), Some(vec![0.25; 3]));
}

#[test]
fn scales_follow_transposes_and_reshapes() {
    // [4, 3]: in, out.
    let codes = tensor("codes", &[4, 3], DataType::Int8, bytes(&CODES));
    let scales = [0.5, 0.25, 2.0];
    let dequantize = node("DequantizeLinear", &["codes", "scales"], "floats");
    let shape: Vec<u8> = [1i64, 1, 4, 3]
        .iter()
        .flat_map(|d| d.to_le_bytes())
        .collect();
    let shape = tensor("shape", &[4], DataType::Int64, shape);
    let (model, found) = scales_after(
        vec![
            with_ints(dequantize, "axis", -1, &[]),
            node("Reshape", &["floats", "shape"], "hwio"),
            with_ints(
                node("Transpose", &["hwio"], "weights"),
                "perm",
                0,
                &[3, 2, 0, 1],
            ),
        ],
        vec![codes, floats("scales", &scales), shape],
    );
    let tensor = initializer(&model, "weights");
    assert_eq!(tensor.dims, [3, 4, 1, 1]);
    let weights = values(tensor);
    // Output 1, input 2.
    assert_eq!(weights[4 + 2], f32::from(CODES[2 * 3 + 1]) * 0.25);
    assert_eq!(found.find(&weights, 3).as_deref(), Some(&scales[..]));
}

#[test]
fn float_weights_and_files_without_quantisation_have_none() {
    let weights = floats("weights", &[0.5; 12]);
    let model_before = model(
        vec![node("Conv", &["input", "weights"], "output")],
        vec![weights],
    );
    let mut model = model_before.clone();
    let found = dequantize_model(&mut model).expect("it is valid");
    assert_eq!(model, model_before);
    assert!(found.is_none(), "{found:?}");
}

#[test]
fn scales_of_weights_that_are_on_a_grid_are_found() {
    let scales = [0.0123, 4.5, 0.7];
    let weights: Vec<f32> = CODES
        .iter()
        .enumerate()
        // The error of computing a weight in another way.
        .map(|(at, code)| f32::from(*code) * scales[at / 4] * (1.0 + 1e-6))
        .collect();
    let found = grid_scales(&weights, 3).expect("it is a grid");
    for (channel, (found, scale)) in found.iter().zip(scales).enumerate() {
        for weight in &weights[channel * 4..][..4] {
            let code = weight / found;
            assert!((code - code.round()).abs() < 1e-2 && code.abs() < 128.5);
        }
        // Not finer than it was.
        assert!(*found > 0.999 * scale, "{found} {scale}");
    }
    assert_eq!(grid_scales(&[0.0; 12], 3), Some(vec![1.0; 3]));
    let any: Vec<f32> = (0..12).map(|i| (i as f32 * 0.77).sin()).collect();
    assert_eq!(grid_scales(&any, 3), None);
    assert_eq!(grid_scales(&[f32::NAN; 4], 2), None);
    assert_eq!(grid_scales(&[1.0; 4], 3), None);
}

#[test]
fn a_tensor_that_is_written_twice_is_an_error() {
    let scale = floats("scale", &[0.5]);
    let quantize = node("QuantizeLinear", &["input", "scale"], "codes");
    let nodes = vec![
        quantize.clone(),
        quantize,
        node("DequantizeLinear", &["codes", "scale"], "output"),
    ];
    let error = dequantize_model(&mut model(nodes, vec![scale])).expect_err("it is wrong");
    assert_eq!(error, "tensor codes is written twice");
}
