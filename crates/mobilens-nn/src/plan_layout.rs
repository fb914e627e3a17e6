//! Planning of operators that move values: slices, reshapes, padding, depth to space; and of pooling and softmax.

use crate::graph::{Node, Op, ValueId};
use crate::kernels::{
    BinaryOp, FeatureMapOp, Nearest, Operator, Pad, Pool, PoolFunction, PoolTaps, Slot, Softmax,
};
use crate::memory_plan::{PlannedOp, PlannedOperand};
use crate::plan::{NHWC, Planner, ValueLayout, nontrivial_axes, report};

impl Planner<'_> {
    /// Plans a node of one of these operators.
    pub(super) fn node_layout(&mut self, node: &Node) -> Result<(), String> {
        match &node.op {
            Op::Slice { axis, start, step } => self.slice(node, *axis, *start, *step),
            Op::Reshape => self.reshape(node),
            Op::Pad { before, value } => self.pad(node, before, *value),
            Op::Pool {
                function,
                rows,
                columns,
            } => self.pool(node, *function, rows, columns),
            Op::ResizeNearest { rows, columns } => self.nearest(node, rows, columns),
            Op::DepthToSpace { rows, columns } => self.depth_to_space(node, *rows, *columns),
            Op::Focus => self.focus(node),
            Op::Softmax { axis } => self.softmax(node, *axis),
            Op::BinaryConstant { function, values } => {
                self.binary_constant(node, *function, values)
            }
            _ => Err(format!("{}: an operator that cannot be planned", node.name)),
        }
    }

    /// The value's own axis order where the channels are innermost in it, else NHWC.
    pub(super) fn channels_innermost(&self, value: ValueId) -> Result<Vec<usize>, String> {
        let (shape, layout) = (&self.graph.shapes[value], self.layout(value)?);
        if shape.len() == 4 && nontrivial_axes(&layout.order, shape).last() == Some(&1) {
            return Ok(layout.order.clone());
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

    /// A view of the input where its part is contiguous, else a copy.
    fn slice(&mut self, node: &Node, axis: usize, start: usize, step: usize) -> Result<(), String> {
        let graph = self.graph;
        let (input, output) = (&graph.shapes[node.inputs[0]], &graph.shapes[node.output]);
        let ValueLayout { allocation, order } = self.layout(node.inputs[0])?.clone();
        let position = order
            .iter()
            .position(|a| *a == axis)
            .ok_or("a slice along an axis that does not exist")?;
        let element = graph.element_size(node.output);
        let inner: usize = order[position + 1..].iter().map(|a| input[*a]).product();
        let outer: usize = order[..position].iter().map(|a| input[*a]).product();
        let (inner, row) = (inner * element, inner * element * input[axis]);
        let len = inner * output[axis];
        if output[axis] == 0 || start + (output[axis] - 1) * step >= input[axis] {
            return Err(format!("{}: a slice outside of its input", node.name));
        }
        if outer == 1 && step == 1 {
            let allocation = self.part_of(allocation, start * inner, len);
            self.layouts
                .insert(node.output, ValueLayout { allocation, order });
            return Ok(());
        }
        let reports = vec![report(&node.name, "slice", output, 0, 0)];
        let read = (outer - 1) * row + ((output[axis] - 1) * step + 1) * inner;
        let from = self.part_of(allocation, start * inner, read);
        let to = self.define(node.output, order.clone());
        let op = if step == 1 {
            PlannedOp::StridedCopy {
                input: from,
                rows: outer,
                len,
                input_stride: row,
                output_stride: len,
            }
        } else {
            PlannedOp::Transpose {
                input: from,
                element,
                sizes: vec![outer, output[axis], inner / element],
                strides: vec![row / element, step * inner / element, 1],
            }
        };
        self.push(op, to, reports);
        Ok(())
    }

    /// The same memory under other axes where the axes that are joined lie side by side; else a copy, in which
    /// they do.
    fn reshape(&mut self, node: &Node) -> Result<(), String> {
        let graph = self.graph;
        let (from, to) = (&graph.shapes[node.inputs[0]], &graph.shapes[node.output]);
        let groups = reshape_groups(from, to);
        let group_of = |axis: usize| groups.iter().position(|(from, _)| from.contains(&axis));
        let order = nontrivial_axes(&self.layout(node.inputs[0])?.order, from);
        let (mut wanted, mut new, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for axis in &order {
            let group = group_of(*axis).ok_or("a reshape to another number of values")?;
            if !seen.contains(&group) {
                seen.push(group);
                wanted.extend(groups[group].0.clone().filter(|axis| from[*axis] != 1));
                new.extend(groups[group].1.clone());
            }
        }
        let allocation = self.in_order(node.inputs[0], &wanted)?;
        let mut order: Vec<usize> = (0..to.len()).filter(|axis| !new.contains(axis)).collect();
        order.append(&mut new);
        self.layouts
            .insert(node.output, ValueLayout { allocation, order });
        Ok(())
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

    fn softmax(&mut self, node: &Node, axis: usize) -> Result<(), String> {
        let shape = &self.graph.shapes[node.output];
        let ValueLayout { allocation, order } = self.layout(node.inputs[0])?.clone();
        let position = order
            .iter()
            .position(|a| *a == axis)
            .ok_or("a softmax along an axis that does not exist")?;
        let count = |axes: &[usize]| axes.iter().map(|axis| shape[*axis]).product();
        let softmax = Softmax {
            outer: count(&order[..position]),
            len: shape[axis],
            inner: count(&order[position + 1..]),
        };
        self.one_input(
            node,
            ("softmax", order),
            allocation,
            move |input, output| {
                Operator::FeatureMap(FeatureMapOp::Softmax {
                    softmax,
                    input,
                    output,
                })
            },
        );
        Ok(())
    }

    /// The constant in the order of the tensor.
    fn binary_constant(
        &mut self,
        node: &Node,
        function: BinaryOp,
        values: &[f32],
    ) -> Result<(), String> {
        let shape = &self.graph.shapes[node.output];
        let ValueLayout { allocation, order } = self.layout(node.inputs[0])?.clone();
        let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        let place = |mut index: usize| {
            let mut at = 0;
            for axis in order.iter().rev() {
                at += index % shape[*axis] * stride(*axis);
                index /= shape[*axis];
            }
            values[at]
        };
        let ordered = (0..values.len()).map(place).collect();
        let output = self.define(node.output, order.clone());
        let op = PlannedOp::Binary(function, allocation, PlannedOperand::Constant(ordered));
        let reports = vec![report(&node.name, "binary", shape, 0, 0)];
        self.push(op, output, reports);
        Ok(())
    }
}

type Group = (std::ops::Range<usize>, std::ops::Range<usize>);

/// The smallest groups of axes with as many values before as after.
fn reshape_groups(from: &[usize], to: &[usize]) -> Vec<Group> {
    let mut groups = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (first_i, first_j) = (i, j);
        let (mut before, mut after) = (1, 1);
        let take = |index: &mut usize, sizes: &[usize], product: &mut usize| {
            let size = sizes.get(*index).copied();
            *product *= size.unwrap_or(1);
            *index += usize::from(size.is_some());
            size.is_some()
        };
        take(&mut i, from, &mut before);
        take(&mut j, to, &mut after);
        while before != after {
            let grown = if before < after {
                take(&mut i, from, &mut before)
            } else {
                take(&mut j, to, &mut after)
            };
            if !grown {
                // Only a tensor without values.
                return vec![(0..from.len(), 0..to.len())];
            }
        }
        groups.push((first_i..i, first_j..j));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::reshape_groups;

    #[test]
    fn axes_are_joined_and_split_in_the_smallest_groups() {
        let groups = reshape_groups(&[1, 144, 80, 80], &[1, 144, 6400]);
        assert_eq!(groups, [(0..1, 0..1), (1..2, 1..2), (2..4, 2..3)]);
        let groups = reshape_groups(&[1, 116, 28, 28], &[1, 2, 58, 28, 28]);
        assert_eq!(groups[1], (1..2, 1..3));
        let groups = reshape_groups(&[1, 19, 19, 24], &[1, 2166, 4]);
        assert_eq!(groups, [(0..1, 0..1), (1..4, 1..3)]);
        assert_eq!(reshape_groups(&[5, 1, 1], &[5]).len(), 3);
    }
}
