//! Quantisation after training: small networks through `quantize`, then read and run again.

use std::ops::ControlFlow;

use mobilens_nn::{
    CalibrationPictures, KernelChoice, LoadOptions, Network, QuantizeError, QuantizeOptions,
    Quantized, quantize,
};
use prost::Message as _;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

use crate::onnx::{Onnx, Value};
use crate::parity::{load, outputs, values};

/// Random pictures from -1 to 1.
struct Pictures {
    count: usize,
    /// Everything is multiplied by this.
    scale: f32,
}

impl CalibrationPictures for Pictures {
    fn count(&self) -> usize {
        self.count
    }

    fn read(&mut self, index: usize, input: &mut [f32]) -> Result<(), String> {
        if index == 7 {
            return Err("seven.jpg: damaged picture".to_owned());
        }
        let picture = values(input.len(), index as u64 + 1);
        for (to, from) in input.iter_mut().zip(picture) {
            *to = from * self.scale;
        }
        Ok(())
    }
}

fn pictures(count: usize) -> Pictures {
    Pictures { count, scale: 1.0 }
}

fn quantized(file: &[u8], threads: usize) -> Quantized {
    let options = QuantizeOptions {
        threads,
        ..QuantizeOptions::default()
    };
    quantize(file, &mut pictures(3), &options, &mut |_| {
        ControlFlow::Continue(())
    })
    .expect("a network that can be quantised")
}

fn refusal(file: &[u8], mut pictures: Pictures) -> String {
    let options = QuantizeOptions::default();
    let result = quantize(file, &mut pictures, &options, &mut |_| {
        ControlFlow::Continue(())
    });
    let error = result.expect_err("it cannot be quantised").to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// What is put into a test network.
struct Builder {
    onnx: Onnx,
    seed: u64,
}

impl Builder {
    fn new() -> Self {
        Self {
            onnx: Onnx::default(),
            seed: 1,
        }
    }

    fn values(&mut self, count: usize, size: f32) -> Vec<f32> {
        self.seed += 1;
        let values = values(count, self.seed);
        values.iter().map(|v| v * size).collect()
    }

    fn conv(&mut self, x: &str, shape: [usize; 4], group: usize, stride: usize) -> String {
        let count: usize = shape.iter().product();
        let weights = self.values(count, 2.0 / ((count / shape[0]) as f32).sqrt());
        let weights = self.onnx.constant(&shape, &weights);
        let bias = self.values(shape[0], 0.3);
        let bias = self.onnx.constant(&[shape[0]], &bias);
        let pad = shape[2] / 2;
        let attributes = [
            ("kernel_shape", Value::Ints(&shape[2..])),
            ("strides", Value::Ints(&[stride, stride])),
            ("pads", Value::Ints(&[pad, pad, pad, pad])),
            ("group", Value::Int(group)),
        ];
        self.onnx.node("Conv", &[x, &weights, &bias], &attributes)
    }

    fn relu6(&mut self, x: &str) -> String {
        let limits = [0.0, 6.0].map(|limit| self.onnx.constant(&[], &[limit]));
        self.onnx.node("Clip", &[x, &limits[0], &limits[1]], &[])
    }

    /// Expansion, depthwise convolution, projection, and the residual sum.
    fn inverted_residual(&mut self, x: &str, channels: usize) -> String {
        let wide = 3 * channels;
        let mut at = self.conv(x, [wide, channels, 1, 1], 1, 1);
        at = self.relu6(&at);
        at = self.conv(&at, [wide, 1, 3, 3], wide, 1);
        at = self.relu6(&at);
        at = self.conv(&at, [channels, wide, 1, 1], 1, 1);
        self.onnx.node("Add", &[&at, x], &[])
    }
}

const INPUT: [usize; 4] = [1, 3, 21, 18];

/// A small detector: stem, two inverted residuals, and a head as SSD has it.
fn detector() -> Vec<u8> {
    let mut net = Builder::new();
    let mut x = net.conv("input", [8, 3, 3, 3], 1, 2);
    x = net.relu6(&x);
    x = net.inverted_residual(&x, 8);
    x = net.inverted_residual(&x, 8);
    x = net.conv(&x, [12, 8, 1, 1], 1, 1);
    let order = [("perm", Value::Ints(&[0, 2, 3, 1]))];
    x = net.onnx.node("Transpose", &[&x], &order);
    let shape = net.onnx.integers(&[1, -1, 4]);
    x = net.onnx.node("Reshape", &[&x, &shape], &[]);
    net.onnx.file(&INPUT, &x, &[1, 11 * 9 * 3, 4])
}

fn graph_of(file: &[u8]) -> GraphProto {
    let model = ModelProto::decode(file).expect("an ONNX file");
    assert!(model.opset_import[0].version >= 13);
    model.graph.expect("a graph")
}

fn producer<'a>(graph: &'a GraphProto, name: &str) -> &'a NodeProto {
    let mut nodes = graph.node.iter();
    let found = nodes.find(|node| node.output.iter().any(|output| output == name));
    found.unwrap_or_else(|| panic!("nothing computes {name}"))
}

fn readers<'a>(graph: &'a GraphProto, name: &str) -> Vec<&'a str> {
    let nodes = graph.node.iter();
    let readers = nodes.filter(|node| node.input.iter().any(|input| input == name));
    readers.map(|node| node.op_type.as_str()).collect()
}

fn constant<'a>(graph: &'a GraphProto, name: &str) -> &'a TensorProto {
    let mut constants = graph.initializer.iter();
    constants.find(|tensor| tensor.name == name).expect("known")
}

fn count(graph: &GraphProto, op: &str) -> usize {
    graph.node.iter().filter(|node| node.op_type == op).count()
}

fn float(graph: &GraphProto, name: &str) -> f32 {
    let bytes = constant(graph, name).raw_data.as_slice();
    f32::from_le_bytes(bytes.try_into().expect("one float32"))
}

/// Outputs of a file for picture 1, on tract, which runs the nodes of the file as they stand.
fn outputs_on_tract(file: &[u8]) -> Vec<f32> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("network.onnx");
    std::fs::write(&path, file).expect("room");
    let network = load(&path, KernelChoice::Tract).expect("tract runs everywhere");
    let mut picture = vec![0.0; network.input().len()];
    pictures(2).read(1, &mut picture).expect("a picture");
    outputs(&network, 1, 1, &picture).remove(0)
}

fn sqnr_db(truth: &[f32], got: &[f32]) -> f64 {
    assert_eq!(truth.len(), got.len());
    let sum = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|v| f64::from(v) * f64::from(v)).sum()
    };
    let noise = sum(&mut truth.iter().zip(got).map(|(a, b)| a - b));
    10.0 * (sum(&mut truth.iter().copied()) / noise).log10()
}

#[test]
fn a_detector_keeps_its_outputs() {
    let file = detector();
    let quantized = quantized(&file, 1);
    let report = &quantized.report;
    assert_eq!((report.convolutions, report.pictures), (8, 3));
    assert!(report.float_convolutions.is_empty());
    assert_eq!(report.outputs.len(), 1);
    assert!(report.outputs[0].db > 25.0, "{report:?}");
    assert!(report.tensors.iter().all(|t| t.db > 25.0), "{report:?}");
    // The file says what the report says.
    let (truth, got) = (outputs_on_tract(&file), outputs_on_tract(&quantized.onnx));
    let of_file = sqnr_db(&truth, &got);
    assert!(
        (of_file - report.outputs[0].db).abs() < 2.0,
        "{of_file} dB, {report:?}"
    );
}

#[test]
fn the_file_is_what_onnx_runtime_writes() {
    let graph = graph_of(&quantized(&detector(), 1).onnx);
    // The picture; the stem, 2 x (expansion, depthwise, projection, sum).
    assert_eq!(count(&graph, "QuantizeLinear"), 1 + 1 + 2 * 4);
    assert_eq!(count(&graph, "Clip"), 5);
    for conv in graph.node.iter().filter(|node| node.op_type == "Conv") {
        let [_, weight, bias] = [0, 1, 2].map(|i| producer(&graph, &conv.input[i]));
        assert!(
            conv.input
                .iter()
                .all(|i| producer(&graph, i).op_type == "DequantizeLinear")
        );
        let codes = constant(&graph, &weight.input[0]);
        assert_eq!(codes.data_type, 3, "int8");
        assert!(codes.raw_data.iter().all(|code| *code as i8 != -128));
        let scales = constant(&graph, &weight.input[1]);
        assert_eq!(scales.dims, [codes.dims[0]], "one scale for each channel");
        assert_eq!(constant(&graph, &bias.input[0]).data_type, 6, "int32");
        let float32 = |tensor: &TensorProto| -> Vec<f32> {
            let values = tensor.raw_data.as_chunks().0.iter();
            values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        let input = float(&graph, &producer(&graph, &conv.input[0]).input[1]);
        let expected: Vec<f32> = float32(scales).iter().map(|s| input * s).collect();
        assert_eq!(float32(constant(&graph, &bias.input[1])), expected);
        // Rounded once: behind the function where there is one, not at all in the head.
        let after = readers(&graph, &conv.output[0]);
        assert!(after == ["Clip"] || after == ["QuantizeLinear"] || after == ["Transpose"]);
    }
    // No weights in float32 are left.
    let mut constants = graph.initializer.iter();
    assert!(constants.all(|t| t.dims.len() < 2 || t.data_type != 1));
}

#[test]
fn the_bytes_are_the_same_each_time() {
    let file = detector();
    let once = quantized(&file, 1);
    assert!(once.onnx == quantized(&file, 1).onnx, "another run");
    assert!(once.onnx == quantized(&file, 2).onnx, "two threads");
}

#[test]
fn joined_values_share_a_scale() {
    let mut net = Builder::new();
    let left = net.conv("input", [5, 3, 1, 1], 1, 1);
    let left = net.relu6(&left);
    let right = net.conv("input", [6, 3, 3, 3], 1, 1);
    let joined = net
        .onnx
        .node("Concat", &[&left, &right], &[("axis", Value::Int(1))]);
    let pooled = net.onnx.node(
        "MaxPool",
        &[&joined],
        &[("kernel_shape", Value::Ints(&[3, 3]))],
    );
    let output = net.conv(&pooled, [4, 11, 1, 1], 1, 1);
    let file = net.onnx.file(&INPUT, &output, &[1, 4, 19, 16]);
    let quantized = quantized(&file, 1);
    assert!(
        quantized.report.outputs[0].db > 25.0,
        "{:?}",
        quantized.report
    );
    let graph = graph_of(&quantized.onnx);
    let scales: Vec<f32> = [&left, &right, &joined, &pooled]
        .map(|name| float(&graph, &format!("{name}_scale")))
        .to_vec();
    assert!(scales.iter().all(|scale| *scale == scales[0]), "{scales:?}");
    assert_ne!(scales[0], float(&graph, "input_scale"));
}

#[test]
fn functions_and_gates_are_rounded_behind() {
    let mut net = Builder::new();
    // h-swish, written out, then squeeze and excite.
    let x = net.conv("input", [8, 3, 3, 3], 1, 2);
    let three = net.onnx.constant(&[], &[3.0]);
    let six = net.onnx.constant(&[], &[6.0]);
    let plus = net.onnx.node("Add", &[&x, &three], &[]);
    let gate = net.relu6(&plus);
    let product = net.onnx.node("Mul", &[&x, &gate], &[]);
    let swish = net.onnx.node("Div", &[&product, &six], &[]);
    let pooled = net.onnx.node("GlobalAveragePool", &[&swish], &[]);
    let squeezed = net.conv(&pooled, [4, 8, 1, 1], 1, 1);
    let squeezed = net.onnx.node("Relu", &[&squeezed], &[]);
    let excited = net.conv(&squeezed, [8, 4, 1, 1], 1, 1);
    let excited = net.onnx.node("HardSigmoid", &[&excited], &[]);
    let scaled = net.onnx.node("Mul", &[&swish, &excited], &[]);
    let output = net.conv(&scaled, [4, 8, 1, 1], 1, 1);
    let file = net.onnx.file(&INPUT, &output, &[1, 4, 11, 9]);
    let quantized = quantized(&file, 1);
    assert!(
        quantized.report.outputs[0].db > 25.0,
        "{:?}",
        quantized.report
    );
    let graph = graph_of(&quantized.onnx);
    let names: Vec<&str> = quantized.report.tensors.iter().map(|t| &*t.name).collect();
    assert_eq!(
        names,
        ["input", &swish, &pooled, &squeezed, &excited, &scaled]
    );
    assert_eq!(count(&graph, "QuantizeLinear"), 6);
}

#[test]
fn batch_normalisation_and_padding_are_folded() {
    let mut net = Builder::new();
    let pads = net.onnx.integers(&[0, 0, 0, 0, 0, 0, 1, 1]);
    let padded = net.onnx.node("Pad", &["input", &pads], &[]);
    let weights = net.values(6 * 3 * 9, 0.4);
    let weights = net.onnx.constant(&[6, 3, 3, 3], &weights);
    let x = net.onnx.node("Conv", &[&padded, &weights], &[]);
    let parameters: Vec<String> = (0..4)
        .map(|i| {
            let mut values = net.values(6, 0.5);
            if i % 2 == 1 || i == 0 {
                values = values.iter().map(|v| v.abs() + 0.5).collect();
            }
            net.onnx.constant(&[6], &values)
        })
        .collect();
    let mut inputs = vec![x.as_str()];
    inputs.extend(parameters.iter().map(String::as_str));
    let x = net.onnx.node("BatchNormalization", &inputs, &[]);
    let x = net.onnx.node("Relu", &[&x], &[]);
    let output = net.conv(&x, [4, 6, 1, 1], 1, 1);
    let file = net.onnx.file(&INPUT, &output, &[1, 4, 20, 17]);
    let quantized = quantized(&file, 1);
    let graph = graph_of(&quantized.onnx);
    assert_eq!(
        (count(&graph, "BatchNormalization"), count(&graph, "Pad")),
        (0, 0)
    );
    let (truth, got) = (outputs_on_tract(&file), outputs_on_tract(&quantized.onnx));
    let db = sqnr_db(&truth, &got);
    assert!(db > 25.0, "{db} dB");
}

#[test]
fn what_cannot_be_quantised_is_one_line() {
    let file = detector();
    for (file, pictures, expected) in [
        (&file[..], pictures(0), "no pictures"),
        (&file[..], pictures(9), "seven.jpg: damaged picture"),
        (
            &file[..],
            Pictures {
                count: 1,
                scale: f32::NAN,
            },
            "input: not all of its values are finite",
        ),
        (&file[..file.len() / 2], pictures(1), "not an ONNX file"),
        (b"", pictures(1), "no graph"),
        (
            &quantized(&file, 1).onnx[..],
            pictures(1),
            "quantised already",
        ),
    ] {
        let error = refusal(file, pictures);
        assert!(error.contains(expected), "{error}");
    }
    let mut net = Builder::new();
    let relu = net.onnx.node("Relu", &["input"], &[]);
    let no_conv = net.onnx.file(&INPUT, &relu, &INPUT);
    assert!(refusal(&no_conv, pictures(1)).contains("no convolution"));
}

#[test]
fn the_caller_can_end_it() {
    let mut steps = 0;
    let options = QuantizeOptions::default();
    let result = quantize(&detector(), &mut pictures(3), &options, &mut |_| {
        steps += 1;
        if steps == 5 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(result, Err(QuantizeError::Interrupted)));
    assert_eq!(steps, 5);
}

#[test]
fn the_file_loads_on_the_kernels() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("network.onnx");
    let quantized = quantized(&detector(), 1);
    std::fs::write(&path, &quantized.onnx).expect("room");
    let network = Network::load(&path, &LoadOptions::default()).expect("a network");
    let mut picture = vec![0.0; network.input().len()];
    pictures(2).read(1, &mut picture).expect("a picture");
    let got = outputs(&network, 1, 1, &picture).remove(0);
    let db = sqnr_db(&outputs_on_tract(&quantized.onnx), &got);
    assert!(db > 30.0, "{db} dB");
}
