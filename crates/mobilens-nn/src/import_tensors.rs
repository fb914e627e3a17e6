//! Converts tract's nodes that are no convolutions to operators of [`crate::graph`]: what transformers are made
//! of, for tensors of any number of axes.

use tract_onnx::prelude::TypedModel;
use tract_onnx::tract_core::internal::DimLike as _;
use tract_onnx::tract_core::model::{OutletId, TypedNode};
use tract_onnx::tract_core::ops::array::{Slice, StridedSlice};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseMiniOp;
use tract_onnx::tract_core::ops::math::{
    Add, Div, Max, Min, Mul, Pow, Recip, Rsqrt, Sqrt, Square, Sub,
};
use tract_onnx::tract_core::ops::nn::{Reducer, Softmax, SoftmaxKind};

use crate::graph::{BroadcastConstant, Op};
use crate::import::{ImportedNode, constant, floats, shape_of};
use crate::kernels::{BinaryOp, ReduceOp, UnaryOp};

/// The function of a binary node, if a kernel has it.
pub(super) fn binary_function(binary: &TypedBinOp) -> Option<BinaryOp> {
    let op = &binary.0;
    if op.is::<Add>() {
        Some(BinaryOp::Add)
    } else if op.is::<Sub>() {
        Some(BinaryOp::Sub)
    } else if op.is::<Mul>() {
        Some(BinaryOp::Mul)
    } else if op.is::<Div>() {
        Some(BinaryOp::Div)
    } else if op.is::<Max>() {
        Some(BinaryOp::Max)
    } else if op.is::<Min>() {
        Some(BinaryOp::Min)
    } else {
        None
    }
}

/// The function of an elementwise node that normalisations are made of.
pub(super) fn norm_function(op: &dyn ElementWiseMiniOp) -> Option<UnaryOp> {
    if op.is::<Square>() {
        Some(UnaryOp::Square)
    } else if op.is::<Sqrt>() {
        Some(UnaryOp::Sqrt)
    } else if op.is::<Rsqrt>() {
        Some(UnaryOp::Rsqrt)
    } else if op.is::<Recip>() {
        Some(UnaryOp::Reciprocal)
    } else {
        None
    }
}

/// A reduction over axes.
pub(super) fn reduction(reducer: Reducer, axes: &[usize]) -> Option<Op> {
    let function = match reducer {
        Reducer::Sum => ReduceOp::Sum,
        Reducer::Max => ReduceOp::Max,
        Reducer::Min => ReduceOp::Min,
        _ => return None,
    };
    Some(Op::Reduce {
        function,
        axes: axes.to_vec(),
    })
}

/// An elementwise function of two tensors, either of them broadcast, or a constant; and squares by `Pow`.
pub(super) fn import_broadcast(
    model: &TypedModel,
    node: &TypedNode,
    binary: &TypedBinOp,
    output: &[usize],
) -> Option<ImportedNode> {
    let [left, right] = node.inputs[..] else {
        return None;
    };
    if binary.0.is::<Pow>() {
        let is_two = floats(constant(model, right)?)?[..] == [2.0];
        let same = shape_of(model, left)? == output;
        return (is_two && same && constant(model, left).is_none()).then(|| ImportedNode {
            op: Op::Unary(UnaryOp::Square),
            inputs: vec![left],
        });
    }
    let function = binary_function(binary)?;
    let with_constant = |value: OutletId, other: OutletId, swapped| {
        let tensor = constant(model, value)?;
        let fits =
            tensor.shape().len() == output.len() && shape_of(model, other)?.len() == output.len();
        fits.then(|| -> Option<ImportedNode> {
            Some(ImportedNode {
                op: Op::BroadcastConstant(BroadcastConstant {
                    function,
                    values: floats(tensor)?.into(),
                    shape: tensor.shape().to_vec(),
                    swapped,
                }),
                inputs: vec![other],
            })
        })?
    };
    match (constant(model, left), constant(model, right)) {
        (None, None) => {
            let ranks = [left, right].map(|outlet| shape_of(model, outlet).map(|s| s.len()));
            (ranks == [Some(output.len()); 2]).then(|| ImportedNode {
                op: Op::Broadcast(function),
                inputs: vec![left, right],
            })
        }
        (None, Some(_)) => with_constant(right, left, false),
        (Some(_), None) => with_constant(left, right, true),
        (Some(_), Some(_)) => None,
    }
}

/// The product of matrices of two tensors: `[.., m, k]` and `[.., k, n]`, leading axes of size 1 broadcast.
pub(super) fn matrix_product_of_two(
    model: &TypedModel,
    node: &TypedNode,
    product: &EinSum,
    output: &[usize],
) -> Option<ImportedNode> {
    let [left, right] = node.inputs[..] else {
        return None;
    };
    let rank = output.len();
    let is_constant = [left, right]
        .iter()
        .any(|outlet| constant(model, *outlet).is_some());
    if product.q_params.is_some() || is_constant || rank < 2 {
        return None;
    }
    let shapes = (shape_of(model, left)?, shape_of(model, right)?);
    if shapes.0.len() != rank || shapes.1.len() != rank {
        return None;
    }
    let (row, column) = (rank - 2, rank - 1);
    for axis in product.axes.iter_all_axes() {
        let (a, b, to) = (
            &axis.inputs[0][..],
            &axis.inputs[1][..],
            &axis.outputs[0][..],
        );
        let fits = match (a, b, to) {
            ([], [], []) => true,
            ([a], [b], [to]) => a == b && b == to && *to < row,
            // A broadcast axis may be left out of one side.
            ([a], [], [to]) => a == to && (*to == row || (*to < row && shapes.1[*to] == 1)),
            ([], [b], [to]) => b == to && (*to == column || (*to < row && shapes.0[*to] == 1)),
            ([a], [b], []) => *a == column && *b == row,
            // What is broadcast then has an axis of its own, of size 1.
            ([a], [], []) => *a < row && shapes.0[*a] == 1,
            ([], [b], []) => *b < row && shapes.1[*b] == 1,
            _ => false,
        };
        if !fits {
            return None;
        }
    }
    let leading = (0..row).all(|axis| {
        let fits = |size: usize| size == output[axis] || size == 1;
        fits(shapes.0[axis]) && fits(shapes.1[axis])
    });
    (leading && shapes.0[column] == shapes.1[row]).then(|| ImportedNode {
        op: Op::MatMul,
        inputs: vec![left, right],
    })
}

/// Softmax, a part of an axis, or a cast of float32 to itself.
pub(super) fn import_tensor_op(
    model: &TypedModel,
    node: &TypedNode,
    input: &[usize],
    output: &[usize],
) -> Option<Op> {
    let op = &node.op;
    if let Some(softmax) = op.downcast_ref::<Softmax>() {
        let is_plain = softmax.kind == SoftmaxKind::Softmax && softmax.quant_output_dt.is_none();
        return match softmax.axes[..] {
            [axis] if is_plain => Some(Op::Softmax { axis }),
            _ => None,
        };
    }
    // Its input and output are float32, as are all values here.
    if op.is::<Cast>() {
        return Some(Op::Reshape);
    }
    if let Some(slice) = op.downcast_ref::<Slice>() {
        return Some(Op::Slice {
            axis: slice.axis,
            start: slice.start.to_usize().ok()?,
            step: 1,
        });
    }
    op.downcast_ref::<StridedSlice>()
        .and_then(|slice| strided_slice(model, node, slice, input, output))
}

/// A `Slice` with constant bounds, along one axis.
fn strided_slice(
    model: &TypedModel,
    node: &TypedNode,
    slice: &StridedSlice,
    input: &[usize],
    output: &[usize],
) -> Option<Op> {
    if slice.begin_mask != 0 || slice.end_mask != 0 || slice.shrink_axis_mask != 0 {
        return None;
    }
    let integers = |index: usize| -> Option<Vec<i64>> {
        let tensor = constant(model, *node.inputs.get(index)?)?;
        let tensor = tensor.cast_to::<i64>().ok()?;
        let view = tensor.to_plain_array_view::<i64>().ok()?;
        Some(view.iter().copied().collect())
    };
    let starts = integers(1)?;
    let axes = match slice.optional_axes_input {
        Some(index) => integers(index)?,
        None => (0..starts.len()).map(|axis| axis as i64).collect(),
    };
    let steps = match slice.optional_steps_input {
        Some(index) => integers(index)?,
        None => vec![1; starts.len()],
    };
    if input.len() != output.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return None;
    }
    let mut found = None;
    for ((axis, start), step) in axes.iter().zip(&starts).zip(&steps) {
        let rank = i64::try_from(input.len()).ok()?;
        let axis = usize::try_from(if *axis < 0 { axis + rank } else { *axis }).ok()?;
        let size = i64::try_from(*input.get(axis)?).ok()?;
        let start = if *start < 0 { start + size } else { *start };
        let (start, step) = (usize::try_from(start).ok()?, usize::try_from(*step).ok()?);
        if output[axis] == input[axis] && start == 0 && step == 1 {
            continue;
        }
        let last = start + output[axis].checked_sub(1)? * step;
        if found.is_some() || step == 0 || last >= input[axis] {
            return None;
        }
        found = Some(Op::Slice { axis, start, step });
    }
    Some(found.unwrap_or(Op::Reshape))
}
