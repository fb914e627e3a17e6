//! The QOperator form: operators that read and write codes, as float operators.

use tract_onnx::pb::NodeProto;

use super::constant::{CodeType, Constant, Scales, Values};
use super::dequantizer::Dequantizer;
use super::node::{attribute, describe, input};

/// Whether the operator reads and writes codes with scales as its inputs.
pub(super) fn is_qoperator(op_type: &str) -> bool {
    op_type.starts_with("QLinear") || op_type == "QGemm"
}

/// Index of an operand among the inputs; scale and zero point follow it.
type Operand = usize;

impl Dequantizer<'_> {
    /// Adds the float operator between what it reads and the rounding of what it writes.
    pub fn qoperator(&mut self, node: &NodeProto) -> Result<(), String> {
        let at = describe(node);
        if attribute(node, "channels_last").is_some_and(|a| a.i != 0) {
            return Err(format!("{at}: channels_last is not supported"));
        }
        match node.op_type.as_str() {
            "QLinearConv" => self.qlinear_conv(node),
            "QGemm" => self.qgemm(node),
            "QLinearMatMul" => self.float_node(node, "MatMul", &[0, 3], 6),
            "QLinearAdd" => self.float_node(node, "Add", &[0, 3], 6),
            "QLinearMul" => self.float_node(node, "Mul", &[0, 3], 6),
            "QLinearLeakyRelu" => self.float_node(node, "LeakyRelu", &[0], 3),
            "QLinearSigmoid" => self.float_node(node, "Sigmoid", &[0], 3),
            "QLinearSoftmax" => self.float_node(node, "Softmax", &[0], 3),
            "QLinearReduceMean" => self.float_node(node, "ReduceMean", &[0], 3),
            "QLinearConcat" => {
                let operands: Vec<Operand> = (2..node.input.len()).step_by(3).collect();
                self.float_node(node, "Concat", &operands, 0)
            }
            "QLinearGlobalAveragePool" | "QLinearAveragePool" => {
                let op = node.op_type.trim_start_matches("QLinear");
                self.float_node(node, op, &[0], 3)
            }
            _ => Err(format!("{at}: this quantised operator is not supported")),
        }
    }

    /// The float operator `op` of the operands; `output` is the index of the output's scale.
    fn float_node(
        &mut self,
        node: &NodeProto,
        op: &str,
        operands: &[Operand],
        output: usize,
    ) -> Result<(), String> {
        let values = operands
            .iter()
            .map(|operand| self.operand(node, *operand, -1).map(|(name, _)| name))
            .collect::<Result<Vec<_>, _>>()?;
        self.push_float(node, op, values, output)
    }

    /// Adds the float operator `op`, and the rounding of its output if that has a scale.
    fn push_float(
        &mut self,
        node: &NodeProto,
        op: &str,
        inputs: Vec<String>,
        scale: usize,
    ) -> Result<(), String> {
        let at = describe(node);
        let output = node.output.first().filter(|name| !name.is_empty());
        let output = output.ok_or_else(|| format!("{at}: it has no output"))?;
        // Attributes of the quantised operators that the float ones do not have.
        let attributes = node.attribute.iter();
        let attributes = attributes.filter(|a| !matches!(&*a.name, "channels_last" | "opset"));
        let mut float = NodeProto {
            input: inputs,
            output: vec![format!("{output}.float")],
            name: node.name.clone(),
            op_type: op.to_owned(),
            attribute: attributes.cloned().collect(),
            ..NodeProto::default()
        };
        // QGemm may leave its result in float32.
        if op == "Gemm" && input(node, scale).is_none() {
            float.output = vec![output.clone()];
            self.nodes.push(float);
            return Ok(());
        }
        let params = self.params(node, scale, scale + 1, CodeType::U8)?;
        let values = params.per_tensor(&at)?;
        let from = float.output[0].clone();
        self.nodes.push(float);
        let name = format!("{output}.quantize");
        self.fake_quantize(&name, &from, output, (values, params.code_type));
        Ok(())
    }

    /// The tensor with the values of an operand, and its scales. `axis` is that of the scales of a
    /// constant.
    fn operand(
        &mut self,
        node: &NodeProto,
        operand: Operand,
        axis: i64,
    ) -> Result<(String, Vec<f32>), String> {
        let at = describe(node);
        let name =
            input(node, operand).ok_or_else(|| format!("{at}: input {operand} is missing"))?;
        if let Some(codes) = self.constant(name).map_err(|e| format!("{at}: {e}"))? {
            let default = codes.code_type().unwrap_or(CodeType::U8);
            let params = self.params(node, operand + 1, operand + 2, default)?;
            let values = params.dequantize(&at, axis, &codes)?;
            let name = self.add_constant(&format!("{name}.float"), values)?;
            return Ok((name, params.scales));
        }
        let default = self.default_type(name);
        let params = self.params(node, operand + 1, operand + 2, default)?;
        let value = self.value_of(node, name, &params)?;
        Ok((value, params.scales))
    }

    /// Adds a constant; gives its name, which is `name` or begins with it.
    pub fn add_constant(&mut self, name: &str, constant: Constant) -> Result<String, String> {
        let mut unique = name.to_owned();
        while self.folded.contains_key(&unique) || self.tensor(&unique).is_some() {
            unique.push('_');
        }
        self.add_folded(&unique, constant, true)?;
        Ok(unique)
    }

    /// A bias of int32: its scale is the product of those of input and weights.
    fn bias(
        &mut self,
        node: &NodeProto,
        index: usize,
        input_scales: &[f32],
        weight_scales: &[f32],
        alpha: f32,
    ) -> Result<Option<String>, String> {
        let at = describe(node);
        let Some(name) = input(node, index) else {
            return Ok(None);
        };
        let constant = self.constant(name).map_err(|e| format!("{at}: {e}"))?;
        let codes = constant.ok_or_else(|| format!("{at}: its bias {name} is not a constant"))?;
        let Values::Codes(CodeType::I32, values) = &codes.values else {
            let found = codes.type_name();
            return Err(format!("{at}: its bias is {found}, expected int32"));
        };
        let (Some(input_scale), Some(last)) = (input_scales.first(), weight_scales.last()) else {
            return Err(format!("{at}: it has no scale"));
        };
        let scale_of =
            |channel: usize| alpha * input_scale * weight_scales.get(channel).unwrap_or(last);
        // One for each output channel, the last axis of Gemm's bias too.
        let channels = codes.dims.last().copied().unwrap_or(1).max(1);
        let values = values.iter().enumerate();
        let values = values.map(|(at, code)| *code as f32 * scale_of(at % channels));
        let bias = Constant {
            dims: codes.dims.clone(),
            values: Values::Float(values.collect()),
            scales: None::<Scales>,
        };
        self.add_constant(&format!("{name}.float"), bias).map(Some)
    }

    fn qlinear_conv(&mut self, node: &NodeProto) -> Result<(), String> {
        let (x, x_scales) = self.operand(node, 0, 0)?;
        let (weights, weight_scales) = self.operand(node, 3, 0)?;
        self.record_weights(&weights);
        let mut inputs = vec![x, weights];
        inputs.extend(self.bias(node, 8, &x_scales, &weight_scales, 1.0)?);
        self.push_float(node, "Conv", inputs, 6)
    }

    fn qgemm(&mut self, node: &NodeProto) -> Result<(), String> {
        let number = |name| attribute(node, name);
        let alpha = number("alpha").map_or(1.0, |alpha| alpha.f);
        let transposed = number("transB").is_some_and(|a| a.i != 0);
        let (a, a_scales) = self.operand(node, 0, 0)?;
        let (b, b_scales) = self.operand(node, 3, if transposed { 0 } else { 1 })?;
        let mut inputs = vec![a, b];
        inputs.extend(self.bias(node, 6, &a_scales, &b_scales, alpha)?);
        self.push_float(node, "Gemm", inputs, 7)
    }
}
