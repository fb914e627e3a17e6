//! Planning of transposes, reshapes and slices: values that lie in the memory of others, copied to one piece only
//! where a consumer needs them so.

use crate::graph::{Node, Op, ValueId};
use crate::memory_plan::{Allocation, PlannedOp};
use crate::plan::{NHWC, Planner, ValueLayout, nontrivial_axes, report};
use crate::view::View;

impl Planner<'_> {
    /// Where the value lies.
    pub(super) fn view(&self, value: ValueId) -> Result<View, String> {
        if let Some(view) = self.views.get(&value) {
            return Ok(view.clone());
        }
        let ValueLayout { allocation, order } = self.layout(value)?;
        Ok(View::of(*allocation, &self.graph.shapes[value], order))
    }

    /// The allocation that holds the value with its axes in `order`; copies it if need be.
    pub(super) fn in_order(&mut self, value: ValueId, order: &[usize]) -> Result<usize, String> {
        let shape = &self.graph.shapes[value];
        let want = nontrivial_axes(order, shape);
        if let Some(layout) = self.layouts.get(&value)
            && nontrivial_axes(&layout.order, shape) == want
        {
            return Ok(layout.allocation);
        }
        if let Some(allocation) = self.transposed.get(&(value, want.clone())) {
            return Ok(*allocation);
        }
        let view = self.view(value)?;
        let element = self.graph.element_size(value);
        let bytes = self.graph.bytes_of(value);
        let allocation = if view.is_contiguous(order) {
            self.part(view.allocation, view.offset * element, bytes)
        } else {
            let input = self.part(
                view.allocation,
                view.offset * element,
                view.span() * element,
            );
            let digits = view.digits(order);
            let output = self.allocate(bytes);
            let op = PlannedOp::Transpose {
                input,
                element,
                sizes: digits.iter().map(|digit| digit.size).collect(),
                strides: digits.iter().map(|digit| digit.stride).collect(),
            };
            self.push(op, output, vec![report("", "transpose", shape, 0, 0)]);
            output
        };
        self.transposed.insert((value, want), allocation);
        Ok(allocation)
    }

    /// A part of an allocation, in bytes: the allocation itself, or one inside it.
    fn part(&mut self, allocation: usize, offset: usize, len: usize) -> usize {
        if offset == 0 && self.allocations[allocation].len == len {
            return allocation;
        }
        self.allocations.push(Allocation {
            len,
            parent: Some((allocation, offset)),
        });
        self.allocations.len() - 1
    }

    /// Gives the node's inputs that are views memory of their own, unless it works on views. Codes are
    /// in one piece always.
    pub(super) fn settle_inputs(&mut self, node: &Node) -> Result<(), String> {
        let works_on_views = matches!(
            node.op,
            Op::Transpose { .. }
                | Op::Reshape
                | Op::Slice { .. }
                | Op::Conv(_)
                | Op::MatMul
                | Op::Attention(_)
                | Op::Broadcast(_)
                | Op::BroadcastConstant(_)
                | Op::LayerNorm(_)
                | Op::Softmax { .. }
                | Op::Reduce { .. }
        );
        if works_on_views {
            return Ok(());
        }
        for value in &node.inputs {
            if !self.layouts.contains_key(value)
                && let Some(view) = self.views.get(value)
            {
                let shape = &self.graph.shapes[*value];
                let one_digit = (0..shape.len()).all(|axis| view.digit(axis).is_some());
                let order = if !one_digit && shape.len() == 4 && shape[0] == 1 {
                    NHWC.to_vec()
                } else {
                    view.natural_order()
                };
                let allocation = self.in_order(*value, &order)?;
                self.layouts
                    .insert(*value, ValueLayout { allocation, order });
            }
        }
        Ok(())
    }

    /// Plans a transpose, a reshape or a slice.
    pub(super) fn view_node(&mut self, node: &Node) -> Result<(), String> {
        let input = node.inputs[0];
        let shape = &self.graph.shapes[node.output];
        let made = match &node.op {
            Op::Transpose { order } => {
                if let Some(layout) = self.layouts.get(&input) {
                    let permuted = layout
                        .order
                        .iter()
                        .filter_map(|axis| order.iter().position(|from| from == axis));
                    let layout = ValueLayout {
                        allocation: layout.allocation,
                        order: permuted.collect(),
                    };
                    self.layouts.insert(node.output, layout);
                    return Ok(());
                }
                Some(self.view(input)?.transposed(order))
            }
            Op::Slice { axis, start, step } => {
                self.view(input)?.sliced(*axis, *start, shape[*axis], *step)
            }
            _ => self.view(input)?.reshaped(shape),
        };
        let view = match made {
            Some(view) => view,
            // In one piece, in the order of the file, any part of an axis is a view, and any reshape.
            None => {
                let input_shape = &self.graph.shapes[input];
                let order: Vec<usize> = (0..input_shape.len()).collect();
                let allocation = self.in_order(input, &order)?;
                let whole = View::of(allocation, input_shape, &order);
                let view = match &node.op {
                    Op::Slice { axis, start, step } => {
                        whole.sliced(*axis, *start, shape[*axis], *step)
                    }
                    _ => whole.reshaped(shape),
                };
                view.ok_or_else(|| format!("{}: no part of its input", node.name))?
            }
        };
        let order: Vec<usize> = (0..shape.len()).collect();
        let whole = view.offset == 0
            && self.allocations[view.allocation].len == self.graph.bytes_of(node.output);
        let natural = view.natural_order();
        for order in [order, natural] {
            if whole && view.is_contiguous(&order) {
                let allocation = view.allocation;
                self.layouts
                    .insert(node.output, ValueLayout { allocation, order });
                return Ok(());
            }
        }
        self.views.insert(node.output, view);
        Ok(())
    }
}
