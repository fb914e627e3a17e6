//! Import of pooling, padding, every n-th index of an axis, nearest neighbour resize, and transposed convolution.

use tract_onnx::prelude::TypedModel;
use tract_onnx::tract_core::model::TypedNode;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{Pad, PadMode};
use tract_onnx::tract_core::ops::cnn::{
    Deconv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool,
};
use tract_onnx::tract_core::ops::nn::resize::Nearest;
use tract_onnx::tract_core::ops::nn::{DataFormat, Interpolator, NearestUpsample, Resize};

use crate::graph::{ConvTranspose, Op};
use crate::import::{constant, floats, resize_scales};
use crate::kernels::{PoolFunction, PoolTaps, Window, pool_taps};

/// The node as one of these operators, if it is one that they support.
pub(super) fn import_layout(
    model: &TypedModel,
    node: &TypedNode,
    input: &[usize],
    output: &[usize],
) -> Option<Op> {
    let op = &node.op;
    let is_map = input.len() == 4 && input[0] == 1;
    if let Some(pool) = op.downcast_ref::<MaxPool>() {
        let (rows, columns) = taps(&pool.pool_spec, input, output, true)?;
        let function = PoolFunction::Max;
        return Some(Op::Pool {
            function,
            rows,
            columns,
        });
    }
    if let Some(pool) = op.downcast_ref::<SumPool>() {
        if !pool.normalize {
            return None;
        }
        let (rows, columns) = taps(&pool.pool_spec, input, output, !pool.count_include_pad)?;
        let function = PoolFunction::Average;
        return Some(Op::Pool {
            function,
            rows,
            columns,
        });
    }
    if let Some(sample) = op.downcast_ref::<Downsample>() {
        return Some(Op::Slice {
            axis: sample.axis,
            start: sample.modulo,
            step: usize::try_from(sample.stride).ok()?,
        });
    }
    if let Some(pad) = op.downcast_ref::<Pad>() {
        let PadMode::Constant(value) = &pad.mode else {
            return None;
        };
        let [value] = floats(value)?[..] else {
            return None;
        };
        let before = pad.pads.iter().map(|(before, _)| *before).collect();
        return Some(Op::Pad { before, value });
    }
    if let Some(upsample) = op.downcast_ref::<NearestUpsample>() {
        let [1, 1, rows, columns] = upsample.scales[..] else {
            return None;
        };
        let axis = |size: usize, scale: usize| (0..size).map(|at| at / scale).collect();
        return is_map.then(|| Op::ResizeNearest {
            rows: axis(output[2], rows),
            columns: axis(output[3], columns),
        });
    }
    if let Some(resize) = op.downcast_ref::<Resize>() {
        return nearest(model, node, resize, input, output);
    }
    if let Some(deconv) = op.downcast_ref::<Deconv>() {
        return conv_transpose(model, node, deconv, input);
    }
    None
}

/// The taps of rows and columns; `only_values` if an average counts no padding.
fn taps(
    spec: &PoolSpec,
    input: &[usize],
    output: &[usize],
    only_values: bool,
) -> Option<(Vec<PoolTaps>, Vec<PoolTaps>)> {
    let supported = spec.data_format == DataFormat::NCHW
        && spec.kernel_shape.len() == 2
        && input.len() == 4
        && input[0] == 1;
    if !supported {
        return None;
    }
    let pads = spec.computed_padding(&input[2..]);
    let axis = |axis: usize| {
        // In ceil mode the computed padding goes as far as the last window.
        let after = match &spec.padding {
            PaddingSpec::ExplicitOnnxPool(_, after, _) => after[axis],
            _ => pads[axis].pad_after,
        };
        pool_taps(
            input[2 + axis],
            (
                spec.kernel_shape[axis],
                spec.stride(axis),
                spec.dilation(axis),
            ),
            pads[axis].pad_before,
            output[2 + axis],
            (!only_values).then_some(after),
        )
    };
    Some((axis(0)?, axis(1)?))
}

fn nearest(
    model: &TypedModel,
    node: &TypedNode,
    resize: &Resize,
    input: &[usize],
    output: &[usize],
) -> Option<Op> {
    let only_pixels = input.len() == 4 && input[0] == 1 && input[..2] == output[..2];
    if !only_pixels || resize.interpolator != Interpolator::Nearest {
        return None;
    }
    let scales = resize_scales(model, node, resize, input.len());
    let axis = |axis: usize| {
        let (size_in, size_out) = (input[axis], output[axis]);
        let scale = match scales.get(axis) {
            Some(scale) if *scale > 0.0 => *scale,
            _ => size_out as f32 / size_in as f32,
        };
        let source = |at: usize| {
            let transformer = &resize.coord_transformer;
            let x = transformer.transform(at, scale, size_in, size_out);
            let x = match resize.nearest {
                Nearest::Floor => x.floor(),
                Nearest::RoundPreferCeil => (x + 0.5).floor(),
            };
            x.clamp(0.0, (size_in - 1) as f32) as usize
        };
        (0..size_out).map(source).collect()
    };
    Some(Op::ResizeNearest {
        rows: axis(2),
        columns: axis(3),
    })
}

fn conv_transpose(
    model: &TypedModel,
    node: &TypedNode,
    deconv: &Deconv,
    input: &[usize],
) -> Option<Op> {
    let spec = &deconv.pool_spec;
    let supported = deconv.group == 1
        && deconv.kernel_format == KernelFormat::OIHW
        && spec.data_format == DataFormat::NCHW
        && spec.kernel_shape.len() == 2
        && input.len() == 4
        && input[0] == 1;
    if !supported {
        return None;
    }
    let pads = spec
        .padding
        .compute_for_deconv(
            &input[2..],
            &spec.kernel_shape,
            &spec.dilations(),
            &spec.strides(),
            &deconv.adjustments,
        )
        .ok()?;
    let outputs = spec.output_channels;
    let weights = floats(constant(model, *node.inputs.get(1)?)?)?;
    let bias = floats(constant(model, *node.inputs.get(2)?)?)?;
    let bias = match bias.len() {
        1 => vec![bias[0]; outputs],
        n if n == outputs => bias,
        _ => return None,
    };
    let kernel = (spec.kernel_shape[0], spec.kernel_shape[1]);
    let window = Window {
        kernel,
        stride: (spec.stride(0), spec.stride(1)),
        dilation: (spec.dilation(0), spec.dilation(1)),
        pad: (pads[0].pad_before, pads[1].pad_before),
    };
    // Cut further than the kernel reaches.
    let reach = |kernel: usize, dilation: usize| (kernel - 1) * dilation;
    let supported = weights.len() == outputs * spec.input_channels * kernel.0 * kernel.1
        && window.pad.0 <= reach(kernel.0, window.dilation.0)
        && window.pad.1 <= reach(kernel.1, window.dilation.1);
    supported.then_some(Op::ConvTranspose(ConvTranspose {
        weights,
        bias,
        window,
    }))
}
