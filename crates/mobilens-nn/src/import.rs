//! Converts tract's nodes to the operators of [`crate::graph`].
//!
//! [`import`] returns nothing for a node that no kernel supports: then the node stays on tract. So
//! it is with a batch size other than 1, a weight that is not constant, and every other unusual variant.

use tract_onnx::prelude::{DatumType, Tensor, TypedModel};
use tract_onnx::tract_core::internal::AxisOp;
use tract_onnx::tract_core::model::{OutletId, TypedNode};
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv as TractConv, KernelFormat};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::math::{Erf, Pow, Tanh};
use tract_onnx::tract_core::ops::nn::gelu_approximate::GeluApproximate;
use tract_onnx::tract_core::ops::nn::gelu_exact::GeluExact;
use tract_onnx::tract_core::ops::nn::{
    DataFormat, HardSwish, Interpolator, LeakyRelu, Reduce, Reducer, Resize, Sigmoid, Silu,
};

use crate::graph::{AxisIndices, Conv, Op, ResizeIndices};
use crate::import_layout::import_layout;
use crate::import_tensors::{
    binary_function, import_broadcast, import_tensor_op, matrix_product_of_two, norm_function,
    reduction,
};
use crate::kernels::{Activation, BinaryOp, MAX_DEPTHWISE_SIZE, UnaryOp, Window};
use crate::qdq::{FakeQuantizeOp, WeightScales};

/// A node in terms of the kernels.
pub(super) struct ImportedNode {
    pub op: Op,
    pub inputs: Vec<OutletId>,
}

/// The concrete shape of a float value.
pub(super) fn shape_of(model: &TypedModel, outlet: OutletId) -> Option<Vec<usize>> {
    let fact = model.outlet_fact(outlet).ok()?;
    if fact.datum_type != DatumType::F32 {
        return None;
    }
    fact.shape.as_concrete().map(<[usize]>::to_vec)
}

pub(super) fn constant(model: &TypedModel, outlet: OutletId) -> Option<&Tensor> {
    model.outlet_fact(outlet).ok()?.konst.as_deref()
}

pub(super) fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    let view = tensor.to_plain_array_view::<f32>().ok()?;
    Some(view.iter().copied().collect())
}

/// The node in terms of the kernels, if they support it.
pub(super) fn import(
    model: &TypedModel,
    node: &TypedNode,
    weight_scales: &WeightScales,
) -> Option<ImportedNode> {
    if node.outputs.len() != 1 {
        return None;
    }
    let output = shape_of(model, OutletId::new(node.id, 0))?;
    if output.contains(&0) {
        return None;
    }
    let first = *node.inputs.first()?;
    let input = shape_of(model, first)?;
    let single_input = |op| {
        Some(ImportedNode {
            op,
            inputs: vec![first],
        })
    };
    let op = &node.op;
    if let Some(conv) = op.downcast_ref::<TractConv>() {
        return single_input(Op::Conv(convolution(
            model,
            node,
            conv,
            &input,
            weight_scales,
        )?));
    }
    if let Some(product) = op.downcast_ref::<EinSum>() {
        let constant = matrix_product(model, node, product, &input, &output, weight_scales);
        let Some(conv) = constant else {
            return matrix_product_of_two(model, node, product, &output);
        };
        return single_input(match input.len() {
            1..=3 => Op::Conv(conv),
            _ => Op::Linear(Box::new(conv)),
        });
    }
    if let Some(binary) = op.downcast_ref::<TypedBinOp>() {
        let special = import_binary(model, node, binary, &output);
        return special.or_else(|| import_broadcast(model, node, binary, &output));
    }
    if let Some(elementwise) = op.downcast_ref::<ElementWiseOp>() {
        if let Some(rounding) = elementwise.0.downcast_ref::<FakeQuantizeOp>() {
            return single_input(Op::FakeQuantize(rounding.0));
        }
        return single_input(Op::Unary(unary_function(elementwise)?));
    }
    if let Some(axis) = op.downcast_ref::<AxisOp>() {
        return single_input(match axis {
            AxisOp::Move(from, to) => {
                let mut order: Vec<usize> = (0..input.len()).collect();
                let moved = order.remove(*from);
                order.insert(*to, moved);
                Op::Transpose { order }
            }
            AxisOp::Add(_) | AxisOp::Rm(_) | AxisOp::Reshape(..) => Op::Reshape,
        });
    }
    if op.is::<Identity>() {
        return single_input(Op::Reshape);
    }
    if let Some(concat) = op.downcast_ref::<TypedConcat>() {
        for input in &node.inputs {
            shape_of(model, *input)?;
            if constant(model, *input).is_some() {
                return None;
            }
        }
        let op = Op::Concat { axis: concat.axis };
        return Some(ImportedNode {
            op,
            inputs: node.inputs.to_vec(),
        });
    }
    if let Some(reduce) = op.downcast_ref::<Reduce>() {
        // A mean is this and a division by the number of pixels, as a node of its own.
        let all_pixels = input.len() == 4 && input[0] == 1 && reduce.axes[..] == [2, 3];
        return match reduce.reducer {
            Reducer::Sum if all_pixels => single_input(Op::GlobalSumPool),
            reducer => single_input(reduction(reducer, &reduce.axes)?),
        };
    }
    if op.is::<MultiBroadcastTo>() {
        let expands = input.len() == 4
            && output.len() == 4
            && input[..2] == output[..2]
            && input[0] == 1
            && input[2..] == [1, 1];
        return if expands {
            single_input(Op::Expand)
        } else {
            None
        };
    }
    if let Some(op) = import_layout(model, node, &input, &output) {
        return single_input(op);
    }
    if let Some(op) = import_tensor_op(model, node, &input, &output) {
        return single_input(op);
    }
    if let Some(resize) = op.downcast_ref::<Resize>() {
        return single_input(Op::Resize(resize_indices(
            model, node, resize, &input, &output,
        )?));
    }
    None
}

fn unary_function(op: &ElementWiseOp) -> Option<UnaryOp> {
    let op = &op.0;
    let activation = if op.is::<HardSwish>() {
        Activation::HardSwish
    } else if op.is::<Silu>() {
        Activation::Silu
    } else if op.is::<GeluExact>() {
        Activation::Gelu
    } else if let Some(gelu) = op.downcast_ref::<GeluApproximate>() {
        if gelu.fast_impl {
            return None;
        }
        Activation::GeluTanh
    } else if let Some(leaky) = op.downcast_ref::<LeakyRelu>() {
        Activation::LeakyRelu { slope: leaky.alpha }
    } else if op.is::<Sigmoid>() {
        return Some(UnaryOp::Sigmoid);
    } else if op.is::<Erf>() {
        return Some(UnaryOp::Erf);
    } else if op.is::<Tanh>() {
        return Some(UnaryOp::Tanh);
    } else {
        return norm_function(&**op);
    };
    Some(UnaryOp::Activation(activation))
}

fn convolution(
    model: &TypedModel,
    node: &TypedNode,
    conv: &TractConv,
    input: &[usize],
    weight_scales: &WeightScales,
) -> Option<Conv> {
    let pool = &conv.pool_spec;
    let supported = pool.data_format == DataFormat::NCHW
        && conv.kernel_fmt == KernelFormat::OIHW
        && conv.q_params.is_none()
        && pool.kernel_shape.len() == 2
        && input.len() == 4
        && input[0] == 1;
    if !supported {
        return None;
    }
    let (inputs, outputs) = (pool.input_channels, pool.output_channels);
    let depthwise = conv.group > 1 && conv.group == inputs && inputs == outputs;
    let groups = if depthwise { 1 } else { conv.group };
    if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
        return None;
    }
    let kernel = (pool.kernel_shape[0], pool.kernel_shape[1]);
    if depthwise && (kernel.0 > MAX_DEPTHWISE_SIZE || kernel.1 > MAX_DEPTHWISE_SIZE) {
        return None;
    }
    let pads = pool.computed_padding(&input[2..]);
    let window = Window {
        kernel,
        stride: (pool.stride(0), pool.stride(1)),
        dilation: (pool.dilation(0), pool.dilation(1)),
        pad: (pads[0].pad_before, pads[1].pad_before),
    };
    let weights = floats(constant(model, *node.inputs.get(1)?)?)?;
    let bias = floats(constant(model, *node.inputs.get(2)?)?)?;
    let bias = match bias.len() {
        1 => vec![bias[0]; outputs],
        n if n == outputs => bias,
        _ => return None,
    };
    let taps = kernel.0 * kernel.1;
    let per_output = taps * if depthwise { 1 } else { inputs / groups };
    if weights.len() != per_output * outputs {
        return None;
    }
    let weight_scales = weight_scales.find(&weights, outputs);
    let weights = if groups == 1 {
        weights
    } else {
        ungrouped(&weights, (inputs, outputs), taps, groups)?
    };
    Some(Conv {
        weight_scales,
        weights,
        bias,
        depthwise,
        window,
        activation: Activation::NONE,
        residual: false,
        bias_input: false,
    })
}

/// Weights `[out][in / groups][tap]` as `[out][in][tap]`, zero outside of the groups. Planning
/// finds the groups again; what lies between needs not know them. None where they are too large.
fn ungrouped(
    weights: &[f32],
    (inputs, outputs): (usize, usize),
    taps: usize,
    groups: usize,
) -> Option<Vec<f32>> {
    const MOST: usize = 64 << 20;
    let len = (inputs * taps)
        .checked_mul(outputs)
        .filter(|len| *len <= MOST)?;
    let mut dense = vec![0.0; len];
    let of_group = inputs / groups * taps;
    let rows = dense.chunks_exact_mut((inputs * taps).max(1));
    for (output, (row, from)) in rows.zip(weights.chunks_exact(of_group.max(1))).enumerate() {
        let group = output / (outputs / groups);
        row[group * of_group..][..of_group].copy_from_slice(from);
    }
    Some(dense)
}

/// The product of a matrix, or of several, with constant weights (`Gemm`, `MatMul`), as a convolution over its
/// rows.
fn matrix_product(
    model: &TypedModel,
    node: &TypedNode,
    product: &EinSum,
    input: &[usize],
    output: &[usize],
    weight_scales: &WeightScales,
) -> Option<Conv> {
    let [_, weights] = node.inputs[..] else {
        return None;
    };
    let last = input.len().checked_sub(1)?;
    if product.q_params.is_some() || last == 0 || output.len() != input.len() {
        return None;
    }
    let weights = constant(model, weights)?;
    let shape = weights.shape();
    let (mut k_axis, mut n_axis) = (None, None);
    for axis in product.axes.iter_all_axes() {
        match (
            &axis.inputs[0][..],
            &axis.inputs[1][..],
            &axis.outputs[0][..],
        ) {
            ([from], [], [to]) if from == to && *from != last => {}
            ([from], [broadcast], [to])
                if from == to && *from != last && shape[*broadcast] == 1 => {}
            ([from], [k], []) if *from == last => k_axis = Some(*k),
            ([], [n], [to]) if *to == last => n_axis = Some(*n),
            _ => return None,
        }
    }
    let (k_axis, n_axis) = (k_axis?, n_axis?);
    let (inputs, outputs) = (shape[k_axis], shape[n_axis]);
    let values = floats(weights)?;
    if values.len() != inputs * outputs {
        return None;
    }
    let weights = if n_axis < k_axis {
        values
    } else {
        let columns = (0..outputs).flat_map(|n| values.iter().skip(n).step_by(outputs));
        columns.copied().collect()
    };
    Some(Conv {
        weight_scales: weight_scales.find(&weights, outputs),
        weights,
        bias: vec![0.0; outputs],
        depthwise: false,
        window: Window {
            kernel: (1, 1),
            stride: (1, 1),
            dilation: (1, 1),
            pad: (0, 0),
        },
        activation: Activation::NONE,
        residual: false,
        bias_input: false,
    })
}

fn import_binary(
    model: &TypedModel,
    node: &TypedNode,
    binary: &TypedBinOp,
    output: &[usize],
) -> Option<ImportedNode> {
    if binary.0.is::<Pow>() {
        let [base, exponent] = node.inputs[..] else {
            return None;
        };
        let cubes = floats(constant(model, exponent)?)?[..] == [3.0];
        return (cubes && shape_of(model, base)? == output).then(|| ImportedNode {
            op: Op::Unary(UnaryOp::Cube),
            inputs: vec![base],
        });
    }
    let function = binary_function(binary)?;
    let [left, right] = node.inputs[..] else {
        return None;
    };
    match (constant(model, left), constant(model, right)) {
        (None, None) => {
            let shapes = (shape_of(model, left)?, shape_of(model, right)?);
            let commutes = !matches!(function, BinaryOp::Sub | BinaryOp::Div);
            // The broadcast operand goes to the right; only pixels may be broadcast.
            let broadcasts = |a: &[usize], b: &[usize]| {
                a == output
                    && (b == output
                        || (a.len() == 4 && a[0] == 1 && b[..2] == a[..2] && b[2..] == [1, 1]))
            };
            let inputs = if broadcasts(&shapes.0, &shapes.1) {
                vec![left, right]
            } else if commutes && broadcasts(&shapes.1, &shapes.0) {
                vec![right, left]
            } else {
                return None;
            };
            Some(ImportedNode {
                op: Op::Binary(function),
                inputs,
            })
        }
        (None, Some(value)) => {
            let op = binary_with_constant(function, &scalar_or_per_channel(value, output)?, false)?;
            (shape_of(model, left)? == output).then(|| ImportedNode {
                op,
                inputs: vec![left],
            })
        }
        (Some(value), None) => {
            let op = binary_with_constant(function, &scalar_or_per_channel(value, output)?, true)?;
            (shape_of(model, right)? == output).then(|| ImportedNode {
                op,
                inputs: vec![right],
            })
        }
        (Some(_), Some(_)) => None,
    }
}

/// The values of a constant operand: a scalar, or one for each channel of `[1, c, h, w]` or `[.., c]`.
fn scalar_or_per_channel(tensor: &Tensor, output: &[usize]) -> Option<Vec<f32>> {
    let values = floats(tensor)?;
    let shape = tensor.shape();
    let channel_axis = if output.len() == 4 {
        1
    } else {
        output.len().saturating_sub(1)
    };
    let per_channel = (2..=4).contains(&output.len())
        && shape.len() == output.len()
        && shape[channel_axis] == output[channel_axis]
        && values.len() == output[channel_axis];
    (values.len() == 1 || per_channel).then_some(values)
}

fn binary_with_constant(function: BinaryOp, values: &[f32], constant_first: bool) -> Option<Op> {
    let all = |value| vec![value; values.len()];
    let affine = |mul, add| Some(Op::Affine { mul, add });
    let clamp = |low, high| {
        Some(Op::Unary(UnaryOp::Activation(Activation::Clamp {
            low,
            high,
        })))
    };
    match (function, constant_first) {
        (BinaryOp::Add, _) => affine(all(1.0), values.to_vec()),
        (BinaryOp::Sub, false) => affine(all(1.0), values.iter().map(|v| -v).collect()),
        (BinaryOp::Sub, true) => affine(all(-1.0), values.to_vec()),
        (BinaryOp::Mul, _) => affine(values.to_vec(), all(0.0)),
        (BinaryOp::Div, false) => affine(values.iter().map(|v| 1.0 / v).collect(), all(0.0)),
        (BinaryOp::Div, true) => None,
        (BinaryOp::Max, _) if values.len() == 1 => clamp(values[0], f32::INFINITY),
        (BinaryOp::Min, _) if values.len() == 1 => clamp(f32::NEG_INFINITY, values[0]),
        _ => None,
    }
}

/// The scales of a resize, one for each axis; none where the file gives sizes instead.
pub(super) fn resize_scales(
    model: &TypedModel,
    node: &TypedNode,
    resize: &Resize,
    rank: usize,
) -> Vec<f32> {
    // An exporter that gives sizes may give an empty list of scales too.
    resize
        .optional_scales_input
        .and_then(|index| constant(model, *node.inputs.get(index)?))
        .and_then(floats)
        .filter(|scales| scales.len() == rank)
        .unwrap_or_default()
}

fn resize_indices(
    model: &TypedModel,
    node: &TypedNode,
    resize: &Resize,
    input: &[usize],
    output: &[usize],
) -> Option<ResizeIndices> {
    let only_pixels = input.len() == 4 && input[0] == 1 && input[..2] == output[..2];
    if !only_pixels || resize.interpolator != Interpolator::Linear {
        return None;
    }
    let scales = resize_scales(model, node, resize, input.len());
    let axis = |axis: usize| -> AxisIndices {
        let (size_in, size_out) = (input[axis], output[axis]);
        let scale = match scales.get(axis) {
            Some(scale) if *scale > 0.0 => *scale,
            _ => size_out as f32 / size_in as f32,
        };
        (0..size_out)
            .map(|at| {
                let most = (size_in - 1) as f32;
                let x = resize
                    .coord_transformer
                    .transform(at, scale, size_in, size_out);
                let x = x.clamp(0.0, most);
                let left = x.floor() as usize;
                (left, (left + 1).min(size_in - 1), x - x.floor())
            })
            .collect()
    };
    Some(ResizeIndices {
        rows: axis(2),
        columns: axis(3),
    })
}
