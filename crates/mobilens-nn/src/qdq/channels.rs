//! Activations with a scale for each channel, as NNCF quantises the input of depthwise convolutions.

use tract_onnx::pb::NodeProto;

use super::constant::{Constant, Values};
use super::dequantizer::{Dequantizer, Quantized};
use super::node::{describe, name_of};
use super::params::QuantParams;

impl Dequantizer<'_> {
    /// Adds the nodes that round and limit the values of `from`, `[1, c, h, w]`: a division by the
    /// scales, a rounding at scale 1, and a multiplication by the scales.
    pub fn quantize_channels(
        &mut self,
        node: &NodeProto,
        from: &str,
        to: &str,
        axis: i64,
        params: QuantParams,
    ) -> Result<(), String> {
        let at = describe(node);
        let count = params.scales.len();
        if axis != 1 && axis != -3 {
            return Err(format!(
                "{at}: {count} scales along axis {axis}; an activation may have several only for \
                 its channels, axis 1"
            ));
        }
        let shape = vec![1, count, 1, 1];
        let constant = |values| Constant::new(shape.clone(), Values::Float(values));
        let scales = constant(params.scales.clone());
        let scales = self.add_constant(&format!("{to}.scales"), scales)?;
        let zero_points = &params.zero_points;
        let all_equal = zero_points.iter().all(|zero| *zero == zero_points[0]);
        // Where they differ, the zero points are added before the rounding. Ties may then be rounded
        // to the other side.
        let common = QuantParams {
            scales: vec![1.0],
            zero_points: vec![if all_equal { zero_points[0] } else { 0 }],
            code_type: params.code_type,
        };
        let rounding = common.per_tensor(&at)?;
        let mut value = self.add_float("Div", to, "divided", [from, &scales]);
        let offsets = if all_equal {
            None
        } else {
            let offsets = zero_points.iter().map(|zero| *zero as f32).collect();
            Some(self.add_constant(&format!("{to}.zero_points"), constant(offsets))?)
        };
        if let Some(offsets) = &offsets {
            value = self.add_float("Add", to, "codes", [&value, offsets]);
        }
        let rounded = format!("{to}.rounded");
        let rounding = (rounding, params.code_type);
        self.fake_quantize(name_of(node), &value, &rounded, rounding);
        value = rounded;
        if let Some(offsets) = &offsets {
            value = self.add_float("Sub", to, "offsets", [&value, offsets]);
        }
        let output = self.add_float("Mul", to, "values", [&value, &scales]);
        self.same(to, &output);
        self.quantized
            .insert(to.to_owned(), Quantized::Channels(params));
        Ok(())
    }

    /// Adds a float operator of two operands; gives the name of its output.
    fn add_float(&mut self, op: &str, to: &str, what: &str, operands: [&str; 2]) -> String {
        let output = format!("{to}.{what}");
        self.nodes.push(NodeProto {
            input: operands.map(str::to_owned).into(),
            output: vec![output.clone()],
            name: output.clone(),
            op_type: op.to_owned(),
            ..NodeProto::default()
        });
        output
    }

    /// Takes the tensor `to` for the values of `from`, if they were quantised with `params`.
    pub fn dequantize_channels(
        &mut self,
        node: &NodeProto,
        from: &str,
        to: &str,
        params: &QuantParams,
    ) -> Result<(), String> {
        if self.quantized.get(from) == Some(&Quantized::Channels(params.clone())) {
            self.same(to, from);
            return Ok(());
        }
        let at = describe(node);
        Err(format!(
            "{at}: {from} was not quantised with these {} scales and zero points",
            params.scales.len()
        ))
    }
}
