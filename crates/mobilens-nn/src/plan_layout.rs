//! Planning of pooling, padding, nearest neighbour resize and depth to space.

use crate::graph::{Node, Op, ValueId};
use crate::kernels::{FeatureMapOp, Nearest, Operator, Pad, Pool, PoolFunction, PoolTaps, Slot};
use crate::memory_plan::PlannedOp;
use crate::plan::{NHWC, Planner, ValueLayout, nontrivial_axes, report};

impl Planner<'_> {
    /// Plans a node of one of these operators.
    pub(super) fn node_layout(&mut self, node: &Node) -> Result<(), String> {
        match &node.op {
            Op::Pad { before, value } => self.pad(node, before, *value),
            Op::Pool {
                function,
                rows,
                columns,
            } => self.pool(node, *function, rows, columns),
            Op::ResizeNearest { rows, columns } => self.nearest(node, rows, columns),
            Op::DepthToSpace { rows, columns } => self.depth_to_space(node, *rows, *columns),
            Op::Focus => self.focus(node),
            _ => Err(format!("{}: an operator that cannot be planned", node.name)),
        }
    }

    /// The value's own axis order where the channels are innermost in it, else NHWC.
    pub(super) fn channels_innermost(&self, value: ValueId) -> Result<Vec<usize>, String> {
        let shape = &self.graph.shapes[value];
        let order = self.view(value)?.natural_order();
        if shape.len() == 4 && nontrivial_axes(&order, shape).last() == Some(&1) {
            return Ok(order);
        }
        Ok(self.channels_last(value))
    }

    /// A step of one input.
    fn one_input(
        &mut self,
        node: &Node,
        (name, order): (&'static str, Vec<usize>),
        input: usize,
        build: impl FnOnce(Slot, Slot) -> Operator + 'static,
    ) {
        let output = self.define(node.output, order);
        let reports = vec![report(
            &node.name,
            name,
            &self.graph.shapes[node.output],
            0,
            0,
        )];
        let op = PlannedOp::OneInput(input, Box::new(build));
        self.push(op, output, reports);
    }

    fn pad(&mut self, node: &Node, before: &[usize], value: f32) -> Result<(), String> {
        let graph = self.graph;
        let (from, to) = (&graph.shapes[node.inputs[0]], &graph.shapes[node.output]);
        let ValueLayout { allocation, order } = self.layout(node.inputs[0])?.clone();
        let in_order = |sizes: &[usize]| order.iter().map(|axis| sizes[*axis]).collect();
        let pad = Pad {
            element: graph.element_size(node.output),
            sizes: in_order(from),
            before: in_order(before),
            output: in_order(to),
            value,
        };
        self.one_input(node, ("pad", order), allocation, |input, output| {
            Operator::FeatureMap(FeatureMapOp::Pad { pad, input, output })
        });
        Ok(())
    }

    fn pool(
        &mut self,
        node: &Node,
        function: PoolFunction,
        rows: &[PoolTaps],
        columns: &[PoolTaps],
    ) -> Result<(), String> {
        let shape = &self.graph.shapes[node.inputs[0]];
        let pool = Pool {
            input: Slot::default(),
            output: Slot::default(),
            function,
            codes: self.graph.codes.contains_key(&node.output),
            width: shape[3],
            channels: shape[1],
            rows: rows.to_vec(),
            columns: columns.to_vec(),
        };
        let name = match function {
            PoolFunction::Max => "max pool",
            PoolFunction::Average => "average pool",
        };
        let from = self.in_order(node.inputs[0], &NHWC)?;
        self.one_input(node, (name, NHWC.to_vec()), from, move |input, output| {
            Operator::FeatureMap(FeatureMapOp::Pool(Pool {
                input,
                output,
                ..pool
            }))
        });
        Ok(())
    }

    fn nearest(&mut self, node: &Node, rows: &[usize], columns: &[usize]) -> Result<(), String> {
        let shape = &self.graph.shapes[node.inputs[0]];
        let resize = Nearest {
            width: shape[3],
            pixel: shape[1] * self.graph.element_size(node.output),
            rows: rows.to_vec(),
            columns: columns.to_vec(),
        };
        let from = self.in_order(node.inputs[0], &NHWC)?;
        self.one_input(node, ("resize", NHWC.to_vec()), from, |input, output| {
            Operator::FeatureMap(FeatureMapOp::Nearest {
                resize,
                input,
                output,
            })
        });
        Ok(())
    }

    /// A transpose of the blocks' pixels.
    fn depth_to_space(&mut self, node: &Node, rows: usize, columns: usize) -> Result<(), String> {
        let graph = self.graph;
        let (from, to) = (&graph.shapes[node.inputs[0]], &graph.shapes[node.output]);
        let (deep, c, h, w) = (from[1], to[1], from[2], from[3]);
        let input = self.in_order(node.inputs[0], &NHWC)?;
        let output = self.define(node.output, NHWC.to_vec());
        let op = PlannedOp::Transpose {
            input,
            element: graph.element_size(node.output),
            sizes: vec![h, rows, w, columns * c],
            strides: vec![w * deep, columns * c, deep, 1],
        };
        let reports = vec![report(&node.name, "depth to space", to, 0, 0)];
        self.push(op, output, reports);
        Ok(())
    }

    fn focus(&mut self, node: &Node) -> Result<(), String> {
        let graph = self.graph;
        let (from, to) = (&graph.shapes[node.inputs[0]], &graph.shapes[node.output]);
        let (c, w) = (from[1], from[3]);
        let input = self.in_order(node.inputs[0], &NHWC)?;
        let output = self.define(node.output, NHWC.to_vec());
        let op = PlannedOp::Transpose {
            input,
            element: graph.element_size(node.output),
            sizes: vec![to[2], to[3], 2, 2, c],
            strides: vec![2 * w * c, 2 * c, c, w * c, 1],
        };
        let reports = vec![report(&node.name, "space to depth", to, 0, 0)];
        self.push(op, output, reports);
        Ok(())
    }
}
