//! Loads an ONNX file with tract: shape inference, and constant folding that tract leaves out.

use std::path::Path;

use prost::Message as _;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::model::TypedModelPatch;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::nn::Resize;

use crate::external_data::read_external_data;
use crate::input_shape::set_input_shape;
use crate::input_size::{free_reshapes, keep_feature_maps};
use crate::load_options::LoadOptions;
use crate::qdq::{WeightScales, dequantize_model, register_fake_quantize};
use crate::weight_checks::{check_size, check_tensors};

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
    check_sizes(&model)?;
    model.prop_consts().map_err(one_line)?;
    fold_casts(&mut model).map_err(one_line)?;
    lower_resizes(&mut model).map_err(one_line)?;
    cast_outputs(&mut model).map_err(one_line)?;
    Ok((model, weight_scales))
}

/// The content of an ONNX file.
pub(super) fn read_proto(bytes: &[u8]) -> Result<ModelProto, String> {
    let file = ModelProto::decode(bytes)
        .map_err(|e| format!("not an ONNX file, or cut off: {e}").replace('\n', " "))?;
    match &file.graph {
        Some(graph) if !graph.output.is_empty() => Ok(file),
        _ => Err("not an ONNX file, or cut off: it has no outputs".to_owned()),
    }
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
    let mut file = read_proto(bytes)?;
    if let Some(graph) = &mut file.graph {
        read_external_data(graph, folder)?;
        check_tensors(graph)?;
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

/// Whether each value has a size that a network can have; before memory is asked for.
fn check_sizes(model: &TypedModel) -> Result<(), String> {
    for node in &model.nodes {
        for output in &node.outputs {
            if let Some(shape) = output.fact.shape.as_concrete() {
                let dims: Vec<u64> = shape.iter().map(|dim| *dim as u64).collect();
                check_size(&format!("the value {}", node.name), &dims)?;
            }
        }
    }
    Ok(())
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

/// Outputs that are integers (class ids of an `ArgMax`) or float16 as float32.
fn cast_outputs(model: &mut TypedModel) -> TractResult<()> {
    let mut outputs = model.outputs.clone();
    for outlet in &mut outputs {
        let datum_type = model.outlet_fact(*outlet)?.datum_type;
        let is_exact = datum_type.is_integer() || datum_type == DatumType::F16;
        if !is_exact || datum_type.is_quantized() {
            continue;
        }
        let name = model
            .outlet_label(*outlet)
            .map_or_else(|| model.node(outlet.node).name.clone(), str::to_owned);
        let cast = Cast::new(DatumType::F32);
        let cast = model.wire_node(format!("{name}.float32"), cast, &[*outlet])?;
        *outlet = cast[0];
        model.set_outlet_label(*outlet, name)?;
    }
    model.select_output_outlets(&outputs)
}

/// ONNX's `Resize` becomes tract's own where it can, which the kernels support.
fn lower_resizes(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let node = model.node(id);
        let is_onnx = node.op.name() == "Resize" && !node.op.is::<Resize>();
        if is_onnx && let Some(patch) = node.op.declutter(model, node)? {
            patch.apply(model)?;
        }
    }
    Ok(())
}
