//! Planning of the operators of transformers.

use crate::graph::{Attention, Node, Op, ValueId};
use crate::kernels::{
    Attention as AttentionStep, BinaryOp, BroadcastBinary, Buffer, Matrices, MatrixProduct,
    PackedGemm, TensorOp, fill_rows,
};
use crate::memory_plan::PlannedOp;
use crate::plan::{Planner, report};
use crate::view::View;

/// `0, 1, 2 ..`: the axes in the order of the file.
fn file_order(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// Row-major strides of a shape; 0 for axes of size 1, which are broadcast.
fn strides_of(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for (axis, size) in shape.iter().enumerate().rev() {
        strides[axis] = if *size == 1 { 0 } else { stride };
        stride *= size;
    }
    strides
}

/// Merges neighbouring axes whose indices lie in a row for both operands.
fn merge_axes(sizes: &[usize], left: &[usize], right: &[usize]) -> [Vec<usize>; 3] {
    let mut merged: [Vec<usize>; 3] = Default::default();
    for ((size, a), b) in sizes.iter().zip(left).zip(right) {
        if *size == 1 {
            continue;
        }
        let [sizes, left, right] = &mut merged;
        match (sizes.last_mut(), left.last_mut(), right.last_mut()) {
            (Some(outer), Some(x), Some(y)) if *x == size * a && *y == size * b => {
                *outer *= size;
                (*x, *y) = (*a, *b);
            }
            _ => {
                sizes.push(*size);
                left.push(*a);
                right.push(*b);
            }
        }
    }
    merged
}

impl Planner<'_> {
    /// Plans an operator of a transformer.
    pub(super) fn tensor_node(&mut self, node: &Node) -> Result<(), String> {
        match &node.op {
            Op::Softmax { axis } => self.softmax(node, *axis),
            Op::Reduce { function, axes } => {
                let (order, input, n, inner) = self.around(node.inputs[0], axes)?;
                let function = *function;
                let op = TensorOp::Reduce { function, n, inner };
                let output = self.define(node.output, order);
                self.push_tensor(node, op, vec![input], output, ("reduce", 0, 0));
                Ok(())
            }
            Op::LayerNorm(norm) => {
                let rank = self.graph.shapes[node.output].len();
                let mut order: Vec<usize> = (0..rank).filter(|a| !norm.axes.contains(a)).collect();
                order.extend(&norm.axes);
                let input = self.in_order(node.inputs[0], &order)?;
                let shape = &self.graph.shapes[node.output];
                let n: usize = norm.axes.iter().map(|axis| shape[*axis]).product();
                let parameters = |values: &[f32], all: f32| match values {
                    [] => Buffer::from_slice(&vec![all; n]),
                    values => Buffer::from_slice(values),
                };
                let op = TensorOp::LayerNorm {
                    gamma: parameters(&norm.gamma, 1.0),
                    beta: parameters(&norm.beta, 0.0),
                    epsilon: norm.epsilon,
                };
                let count = (norm.gamma.len() + norm.beta.len()) as u64;
                let output = self.define(node.output, order);
                self.push_tensor(node, op, vec![input], output, ("layer norm", 0, count));
                Ok(())
            }
            Op::Broadcast(function) => self.broadcast(node, *function),
            Op::BroadcastConstant(constant) => {
                let rank = self.graph.shapes[node.output].len();
                let values = Buffer::from_slice(&constant.values);
                let strides = strides_of(&constant.shape);
                let order = self.order_of(node.inputs[0], node.output, rank)?;
                let (left, left_strides) = self.strided(node.inputs[0])?;
                let step = (constant.function, Some(values), constant.swapped);
                self.push_broadcast(node, order, (vec![left], &left_strides, &strides), step);
                Ok(())
            }
            Op::MatMul => self.matrix_product(node),
            Op::Attention(attention) => self.attention(node, attention),
            _ => Err(format!("{}: no operator of a transformer", node.name)),
        }
    }

    fn push_tensor(
        &mut self,
        node: &Node,
        op: TensorOp,
        inputs: Vec<usize>,
        output: usize,
        (name, macs, parameters): (&'static str, u64, u64),
    ) {
        let shape = &self.graph.shapes[node.output];
        let reports = vec![report(&node.name, name, shape, macs, parameters)];
        self.push(PlannedOp::Tensor(Box::new(op), inputs), output, reports);
    }

    /// The value in an order in which `axes` lie side by side: the order, the allocation, the number of values
    /// along the axes, and the number of values after them.
    fn around(
        &mut self,
        value: ValueId,
        axes: &[usize],
    ) -> Result<(Vec<usize>, usize, usize, usize), String> {
        let shape = &self.graph.shapes[value];
        let n = axes.iter().map(|axis| shape[*axis]).product();
        let natural = self.view(value)?.natural_order();
        let place = |axis: &usize| natural.iter().position(|a| a == axis);
        let mut places: Vec<usize> = axes.iter().filter_map(place).collect();
        places.sort_unstable();
        let side_by_side = places.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let order = if side_by_side {
            natural
        } else {
            let others = (0..shape.len()).filter(|axis| !axes.contains(axis));
            others.chain(axes.iter().copied()).collect()
        };
        let last = order.iter().rposition(|axis| axes.contains(axis));
        let inner = order[last.map_or(0, |last| last + 1)..].iter();
        let inner = inner.map(|axis| shape[*axis]).product();
        let input = self.in_order(value, &order)?;
        Ok((order, input, n, inner))
    }

    fn softmax(&mut self, node: &Node, axis: usize) -> Result<(), String> {
        let (order, input, n, inner) = self.around(node.inputs[0], &[axis])?;
        let output = self.define(node.output, order);
        let op = TensorOp::Softmax { n, inner };
        self.push_tensor(node, op, vec![input], output, ("softmax", 0, 0));
        Ok(())
    }

    /// The value's allocation, from its first value on, and the stride of each axis; 0 for those of size 1.
    fn strided(&mut self, value: ValueId) -> Result<(usize, Vec<usize>), String> {
        let rank = self.graph.shapes[value].len();
        let view = self.view(value)?;
        let strides = |view: &View| -> Option<Vec<usize>> {
            (0..rank)
                .map(|axis| {
                    let digit = view.digit(axis)?;
                    Some(if digit.size == 1 { 0 } else { digit.stride })
                })
                .collect()
        };
        if view.offset == 0
            && let Some(strides) = strides(&view)
        {
            return Ok((view.allocation, strides));
        }
        let allocation = self.in_order(value, &file_order(rank))?;
        Ok((allocation, strides_of(&self.graph.shapes[value])))
    }

    /// Order of an output's axes: that of an input of the same shape, else the file's.
    fn order_of(
        &mut self,
        input: ValueId,
        output: ValueId,
        rank: usize,
    ) -> Result<Vec<usize>, String> {
        if self.graph.shapes[input] == self.graph.shapes[output] {
            return Ok(self.view(input)?.natural_order());
        }
        Ok(file_order(rank))
    }

    fn broadcast(&mut self, node: &Node, function: BinaryOp) -> Result<(), String> {
        let rank = self.graph.shapes[node.output].len();
        let is_whole =
            |value: &&ValueId| self.graph.shapes[**value] == self.graph.shapes[node.output];
        let whole = node.inputs.iter().find(is_whole).copied();
        let order = self.order_of(whole.unwrap_or(node.inputs[0]), node.output, rank)?;
        let (left, left_strides) = self.strided(node.inputs[0])?;
        let (right, right_strides) = self.strided(node.inputs[1])?;
        let operands = (vec![left, right], &left_strides[..], &right_strides[..]);
        self.push_broadcast(node, order, operands, (function, None, false));
        Ok(())
    }

    fn push_broadcast(
        &mut self,
        node: &Node,
        order: Vec<usize>,
        (inputs, left, right): (Vec<usize>, &[usize], &[usize]),
        (function, constant, swapped): (BinaryOp, Option<Buffer>, bool),
    ) {
        let shape = &self.graph.shapes[node.output];
        let in_order =
            |values: &[usize]| -> Vec<usize> { order.iter().map(|axis| values[*axis]).collect() };
        let [sizes, left, right] = merge_axes(&in_order(shape), &in_order(left), &in_order(right));
        let parameters = constant.as_ref().map_or(0, |values| values.len()) as u64;
        let op = TensorOp::Broadcast(BroadcastBinary {
            function,
            sizes,
            left,
            right,
            constant,
            swapped,
        });
        let output = self.define(node.output, order);
        self.push_tensor(node, op, inputs, output, ("binary", 0, parameters));
    }

    /// The matrices of a value's last two axes, for the leading axes of `shape`, and the allocation they are in.
    /// Where `side_by_side`, the columns are.
    fn matrices(
        &mut self,
        value: ValueId,
        shape: &[usize],
        side_by_side: bool,
    ) -> Result<(usize, Matrices), String> {
        let rank = self.graph.shapes[value].len();
        let leading = &shape[..rank - 2];
        let of = |view: &View| -> Option<Matrices> {
            let (row, column) = (view.digit(rank - 2)?, view.digit(rank - 1)?);
            let columns_fit = column.stride == 1 || column.size == 1;
            (columns_fit || !side_by_side).then(|| Matrices {
                starts: view.starts(leading),
                row_stride: row.stride,
                column_stride: if column.size == 1 { 1 } else { column.stride },
            })
        };
        let view = self.view(value)?;
        if let Some(matrices) = of(&view) {
            return Ok((view.allocation, matrices));
        }
        let order = file_order(rank);
        let allocation = self.in_order(value, &order)?;
        let view = View::of(allocation, &self.graph.shapes[value], &order);
        let matrices = of(&view).ok_or("a matrix that is no matrix")?;
        Ok((allocation, matrices))
    }

    fn matrix_product(&mut self, node: &Node) -> Result<(), String> {
        let shape = &self.graph.shapes[node.output];
        let rank = shape.len();
        let k = self.graph.shapes[node.inputs[0]][rank - 1];
        let (left_input, left) = self.matrices(node.inputs[0], shape, true)?;
        let (right_input, right) = self.matrices(node.inputs[1], shape, false)?;
        let output = self.define(node.output, file_order(rank));
        let (_, to) = self.matrices(node.output, shape, true)?;
        let macs = (self.graph.len_of(node.output) * k) as u64;
        let op = TensorOp::MatrixProduct(MatrixProduct {
            left,
            right,
            output: to,
            rows: shape[rank - 2],
            k,
            columns: shape[rank - 1],
            empty: PackedGemm::new(&[], &[], 0),
        });
        self.push_tensor(
            node,
            op,
            vec![left_input, right_input],
            output,
            ("matmul", macs, 0),
        );
        Ok(())
    }

    fn attention(&mut self, node: &Node, attention: &Attention) -> Result<(), String> {
        let shape = &self.graph.shapes[node.output];
        let rank = shape.len();
        let [q, k, v] = node.inputs[..] else {
            return Err(format!("{}: attention without Q, K and V", node.name));
        };
        let depth = self.graph.shapes[q][rank - 1];
        let keys = self.graph.shapes[k][rank - 1];
        let (queries, values) = (shape[rank - 2], shape[rank - 1]);
        let (q_input, q) = self.matrices(q, shape, true)?;
        let (k_input, k) = self.matrices(k, shape, false)?;
        let (v_input, v) = self.matrices(v, shape, false)?;
        // The heads of a token side by side, as the product that follows reads them.
        let mut order = file_order(rank);
        if rank > 2 {
            let heads = order.remove(rank - 3);
            order.insert(rank - 2, heads);
        }
        let output = self.define(node.output, order);
        let (_, to) = self.matrices(node.output, shape, true)?;
        let bias = attention.bias.as_ref().map(|(values, bias_shape)| {
            let scores = [&shape[..rank - 1], &[keys]].concat();
            expanded(values, bias_shape, &scores)
        });
        let heads = to.starts.len();
        let macs = (heads * queries * keys * (depth + values)) as u64;
        let parameters = attention
            .bias
            .as_ref()
            .map_or(0, |(values, _)| values.len()) as u64;
        let op = TensorOp::Attention(AttentionStep {
            q,
            k,
            v,
            output: to,
            queries,
            keys,
            depth,
            values,
            scale: attention.scale,
            bias,
            empty: PackedGemm::new(&[], &[], 0),
        });
        let report = ("attention", macs, parameters);
        self.push_tensor(node, op, vec![q_input, k_input, v_input], output, report);
        Ok(())
    }
}

/// A constant that is broadcast to `scores`, as matrices whose columns lie side by side, in rows that are filled up.
fn expanded(values: &[f32], shape: &[usize], scores: &[usize]) -> (Buffer, Matrices) {
    let rank = scores.len();
    let order = file_order(rank);
    let mut all = values.to_vec();
    let mut size = shape.to_vec();
    if size[rank - 1] != scores[rank - 1] {
        all = values
            .iter()
            .flat_map(|v| std::iter::repeat_n(*v, scores[rank - 1]))
            .collect();
        size[rank - 1] = scores[rank - 1];
    }
    let filled = fill_rows(&all, scores[rank - 1]);
    size[rank - 1] = filled.len() / (all.len() / scores[rank - 1]).max(1);
    let view = View::of(0, &size, &order);
    let row_stride = if size[rank - 2] == 1 {
        0
    } else {
        size[rank - 1]
    };
    let matrices = Matrices {
        starts: view.starts(&scores[..rank - 2]),
        row_stride,
        column_stride: 1,
    };
    (filled, matrices)
}

#[cfg(test)]
mod tests {
    use super::merge_axes;

    #[test]
    fn axes_that_both_operands_have_in_a_row_are_one() {
        let merged = merge_axes(&[2, 3, 1, 4], &[12, 4, 4, 1], &[3, 1, 1, 0]);
        assert_eq!(merged, [vec![6, 4], vec![4, 1], vec![1, 0]]);
    }
}
