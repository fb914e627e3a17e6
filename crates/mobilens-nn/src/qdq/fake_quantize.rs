//! [`FakeQuantize`] as an operator of tract, and the node that its ONNX parser makes one from.

use tract_onnx::Onnx;
use tract_onnx::pb::{AttributeProto, NodeProto, attribute_proto::AttributeType};
use tract_onnx::prelude::{DatumType, Tensor, TractResult, TypedModel};
use tract_onnx::tract_core::internal::{bail, format_err};
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_hir::ops::element_wise::ElementWiseIntoHir as _;

use crate::kernels::FakeQuantize;

/// Name of the operator in the graph that tract's parser reads; no file holds it.
const OP_TYPE: &str = "MobiLensFakeQuantize";

/// The operator of tract.
#[derive(Clone, Debug)]
pub(crate) struct FakeQuantizeOp(pub FakeQuantize);

impl PartialEq for FakeQuantizeOp {
    fn eq(&self, other: &Self) -> bool {
        let key = |op: &Self| (op.0.scale.to_bits(), op.0.zero_point, op.0.low, op.0.high);
        key(self) == key(other)
    }
}

impl Eq for FakeQuantizeOp {}

impl ElementWiseMiniOp for FakeQuantizeOp {
    fn name(&self) -> String {
        "FakeQuantize".to_owned()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _type: Option<DatumType>) -> TractResult<()> {
        apply_in_place(tensor, |value| self.0.apply(value))
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?}", self.0)])
    }
}

/// The limits of a [`FakeQuantizeOp`] without its rounding.
#[derive(Clone, Debug)]
struct FakeQuantizeLimits(FakeQuantize);

impl PartialEq for FakeQuantizeLimits {
    fn eq(&self, other: &Self) -> bool {
        FakeQuantizeOp(self.0) == FakeQuantizeOp(other.0)
    }
}

impl Eq for FakeQuantizeLimits {}

impl FakeQuantizeLimits {
    /// The least and the greatest value.
    fn limits(&self) -> (f32, f32) {
        (self.0.value(self.0.low), self.0.value(self.0.high))
    }
}

impl ElementWiseMiniOp for FakeQuantizeLimits {
    fn name(&self) -> String {
        "Clip".to_owned()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _type: Option<DatumType>) -> TractResult<()> {
        let (low, high) = self.limits();
        apply_in_place(tensor, |value| value.max(low).min(high))
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?}", self.limits())])
    }
}

fn apply_in_place(tensor: &mut Tensor, function: impl Fn(f32) -> f32) -> TractResult<()> {
    if tensor.datum_type() != DatumType::F32 {
        bail!(
            "FakeQuantize of {:?}, expected float32",
            tensor.datum_type()
        );
    }
    let mut plain = tensor.try_as_plain_ram_mut()?;
    for value in plain.as_slice_mut::<f32>()? {
        *value = function(*value);
    }
    Ok(())
}

/// Runs what tract runs of a quantised file in float32: values are limited to the range of their codes
/// but not rounded.
pub(crate) fn drop_rounding_of_model(model: &mut TypedModel) {
    for node in &mut model.nodes {
        let op = node.op.downcast_ref::<ElementWiseOp>();
        if let Some(FakeQuantizeOp(rounding)) = op.and_then(|op| op.0.downcast_ref()) {
            let limits = FakeQuantizeLimits(*rounding);
            node.op = Box::new(ElementWiseOp(Box::new(limits), None));
        }
    }
}

/// Teaches tract's parser the operator.
pub(crate) fn register_fake_quantize(onnx: &mut Onnx) {
    onnx.op_register.insert(OP_TYPE, |_, node| {
        let op = FakeQuantizeOp(
            parse(node).ok_or_else(|| format_err!("{OP_TYPE} with wrong attributes"))?,
        );
        Ok((ElementWiseOp(Box::new(op), None).into_hir(), Vec::new()))
    });
}

/// The operator of a node that [`fake_quantize_node`] made.
fn parse(node: &NodeProto) -> Option<FakeQuantize> {
    let attribute = |name| node.attribute.iter().find(|a| a.name == name);
    let code = |name| u8::try_from(attribute(name)?.i).ok();
    (node.op_type == OP_TYPE).then_some(())?;
    Some(FakeQuantize {
        scale: attribute("scale")?.f,
        zero_point: code("zero_point")?,
        low: code("low")?,
        high: code("high")?,
    })
}

/// The node from tensor `input` to tensor `output`.
pub(super) fn fake_quantize_node(
    name: &str,
    input: &str,
    output: &str,
    op: FakeQuantize,
) -> NodeProto {
    let int = |name: &str, value: u8| AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: i64::from(value),
        ..AttributeProto::default()
    };
    let scale = AttributeProto {
        name: "scale".to_owned(),
        r#type: AttributeType::Float as i32,
        f: op.scale,
        ..AttributeProto::default()
    };
    NodeProto {
        input: vec![input.to_owned()],
        output: vec![output.to_owned()],
        name: name.to_owned(),
        op_type: OP_TYPE.to_owned(),
        attribute: vec![
            scale,
            int("zero_point", op.zero_point),
            int("low", op.low),
            int("high", op.high),
        ],
        ..NodeProto::default()
    }
}
