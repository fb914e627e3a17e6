//! What a network consists of and what runs where, for `mobilens inspect`.

use tract_onnx::prelude::{DatumType, TypedModel};
use tract_onnx::tract_core::internal::Cost;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;

use crate::plan::Plan;
use crate::rewrite::Fused;

/// What one layer of a network is and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// The node's name in the file.
    pub name: String,
    /// What it computes.
    pub op: String,
    /// `avx2`, `avx512` or `portable` for the kernels, or `tract`.
    pub runs_on: &'static str,
    /// Which layers run together: those with one number share it.
    pub step: usize,
    /// Shape of its output.
    pub output_shape: Vec<usize>,
    /// Multiplications with addition, a frame.
    pub macs: u64,
    /// Trained values.
    pub parameters: u64,
}

/// The layers of a program of the kernels.
pub(super) fn layers_of_plan(plan: &Plan) -> Vec<LayerReport> {
    let runs_on = plan.program.isa().name();
    let steps = plan.reports.iter().enumerate();
    steps
        .flat_map(|(step, layers)| {
            layers.iter().map(move |layer| LayerReport {
                name: layer.name.clone(),
                op: layer.op.to_owned(),
                runs_on,
                step,
                output_shape: layer.output_shape.clone(),
                macs: layer.macs,
                parameters: layer.parameters,
            })
        })
        .collect()
}

/// The layers of tract's graph, with those of the kernels' operators in it.
pub(super) fn layers_of_model(model: &TypedModel) -> Vec<LayerReport> {
    let mut layers = Vec::new();
    for node in &model.nodes {
        if node.op.is::<Const>() || node.op.is::<TypedSource>() {
            continue;
        }
        let step = layers.last().map_or(0, |l: &LayerReport| l.step + 1);
        if let Some(fused) = node.op.downcast_ref::<Fused>() {
            let own = layers_of_plan(&fused.plan);
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
