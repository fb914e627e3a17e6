//! Quantised ONNX files as float graphs, before tract reads them.
//!
//! Both forms are read: QDQ, float operators between `QuantizeLinear` and `DequantizeLinear`, and
//! QOperator, `QLinearConv` and its like. In the graph that tract gets,
//! - constants are float32, `(code - zero point) * scale`, and [`WeightScales`] tells the scales of
//!   the weights of convolutions;
//! - where values were quantised stands one [`FakeQuantize`](crate::kernels::FakeQuantize), which
//!   rounds and limits them as their codes would be. int8 has become uint8, 128 more for codes and
//!   zero point;
//! - inputs and outputs that were quantised are float32: the values that the codes stand for.
//!
//! So every operator that has no int8 kernel still runs, in float32, with the rounding of the file.
//! A file without quantised operators is left as it is.

mod channels;
mod constant;
mod dequantizer;
mod fake_quantize;
mod fold;
mod names;
mod node;
mod params;
mod qoperator;
mod weight_scales;

#[cfg(test)]
mod tests;

pub(super) use fake_quantize::{FakeQuantizeOp, drop_rounding_of_model, register_fake_quantize};
pub(super) use weight_scales::WeightScales;

use tract_onnx::pb::{GraphProto, ModelProto};

use dequantizer::Dequantizer;

/// Makes a float graph of a quantised one; gives the scales of its weights, `None` for a float graph.
pub(super) fn dequantize_model(model: &mut ModelProto) -> Result<Option<WeightScales>, String> {
    match &mut model.graph {
        Some(graph) if is_quantized(graph) => Dequantizer::run(graph).map(Some),
        _ => Ok(None),
    }
}

fn is_quantized(graph: &GraphProto) -> bool {
    graph.node.iter().any(|node| {
        matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear")
            || qoperator::is_qoperator(&node.op_type)
    })
}
