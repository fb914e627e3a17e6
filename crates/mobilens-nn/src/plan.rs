//! Compiles a graph to a program: memory layout of every value, then fusion by cache size, then
//! memory planning.
//!
//! Feature maps lie in NHWC. A transpose by itself costs nothing: it only changes which axis of
//! the value is which in memory. So are reshapes and slices views of the same memory, by strides. Values are
//! copied to another axis order only where a consumer needs one. The inputs of a concatenation are written
//! straight to their part of its output, without a copy, where that part is contiguous.

use std::collections::HashMap;

use crate::fuse_convolutions::{fuse_clamps_behind_residuals, fuse_convolutions};
use crate::graph::{Graph, Node, Op, ValueId};
use crate::kernels::{BinaryOp, FakeQuantize, IsaSet, Program, Resize, Slot, UnaryOp};
use crate::memory_plan::{
    Allocation, PlannedOp, PlannedOperand, PlannedStep, StepReport, plan_memory, resolve,
};
use crate::plan_int8::global_sum_pool_int8;
use crate::precision::NumberFormat;
use crate::view::View;

/// A compiled graph: the program, and where its inputs and outputs lie in the arena.
#[derive(Debug)]
pub(super) struct ExecutionPlan {
    pub program: Program,
    pub inputs: Vec<InputBinding>,
    pub outputs: Vec<Slot>,
    /// The layers of each step.
    pub reports: Vec<Vec<StepReport>>,
}

/// Slot of an input, and the order of its axes in memory, outermost first.
#[derive(Clone, Debug)]
pub(super) struct InputBinding {
    pub slot: Slot,
    pub order: Vec<usize>,
    /// How the values are rounded, where the slot holds codes.
    pub rounding: Option<FakeQuantize>,
}

/// Compilation options.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlanOptions {
    pub isa: IsaSet,
    /// Number format of the convolutions.
    pub format: NumberFormat,
    /// Two convolutions are fused where the value between them has more bytes than this.
    pub fusion_bytes: usize,
    /// Scratch memory of a fused convolution in each thread, in bytes.
    pub scratch_bytes: usize,
}

impl PlanOptions {
    /// What measured best.
    pub fn new(isa: IsaSet, format: NumberFormat) -> Self {
        Self {
            isa,
            format,
            fusion_bytes: 400 << 10,
            scratch_bytes: 384 << 10,
        }
    }
}

/// Memory layout of a value: its allocation, and the order of its axes, outermost first.
#[derive(Clone, Debug)]
pub(super) struct ValueLayout {
    pub allocation: usize,
    pub order: Vec<usize>,
}

pub(super) struct Planner<'a> {
    pub(super) graph: &'a Graph,
    pub(super) isa: IsaSet,
    pub(super) allocations: Vec<Allocation>,
    pub(super) layouts: HashMap<ValueId, ValueLayout>,
    /// Values that lie in others' memory.
    pub(super) views: HashMap<ValueId, View>,
    /// Copies of values in another axis order.
    pub(super) transposed: HashMap<(ValueId, Vec<usize>), usize>,
    steps: Vec<PlannedStep>,
}

/// Compiles the graph.
pub(super) fn plan(graph: &Graph, options: PlanOptions) -> Result<ExecutionPlan, String> {
    let mut planner = Planner {
        graph,
        isa: options.isa,
        allocations: Vec::new(),
        layouts: HashMap::new(),
        views: HashMap::new(),
        transposed: HashMap::new(),
        steps: Vec::new(),
    };
    for input in &graph.inputs {
        let order = input_order(graph, *input);
        let allocation = planner.allocate(graph.bytes_of(*input));
        planner
            .layouts
            .insert(*input, ValueLayout { allocation, order });
    }
    for node in &graph.nodes {
        planner.node(node)?;
    }
    let outputs = graph
        .outputs
        .iter()
        .map(|value| {
            let order: Vec<usize> = (0..graph.shapes[*value].len()).collect();
            planner.in_order(*value, &order)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let inputs: Vec<_> = graph
        .inputs
        .iter()
        .map(|v| planner.layouts[v].clone())
        .collect();
    fuse_clamps_behind_residuals(&planner.allocations, &mut planner.steps, &outputs);
    fuse_convolutions(
        &planner.allocations,
        &mut planner.steps,
        &outputs,
        options.fusion_bytes,
    );
    let input_allocations: Vec<usize> = inputs.iter().map(|layout| layout.allocation).collect();
    let (slots, arena_len) = plan_memory(
        &planner.allocations,
        &planner.steps,
        &input_allocations,
        &outputs,
    );
    let mut steps = Vec::new();
    let mut reports = Vec::new();
    for step in planner.steps {
        steps.push(resolve(
            step.op,
            &slots,
            slots[step.output],
            options.scratch_bytes,
        ));
        reports.push(step.reports);
    }
    Ok(ExecutionPlan {
        program: Program::new(steps, arena_len, options.isa),
        inputs: inputs
            .into_iter()
            .zip(&graph.inputs)
            .map(|(layout, value)| InputBinding {
                slot: slots[layout.allocation],
                order: layout.order,
                rounding: graph.input_roundings.get(value).copied(),
            })
            .collect(),
        outputs: outputs
            .iter()
            .map(|allocation| slots[*allocation])
            .collect(),
        reports,
    })
}

/// NHWC where the first consumer works on feature maps, else the axis order of the file.
fn input_order(graph: &Graph, input: ValueId) -> Vec<usize> {
    let consumer = graph.nodes.iter().find(|node| node.inputs.contains(&input));
    match consumer.map(|node| &node.op) {
        Some(
            Op::Conv(_)
            | Op::ConvInt8(_)
            | Op::Resize(_)
            | Op::Quantize(_)
            | Op::FakeQuantize(_)
            | Op::Pad { .. }
            | Op::Pool { .. }
            | Op::ResizeNearest { .. }
            | Op::Focus
            | Op::ToBf16,
        ) if graph.shapes[input].len() == 4 => NHWC.to_vec(),
        _ => (0..graph.shapes[input].len()).collect(),
    }
}

/// The axes of `[1, c, h, w]` with the channels innermost.
pub(super) const NHWC: [usize; 4] = [0, 2, 3, 1];

/// The order without axes of size 1, which do not matter in memory.
pub(super) fn nontrivial_axes(order: &[usize], shape: &[usize]) -> Vec<usize> {
    order
        .iter()
        .copied()
        .filter(|axis| shape[*axis] != 1)
        .collect()
}

impl Planner<'_> {
    /// Memory of `len` bytes.
    pub(super) fn allocate(&mut self, len: usize) -> usize {
        self.allocations.push(Allocation { len, parent: None });
        self.allocations.len() - 1
    }

    pub(super) fn layout(&self, value: ValueId) -> Result<&ValueLayout, String> {
        self.layouts
            .get(&value)
            .ok_or_else(|| format!("value {value} is read before it is computed"))
    }

    pub(super) fn push(&mut self, op: PlannedOp, output: usize, reports: Vec<StepReport>) {
        self.steps.push(PlannedStep {
            op,
            output,
            reports,
        });
    }

    /// The order of the value's axes with the channels innermost.
    pub(super) fn channels_last(&self, value: ValueId) -> Vec<usize> {
        match self.graph.shapes[value].len() {
            4 => NHWC.to_vec(),
            rank => (0..rank).collect(),
        }
    }

    pub(super) fn define(&mut self, value: ValueId, order: Vec<usize>) -> usize {
        let allocation = self.allocate(self.graph.bytes_of(value));
        self.layouts
            .insert(value, ValueLayout { allocation, order });
        allocation
    }

    fn node(&mut self, node: &Node) -> Result<(), String> {
        let graph = self.graph;
        let shape = &graph.shapes[node.output];
        let input_shape = &graph.shapes[node.inputs[0]];
        self.settle_inputs(node)?;
        let one_report = |op| vec![report(&node.name, op, shape, 0, 0)];
        match &node.op {
            Op::Conv(conv) => self.conv(node, conv, None)?,
            Op::ConvBf16 { conv, float_output } => self.conv(node, conv, Some(*float_output))?,
            Op::ToBf16 | Op::FromBf16 => self.convert_bf16(node)?,
            Op::Affine { mul, add } => {
                let order = if mul.len() == 1 {
                    self.layout(node.inputs[0])?.order.clone()
                } else {
                    self.channels_innermost(node.inputs[0])?
                };
                let input = self.in_order(node.inputs[0], &order)?;
                let scaled = self.allocate(graph.bytes_of(node.output));
                let constant = |values: &[f32]| PlannedOperand::Constant(values.to_vec());
                let (mul, add) = (constant(mul), constant(add));
                self.push(
                    PlannedOp::Binary(BinaryOp::Mul, input, mul),
                    scaled,
                    one_report("affine"),
                );
                let output = self.define(node.output, order);
                self.push(
                    PlannedOp::Binary(BinaryOp::Add, scaled, add),
                    output,
                    Vec::new(),
                );
            }
            Op::PRelu(slopes) => {
                let order = self.channels_innermost(node.inputs[0])?;
                let input = self.in_order(node.inputs[0], &order)?;
                let output = self.define(node.output, order);
                let slopes = PlannedOperand::Constant(slopes.clone());
                let op = PlannedOp::Binary(BinaryOp::PRelu, input, slopes);
                self.push(op, output, one_report("prelu"));
            }
            Op::Unary(function) => self.unary(node, *function, "unary")?,
            Op::FakeQuantize(rounding) => {
                self.unary(node, UnaryOp::FakeQuantize(*rounding), "fake quantize")?;
            }
            Op::Binary(function) => {
                let same = graph.shapes[node.inputs[1]] == *input_shape;
                let order = if same {
                    self.layout(node.inputs[0])?.order.clone()
                } else {
                    NHWC.to_vec()
                };
                let left = self.in_order(node.inputs[0], &order)?;
                let right = self.in_order(node.inputs[1], &order)?;
                let output = self.define(node.output, order);
                let op = PlannedOp::Binary(*function, left, PlannedOperand::Allocation(right));
                self.push(op, output, one_report("binary"));
            }
            Op::GlobalSumPool => {
                let input = self.in_order(node.inputs[0], &NHWC)?;
                let output = self.define(node.output, NHWC.to_vec());
                let op = match graph.codes.get(&node.inputs[0]) {
                    Some(codes) => PlannedOp::Int8(global_sum_pool_int8(*codes), input),
                    None => PlannedOp::GlobalSumPool(input),
                };
                self.push(op, output, one_report("global sum pool"));
            }
            Op::Transpose { .. } | Op::Reshape | Op::Slice { .. } => self.view_node(node)?,
            Op::Pad { .. }
            | Op::Pool { .. }
            | Op::ResizeNearest { .. }
            | Op::DepthToSpace { .. }
            | Op::Focus
            | Op::ConvTranspose(_) => self.node_layout(node)?,
            Op::Softmax { .. }
            | Op::Reduce { .. }
            | Op::LayerNorm(_)
            | Op::Broadcast(_)
            | Op::BroadcastConstant(_)
            | Op::MatMul
            | Op::Attention(_) => self.tensor_node(node)?,
            Op::Linear(_) => {
                return Err(format!("{}: a matrix product in {shape:?}", node.name));
            }
            Op::Concat { axis } => self.concat(node, *axis)?,
            Op::Expand => {
                let input = self.in_order(node.inputs[0], &NHWC)?;
                let output = self.define(node.output, NHWC.to_vec());
                let (rows, len) = (
                    shape[2] * shape[3],
                    shape[1] * graph.element_size(node.output),
                );
                let op = PlannedOp::StridedCopy {
                    input,
                    rows,
                    len,
                    input_stride: 0,
                    output_stride: len,
                };
                self.push(op, output, one_report("expand"));
            }
            Op::Quantize(_)
            | Op::Dequantize
            | Op::ConvInt8(_)
            | Op::BinaryInt8(_)
            | Op::Lookup(_)
            | Op::ResizeInt8 { .. } => self.node_int8(node)?,
            Op::Resize(indices) => {
                let input = self.in_order(node.inputs[0], &NHWC)?;
                let output = self.define(node.output, NHWC.to_vec());
                let resize = Resize {
                    input: Slot::default(),
                    output: Slot::default(),
                    input_row: input_shape[3] * input_shape[1],
                    channels: shape[1],
                    rows: indices.rows.clone(),
                    columns: indices.columns.clone(),
                };
                self.push(
                    PlannedOp::Resize { input, resize },
                    output,
                    one_report("resize"),
                );
            }
        }
        Ok(())
    }

    fn unary(&mut self, node: &Node, function: UnaryOp, op: &'static str) -> Result<(), String> {
        let ValueLayout { allocation, order } = self.layout(node.inputs[0])?.clone();
        let output = self.define(node.output, order);
        let shape = &self.graph.shapes[node.output];
        let reports = vec![report(&node.name, op, shape, 0, 0)];
        self.push(PlannedOp::Unary(function, allocation), output, reports);
        Ok(())
    }

    /// Concatenates values; inputs whose part of the output is contiguous are computed in place.
    fn concat(&mut self, node: &Node, axis: usize) -> Result<(), String> {
        let graph = self.graph;
        let shape = &graph.shapes[node.output];
        let order = self.layout(node.inputs[0])?.order.clone();
        let position = order
            .iter()
            .position(|a| *a == axis)
            .ok_or("concatenation along an axis that does not exist")?;
        let element = graph.element_size(node.output);
        let inner: usize = order[position + 1..].iter().map(|a| shape[*a]).product();
        let inner = inner * element;
        let outer: usize = order[..position].iter().map(|a| shape[*a]).product();
        let row = inner * shape[axis];
        let output = self.define(node.output, order.clone());
        let mut offset = 0;
        for input in &node.inputs {
            let allocation = self.in_order(*input, &order)?;
            let len = inner * graph.shapes[*input][axis];
            let can_move = self.allocations[allocation].parent.is_none()
                && self.allocations[allocation].len == len
                && self.steps.iter().any(|step| step.output == allocation);
            if outer == 1 && can_move {
                self.allocations[allocation].parent = Some((output, offset));
            } else {
                // A part of the output, so that the copy has an allocation of its own to name.
                let part = self.allocate((outer - 1) * row + len);
                self.allocations[part].parent = Some((output, offset));
                let op = PlannedOp::StridedCopy {
                    input: allocation,
                    rows: outer,
                    len,
                    input_stride: len,
                    output_stride: row,
                };
                let reports = vec![report(&node.name, "concat", shape, 0, 0)];
                self.push(op, part, reports);
            }
            offset += len;
        }
        Ok(())
    }
}

pub(super) fn report(
    name: &str,
    op: &'static str,
    shape: &[usize],
    macs: u64,
    parameters: u64,
) -> StepReport {
    StepReport {
        name: name.to_owned(),
        op,
        output_shape: shape.to_vec(),
        macs,
        parameters,
        format: NumberFormat::F32,
    }
}
