//! Graph partitioning: subgraphs that the kernels support become custom operators in tract's
//! graph.
//!
//! Nodes are put on levels so that a level holds either only supported nodes or only unsupported
//! ones, and no path leaves a level and comes back to it. All nodes of a supported level then
//! become one [`KernelSubgraph`] operator with a program and an arena of its own. A network that is
//! supported as a whole needs no tract at run time: a session runs its program directly.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tract_onnx::prelude::{
    DatumType, SpecialOps as _, TValue, Tensor, TractResult, TypedFact, TypedModel, tvec,
};
use tract_onnx::tract_core::internal::{
    EvalContext, EvalOp, LaneId, Op, OpState, StaticName, TVec, TypedOp, bail, not_out_of_plan,
    op_as_typed_op,
};
use tract_onnx::tract_core::model::DatumTypeExt as _;
use tract_onnx::tract_core::model::{OutletId, TypedNode};
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;

use crate::fuse::fuse;
use crate::graph::{Graph, Node, Op as GraphOp, ValueId};
use crate::import::{ImportedNode, import, shape_of};
use crate::kernels::{Arena, ThreadPool};
use crate::lower_bf16::lower_bf16;
use crate::lower_int8::{drop_rounding, lower_int8, take_codes_as_input};
use crate::onnx::one_line;
use crate::plan::{ExecutionPlan, InputBinding, PlanOptions, plan};
use crate::precision::NumberFormat;
use crate::qdq::WeightScales;

/// A partitioned network.
pub(super) enum Partitioned {
    /// The kernels run the whole graph.
    Whole(Box<ExecutionPlan>),
    /// tract runs the graph, with the supported subgraphs as custom operators.
    Mixed(TypedModel),
}

/// Partitions the graph, whose quantised weights have the scales `weight_scales`. `prepare` may change the fused graph before it is compiled; it is only
/// called for a network that the kernels run as a whole.
pub(super) fn partition(
    model: &TypedModel,
    weight_scales: &WeightScales,
    options: PlanOptions,
    prepare: &mut dyn FnMut(&mut Graph),
) -> Result<Partitioned, String> {
    let order = model.eval_order().map_err(one_line)?;
    let mut supported: HashMap<usize, ImportedNode> = HashMap::new();
    let mut levels: HashMap<usize, usize> = HashMap::new();
    let mut by_level: Vec<(bool, Vec<usize>)> = Vec::new();
    for id in order {
        let node = model.node(id);
        if node.op.is::<Const>() || node.op.is::<TypedSource>() || is_constant(model, node) {
            continue;
        }
        let imported = import(model, node, weight_scales);
        let kernels = imported.is_some();
        // The kernels run the even levels, tract the odd ones.
        let level = node
            .inputs
            .iter()
            .filter_map(|input| levels.get(&input.node))
            .map(|level| level + usize::from((level % 2 == 0) != kernels))
            .max()
            .unwrap_or(usize::from(!kernels));
        levels.insert(id, level);
        while by_level.len() <= level {
            by_level.push((by_level.len().is_multiple_of(2), Vec::new()));
        }
        by_level[level].1.push(id);
        if let Some(imported) = imported {
            supported.insert(id, imported);
        }
    }
    by_level.retain(|(_, nodes)| !nodes.is_empty());
    if let [(true, nodes)] = &by_level[..] {
        let (mut graph, inputs, outputs) = subgraph(model, nodes, &supported)?;
        // The operator's outputs are in the order of the nodes; the network's may differ.
        let ordered: Option<Vec<ValueId>> = model
            .outputs
            .iter()
            .map(|outlet| {
                outputs
                    .iter()
                    .position(|o| o == outlet)
                    .map(|i| graph.outputs[i])
            })
            .collect();
        if let (true, Some(ordered)) = (inputs == model.inputs, ordered) {
            graph.outputs = ordered;
            if options.format != NumberFormat::Int8 {
                drop_rounding(&mut graph);
            }
            fuse(&mut graph);
            prepare(&mut graph);
            lower(&mut graph, options.format);
            take_codes_as_input(&mut graph);
            let plan = plan(&graph, options)?;
            return Ok(Partitioned::Whole(Box::new(plan)));
        }
    }
    mixed(model, &by_level, &supported, options).map(Partitioned::Mixed)
}

/// Lowers a fused graph to the number format that it runs in.
fn lower(graph: &mut Graph, format: NumberFormat) {
    match format {
        NumberFormat::F32 => {}
        NumberFormat::Int8 => lower_int8(graph),
        NumberFormat::Bf16 => lower_bf16(graph),
    }
}

fn is_constant(model: &TypedModel, node: &TypedNode) -> bool {
    model
        .outlet_fact(OutletId::new(node.id, 0))
        .is_ok_and(|fact| fact.konst.is_some())
}

/// The nodes as a graph, with its inputs and outputs in tract's graph.
fn subgraph(
    model: &TypedModel,
    nodes: &[usize],
    supported: &HashMap<usize, ImportedNode>,
) -> Result<(Graph, Vec<OutletId>, Vec<OutletId>), String> {
    let mut graph = Graph::default();
    let mut values: HashMap<OutletId, ValueId> = HashMap::new();
    let mut inputs = Vec::new();
    let mut outputs = Vec::new();
    for id in nodes {
        let imported = &supported[id];
        let mut value_of = |outlet: OutletId| -> Result<ValueId, String> {
            if let Some(value) = values.get(&outlet) {
                return Ok(*value);
            }
            let shape = shape_of(model, outlet).ok_or("an input without a shape")?;
            let value = graph.add_value(shape);
            values.insert(outlet, value);
            inputs.push(outlet);
            graph.inputs.push(value);
            Ok(value)
        };
        let node_inputs = imported
            .inputs
            .iter()
            .map(|i| value_of(*i))
            .collect::<Result<Vec<_>, _>>()?;
        let outlet = OutletId::new(*id, 0);
        let shape = shape_of(model, outlet).ok_or("an output without a shape")?;
        let output = graph.add_value(shape);
        values.insert(outlet, output);
        graph.nodes.push(Node {
            name: model.node(*id).name.clone(),
            op: imported.op.clone(),
            inputs: node_inputs,
            output,
        });
        let read_outside = model.outputs.contains(&outlet)
            || model.node(*id).outputs[0]
                .successors
                .iter()
                .any(|s| !nodes.contains(&s.node));
        if read_outside {
            outputs.push(outlet);
            graph.outputs.push(output);
        }
    }
    Ok((graph, inputs, outputs))
}

fn mixed(
    model: &TypedModel,
    by_level: &[(bool, Vec<usize>)],
    supported: &HashMap<usize, ImportedNode>,
    options: PlanOptions,
) -> Result<TypedModel, String> {
    let mut new = TypedModel {
        symbols: model.symbols.clone(),
        ..TypedModel::default()
    };
    let mut wires: HashMap<OutletId, OutletId> = HashMap::new();
    for input in &model.inputs {
        let fact = model.outlet_fact(*input).map_err(one_line)?;
        let node = model.node(input.node);
        // The declared shape and type, without a known value.
        let fact = fact.without_value();
        wires.insert(*input, new.add_source(&node.name, fact).map_err(one_line)?);
    }
    let wire = |new: &mut TypedModel,
                wires: &mut HashMap<OutletId, OutletId>,
                outlet: OutletId|
     -> Result<OutletId, String> {
        if let Some(wired) = wires.get(&outlet) {
            return Ok(*wired);
        }
        let fact = model.outlet_fact(outlet).map_err(one_line)?;
        let value = fact
            .konst
            .clone()
            .ok_or("a value is read before it is computed")?;
        let name = format!("{}.{}", model.node(outlet.node).name, outlet.slot);
        let wired = new.add_const(name, value).map_err(one_line)?;
        wires.insert(outlet, wired);
        Ok(wired)
    };
    for (kernels, nodes) in by_level {
        let has_conv = nodes.iter().any(|id| {
            supported
                .get(id)
                .is_some_and(|imported| matches!(imported.op, GraphOp::Conv(_)))
        });
        if *kernels && has_conv {
            let (mut graph, inputs, outputs) = subgraph(model, nodes, supported)?;
            let shapes: Vec<_> = graph
                .outputs
                .iter()
                .map(|v| graph.shapes[*v].clone())
                .collect();
            let input_shapes = graph
                .inputs
                .iter()
                .map(|v| graph.shapes[*v].clone())
                .collect();
            if options.format != NumberFormat::Int8 {
                drop_rounding(&mut graph);
            }
            fuse(&mut graph);
            lower(&mut graph, options.format);
            let plan = plan(&graph, options)?;
            let op = KernelSubgraph {
                plan: Arc::new(plan),
                input_shapes,
                shapes,
            };
            let inputs = inputs
                .iter()
                .map(|i| wire(&mut new, &mut wires, *i))
                .collect::<Result<Vec<_>, _>>()?;
            let name = format!("kernels.{}", model.node(nodes[0]).name);
            let wired = new.wire_node(name, op, &inputs).map_err(one_line)?;
            wires.extend(outputs.into_iter().zip(wired));
            continue;
        }
        for id in nodes {
            let node = model.node(*id);
            let inputs = node
                .inputs
                .iter()
                .map(|i| wire(&mut new, &mut wires, *i))
                .collect::<Result<Vec<_>, _>>()?;
            let wired = new
                .wire_node(&node.name, node.op.clone(), &inputs)
                .map_err(one_line)?;
            for (slot, wired) in wired.into_iter().enumerate() {
                wires.insert(OutletId::new(*id, slot), wired);
            }
        }
    }
    let outputs = model
        .outputs
        .iter()
        .map(|o| wire(&mut new, &mut wires, *o))
        .collect::<Result<Vec<_>, _>>()?;
    new.select_output_outlets(&outputs).map_err(one_line)?;
    Ok(new)
}

thread_local! {
    /// Threads of the operator states that this thread creates; see [`with_threads`].
    static THREADS: Cell<usize> = const { Cell::new(1) };
}

/// Creates operator states whose programs run on `threads` threads.
pub(super) fn with_threads<T>(threads: usize, f: impl FnOnce() -> T) -> T {
    let before = THREADS.replace(threads);
    let result = f();
    THREADS.set(before);
    result
}

/// A subgraph that the kernels run, as a custom operator in tract's graph.
#[derive(Clone, Debug)]
pub(super) struct KernelSubgraph {
    pub plan: Arc<ExecutionPlan>,
    input_shapes: Vec<Vec<usize>>,
    shapes: Vec<Vec<usize>>,
}

impl PartialEq for KernelSubgraph {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.plan, &other.plan)
    }
}

impl Eq for KernelSubgraph {}

impl Hash for KernelSubgraph {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.plan).hash(state);
    }
}

impl Op for KernelSubgraph {
    fn name(&self) -> StaticName {
        "MobiLensKernels".into()
    }

    op_as_typed_op!();
}

impl EvalOp for KernelSubgraph {
    not_out_of_plan!();

    fn state(&self, _ctx: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::new(KernelSubgraphState::new(
            self.clone(),
            THREADS.get(),
        )?)))
    }
}

impl TypedOp for KernelSubgraph {
    tract_onnx::tract_core::internal::as_op!();

    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self
            .shapes
            .iter()
            .map(|shape| DatumType::F32.fact(shape))
            .collect())
    }
}

/// Arena and thread pool of the operator.
#[derive(Debug)]
struct KernelSubgraphState {
    op: KernelSubgraph,
    arena: Arena,
    pool: ThreadPool,
}

impl KernelSubgraphState {
    fn new(op: KernelSubgraph, threads: usize) -> TractResult<Self> {
        let arena = op.plan.program.arena(threads);
        Ok(Self {
            op,
            arena,
            pool: ThreadPool::new(threads)?,
        })
    }
}

impl Clone for KernelSubgraphState {
    fn clone(&self) -> Self {
        Self::new(self.op.clone(), self.pool.threads()).expect("threads could be started before")
    }
}

impl OpState for KernelSubgraphState {
    fn eval(
        &mut self,
        _ctx: &EvalContext,
        _op: &dyn Op,
        inputs: TVec<TValue>,
    ) -> TractResult<TVec<TValue>> {
        let plan = &self.op.plan;
        if inputs.len() != plan.inputs.len() {
            bail!("{} inputs instead of {}", inputs.len(), plan.inputs.len());
        }
        for ((input, binding), shape) in inputs.iter().zip(&plan.inputs).zip(&self.op.input_shapes)
        {
            let view = input.to_plain_array_view::<f32>()?;
            let values = view.as_slice().ok_or_else(|| {
                tract_onnx::prelude::TractError::msg("an input is not contiguous")
            })?;
            copy_input(binding, shape, values, self.arena.tensor_mut(binding.slot));
        }
        plan.program.run(&mut self.arena, &mut self.pool);
        let mut results = tvec!();
        for (slot, shape) in plan.outputs.iter().zip(&self.op.shapes) {
            results.push(Tensor::from_shape(shape, self.arena.tensor::<f32>(*slot))?.into());
        }
        Ok(results)
    }

    fn reset_lanes(&mut self, _lanes: &[LaneId]) -> TractResult<()> {
        Ok(())
    }
}

/// Copies an input from the axis order of the file to that of its slot.
pub(super) fn copy_input(binding: &InputBinding, shape: &[usize], from: &[f32], to: &mut [f32]) {
    let order = &binding.order;
    if order.iter().enumerate().all(|(i, axis)| i == *axis) {
        to.copy_from_slice(from);
        return;
    }
    let stride_of = |axis: usize| -> usize { shape[axis + 1..].iter().product() };
    let Some((inner, outer)) = order.split_last() else {
        return;
    };
    let step = stride_of(*inner).max(1);
    for (row, to) in to.chunks_exact_mut(shape[*inner].max(1)).enumerate() {
        let (mut rest, mut at) = (row, 0);
        for axis in outer.iter().rev() {
            at += rest % shape[*axis] * stride_of(*axis);
            rest /= shape[*axis];
        }
        for (to, from) in to.iter_mut().zip(from[at..].iter().step_by(step)) {
            *to = *from;
        }
    }
}
