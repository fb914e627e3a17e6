//! A float32 network that is made ready to be quantised.

use prost::Message as _;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{GraphProto, ModelProto, TensorShapeProto, type_proto};

use crate::load_options::{KernelChoice, LoadOptions};
use crate::network::{Network, isa_of};

use super::correct::{FloatConv, geometry};
use super::fold::fold;
use super::observe::Geometry;
use super::opset::raise_opset;
use super::placement::{Placement, place};
use super::proto::{float_value, is_external, name_of};
use super::segments::{Segment, segments};

/// Operators that only quantised files have.
const OF_QUANTIZED_FILES: [&str; 8] = [
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearAdd",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
];

/// The network, where it is to be quantised, and the engine that runs it in float32.
#[derive(Debug)]
pub(super) struct FloatModel {
    /// Without its graph.
    pub model: ModelProto,
    pub graph: GraphProto,
    pub placement: Placement,
    pub segments: Vec<Segment>,
    /// Shapes of the rounded values.
    pub shapes: Vec<Vec<usize>>,
    /// For each convolution which pixels it reads.
    pub geometry: Vec<Geometry>,
    pub convs: Vec<FloatConv>,
    /// Computes the outputs of the file, then the rounded values at `observed`.
    pub network: Network,
    /// For each rounded value which output of the network it is; none for the picture itself.
    pub observed: Vec<Option<usize>>,
}

impl FloatModel {
    /// Reads the file, at the input size `(rows, columns)` where one is given.
    ///
    /// # Errors
    /// When it is damaged, not in float32, or has nothing that can be quantised.
    pub fn read(
        bytes: &[u8],
        input_size: Option<(usize, usize)>,
        kernels: KernelChoice,
    ) -> Result<Self, String> {
        let mut model =
            ModelProto::decode(bytes).map_err(|error| format!("not an ONNX file: {error}"))?;
        let graph = model.graph.as_ref().ok_or("the file holds no graph")?;
        check(graph)?;
        raise_opset(&mut model)?;
        let mut graph = model.graph.take().unwrap_or_default();
        fold(&mut graph);
        let [input] = &mut graph.input[..] else {
            let count = graph.input.len();
            return Err(format!("the model has {count} inputs, expected one"));
        };
        let of_file = (input.name.clone(), declared_shape(input));
        if let Some((rows, columns)) = input_size
            && of_file
                .1
                .as_deref()
                .is_none_or(|s| s.get(2..) != Some(&[rows, columns]))
        {
            *input = float_value(&of_file.0, Some(&[1, 3, rows, columns]));
            for output in &mut graph.output {
                *output = float_value(&output.name, None);
            }
            graph.value_info.clear();
        }
        let placement = place(&graph)?;
        let segments = segments(&graph, &placement)?;
        let (network, observed) = observing(&model, &graph, &placement, kernels)?;
        let shapes: Vec<Vec<usize>> = observed
            .iter()
            .map(|index| match index {
                Some(index) => network.outputs()[*index].shape.clone(),
                None => network.input().shape.clone(),
            })
            .collect();
        for (output, info) in graph.output.iter_mut().zip(network.outputs()) {
            *output = float_value(&output.name, Some(&info.shape));
        }
        let of_convs = placement.convs.iter();
        let geometry = of_convs
            .clone()
            .map(|conv| geometry(&graph.node[conv.node], conv, &shapes[conv.input]))
            .collect::<Result<_, _>>()?;
        let convs = of_convs
            .map(|conv| FloatConv::of(&graph, conv))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            model,
            graph,
            placement,
            segments,
            shapes,
            geometry,
            convs,
            network,
            observed,
        })
    }
}

impl FloatModel {
    /// The whole file.
    pub fn with_graph(&self) -> ModelProto {
        ModelProto {
            graph: Some(self.graph.clone()),
            ..self.model.clone()
        }
    }
}

fn check(graph: &GraphProto) -> Result<(), String> {
    if let Some(node) = graph
        .node
        .iter()
        .find(|node| OF_QUANTIZED_FILES.contains(&node.op_type.as_str()))
    {
        return Err(format!(
            "the model is quantised already ({} {}); a float32 model is needed",
            node.op_type,
            name_of(node)
        ));
    }
    if graph.initializer.iter().any(is_external) {
        return Err(
            "the weights lie in a file of their own (external data): save the model as one file"
                .to_owned(),
        );
    }
    Ok(())
}

/// The shape that the file declares, if it is fixed.
fn declared_shape(value: &tract_onnx::pb::ValueInfoProto) -> Option<Vec<usize>> {
    let type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    let TensorShapeProto { dim } = tensor.shape.as_ref()?;
    let size = |dim: &Dimension| match dim.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok(),
        _ => None,
    };
    dim.iter().map(size).collect()
}

/// The network with the values that are to be rounded as further outputs, and which those are.
fn observing(
    model: &ModelProto,
    graph: &GraphProto,
    placement: &Placement,
    kernels: KernelChoice,
) -> Result<(Network, Vec<Option<usize>>), String> {
    let mut graph = graph.clone();
    let picture = graph.input[0].name.clone();
    let observed = placement
        .values
        .iter()
        .map(|name| {
            if *name == picture {
                return None;
            }
            let known = graph.output.iter().position(|output| output.name == *name);
            Some(known.unwrap_or_else(|| {
                graph.output.push(float_value(name, None));
                graph.output.len() - 1
            }))
        })
        .collect();
    let file = ModelProto {
        graph: Some(graph),
        ..model.clone()
    };
    Ok((load(&file, kernels)?, observed))
}

/// Loads a network, or part of one.
pub(super) fn load(file: &ModelProto, kernels: KernelChoice) -> Result<Network, String> {
    let options = LoadOptions {
        kernels,
        ..LoadOptions::default()
    };
    let isa = isa_of(kernels).map_err(|error| error.to_string())?;
    Network::of_bytes(&file.encode_to_vec(), isa, &options)
}
