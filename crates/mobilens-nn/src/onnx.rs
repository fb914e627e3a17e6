//! Loads an ONNX file with tract: shape inference, and constant folding that tract leaves out.

use std::path::Path;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::model::TypedModelPatch;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::nn::Resize;

use crate::external_data::read_external_data;
use crate::input_shape::set_input_shape;
use crate::input_size::{free_reshapes, keep_feature_maps};
use crate::load_options::LoadOptions;
use crate::onnx_rewrite::{rewrite_prelu, round_old_resizes_down};
use crate::qdq::{WeightScales, dequantize_model, register_fake_quantize};

/// tract's message on one line.
pub(super) fn one_line(error: TractError) -> String {
    format!("{error:#}").replace('\n', " ")
}

/// tract's graph with static shapes, at the input size and with the feature maps that are asked for; and the
/// scales of quantised weights, `None` if the file is not quantised. Weights may be in other files of `folder`.
pub(super) fn load_onnx(
    bytes: &[u8],
    folder: Option<&Path>,
    options: &LoadOptions,
) -> Result<(TypedModel, Option<WeightScales>), String> {
    let (mut model, weight_scales) = infer_shapes(bytes, folder, options)?;
    model.prop_consts().map_err(one_line)?;
    fold_casts(&mut model).map_err(one_line)?;
    lower_to_core(&mut model).map_err(one_line)?;
    Ok((model, weight_scales))
}

/// Shape inference. The shapes that the file declares are ignored if the input is to have another
/// size.
fn infer_shapes(
    bytes: &[u8],
    folder: Option<&Path>,
    options: &LoadOptions,
) -> Result<(TypedModel, Option<WeightScales>), String> {
    let mut loader = onnx();
    if options.input.is_some() || options.feature_maps.is_some() {
        loader = loader
            .with_ignore_output_shapes(true)
            .with_ignore_value_info(true);
    }
    register_fake_quantize(&mut loader);
    let context = |what: &'static str| move |e| format!("{what}: {}", one_line(e));
    let mut file = loader
        .proto_model_for_read(&mut &*bytes)
        .map_err(context("Reading proto model"))?;
    round_old_resizes_down(&mut file);
    if let Some(graph) = &mut file.graph {
        read_external_data(graph, folder)?;
        rewrite_prelu(graph);
        let pixels = options
            .input
            .map(|(rows, columns)| vec![1, 3, rows, columns]);
        let shape = pixels.as_ref().or(options.shape.as_ref());
        let replaces = pixels.is_some() || options.replace_shape;
        if set_input_shape(graph, shape.map(Vec::as_slice), replaces)? {
            // Those of later values follow from it.
            loader = loader
                .with_ignore_output_shapes(true)
                .with_ignore_value_info(true);
        }
        if options.input.is_some() {
            free_reshapes(graph);
        }
        if let Some(maps) = &options.feature_maps {
            keep_feature_maps(graph, maps)?;
        }
    }
    let weight_scales = dequantize_model(&mut file)?;
    let mut model = loader
        .model_for_proto_model(&file)
        .map_err(context("Translating proto model to model"))?;
    let Some((rows, columns)) = options.input else {
        let model = model.into_typed().map_err(|error| match &options.shape {
            Some(shape) => format!("with an input of {shape:?}: {}", one_line(error)),
            None => one_line(error),
        })?;
        return Ok((model, weight_scales));
    };
    let fact = f32::fact([1, 3, rows, columns]);
    model.set_input_fact(0, fact.into()).map_err(one_line)?;
    let model = model.into_typed().map_err(|error| {
        let error = one_line(error);
        format!("the model does not support an input size of {columns}x{rows} pixels: {error}")
    })?;
    Ok((model, weight_scales))
}

/// Constant folding of casts: float16 weights are cast once, here; tract leaves casts of large
/// constants to each run.
fn fold_casts(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let node = model.node(id);
        let Some(cast) = node.op.downcast_ref::<Cast>() else {
            continue;
        };
        let Some(constant) = &model.outlet_fact(node.inputs[0])?.konst else {
            continue;
        };
        let widened = constant.cast_to_dt(cast.to)?.into_owned().into_arc_tensor();
        TypedModelPatch::replace_single_op(model, node, &[], Const::new(widened)?)?.apply(model)?;
    }
    Ok(())
}

/// ONNX's `Resize` and `Slice` become tract's own where they can, which the kernels support.
fn lower_to_core(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let node = model.node(id);
        let is_onnx = match node.op.name().as_ref() {
            "Resize" => !node.op.is::<Resize>(),
            "StridedSlice" => true,
            _ => false,
        };
        if is_onnx && let Some(patch) = node.op.declutter(model, node)? {
            patch.apply(model)?;
        }
    }
    Ok(())
}
