//! Layer reports: what a network consists of and what runs each layer, for `mobilens inspect`.

use tract_onnx::prelude::{DatumType, TypedModel};
use tract_onnx::tract_core::internal::Cost;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;

use crate::partition::KernelSubgraph;
use crate::plan::ExecutionPlan;
use crate::precision::NumberFormat;

/// What one layer of a network is and what runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// Name of the node in the ONNX file.
    pub name: String,
    /// The operator.
    pub op: String,
    /// Instruction set of the kernel: `portable`, `avx2` or `avx512`, for int8 also `avxvnni`,
    /// `avx512vnni` or `amx_int8`; or `tract`.
    pub runs_on: &'static str,
    /// Number format that it works in: `f32` or `int8`.
    pub precision: &'static str,
    /// Execution step; layers that are fused share one.
    pub step: usize,
    /// Shape of the output.
    pub output_shape: Vec<usize>,
    /// Multiply-accumulates (MACs) of one inference.
    pub macs: u64,
    /// Number of parameters.
    pub parameters: u64,
}

/// The layers of a program.
pub(super) fn layers_of_plan(plan: &ExecutionPlan) -> Vec<LayerReport> {
    let isa = plan.program.isa();
    let steps = plan.reports.iter().enumerate();
    steps
        .flat_map(|(step, layers)| {
            layers.iter().map(move |layer| LayerReport {
                name: layer.name.clone(),
                op: layer.op.to_owned(),
                runs_on: match layer.format {
                    NumberFormat::F32 => isa.float.name(),
                    NumberFormat::Int8 => isa.int8.name(),
                    NumberFormat::Bf16 => isa.bf16.name(),
                },
                precision: layer.format.name(),
                step,
                output_shape: layer.output_shape.clone(),
                macs: layer.macs,
                parameters: layer.parameters,
            })
        })
        .collect()
}

/// The layers of tract's graph, with those of the kernel subgraphs in it.
pub(super) fn layers_of_model(model: &TypedModel) -> Vec<LayerReport> {
    let mut layers = Vec::new();
    for node in &model.nodes {
        if node.op.is::<Const>() || node.op.is::<TypedSource>() {
            continue;
        }
        let step = layers.last().map_or(0, |l: &LayerReport| l.step + 1);
        if let Some(subgraph) = node.op.downcast_ref::<KernelSubgraph>() {
            let own = layers_of_plan(&subgraph.plan);
            layers.extend(own.into_iter().map(|l| LayerReport {
                step: l.step + step,
                ..l
            }));
            continue;
        }
        let facts = model.node_input_facts(node.id).unwrap_or_default();
        let costs = node.op.cost(&facts).unwrap_or_default();
        let count = |wanted: &dyn Fn(&Cost) -> bool| -> u64 {
            let costs = costs.iter().filter(|(cost, _)| wanted(cost));
            costs
                .filter_map(|(_, n)| n.to_i64().ok())
                .map(|n| n.unsigned_abs())
                .sum()
        };
        layers.push(LayerReport {
            name: node.name.clone(),
            op: node.op.name().into_owned(),
            runs_on: "tract",
            precision: "f32",
            step,
            output_shape: node
                .outputs
                .first()
                .and_then(|o| o.fact.shape.as_concrete().map(<[usize]>::to_vec))
                .unwrap_or_default(),
            macs: count(&|cost| *cost == Cost::FMA(DatumType::F32)),
            parameters: count(&|cost| *cost == Cost::Params(DatumType::F32)),
        });
    }
    layers
}
