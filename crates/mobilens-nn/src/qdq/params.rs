//! Scales and zero points: their checks, and what they make of constants.

use super::constant::{CodeType, Constant, Scales, Values};
use crate::kernels::FakeQuantize;

/// Scale and zero point of a tensor, or of each index of one of its axes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QuantParams {
    pub scales: Vec<f32>,
    pub zero_points: Vec<i32>,
    /// The type of the codes.
    pub code_type: CodeType,
}

impl QuantParams {
    /// Checks scale and zero point of the operator that `at` names. Without a zero point it is 0,
    /// of the type `default`.
    pub fn new(
        at: &str,
        scale: &Constant,
        zero_point: Option<&Constant>,
        default: CodeType,
    ) -> Result<Self, String> {
        let Values::Float(scales) = &scale.values else {
            let found = scale.type_name();
            return Err(format!("{at}: its scale is {found}, expected float32"));
        };
        if scale.dims.len() > 1 {
            return Err(format!(
                "{at}: its scale has the shape {:?}; only one scale for a tensor or for each index \
                 of an axis is supported",
                scale.dims
            ));
        }
        if scales.is_empty() {
            return Err(format!("{at}: its scale has no values"));
        }
        if let Some(wrong) = scales.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(format!(
                "{at}: its scale is {wrong}, expected a finite number above 0"
            ));
        }
        let (code_type, zero_points) = match zero_point {
            None => (default, vec![0; scales.len()]),
            Some(zero_point) => match &zero_point.values {
                Values::Codes(code_type, zero_points) => (*code_type, zero_points.clone()),
                _ => {
                    let found = zero_point.type_name();
                    return Err(format!(
                        "{at}: its zero point is {found}, expected int8 or uint8"
                    ));
                }
            },
        };
        if zero_points.len() != scales.len() {
            let (zeros, scales) = (zero_points.len(), scales.len());
            return Err(format!(
                "{at}: {zeros} zero points and {scales} scales, expected as many"
            ));
        }
        Ok(Self {
            scales: scales.clone(),
            zero_points,
            code_type,
        })
    }

    /// The parameters for an activation: one scale, codes of 8 bits.
    pub fn per_tensor(&self, at: &str) -> Result<FakeQuantize, String> {
        let ([scale], [zero_point]) = (&self.scales[..], &self.zero_points[..]) else {
            let count = self.scales.len();
            return Err(format!(
                "{at}: {count} scales; an activation must have one for the whole tensor"
            ));
        };
        let (low, high) = self.code_type.range();
        // int8 becomes uint8: 128 more for codes and zero point.
        let unsigned = |code: i32| u8::try_from(code - if low == 0 { 0 } else { -128 }).ok();
        let known = match self.code_type {
            CodeType::I32 => None,
            _ => Some((unsigned(*zero_point), unsigned(low), unsigned(high))),
        };
        let Some((Some(zero_point), Some(low), Some(high))) = known else {
            return Err(format!("{at}: its type is int32, expected int8 or uint8"));
        };
        Ok(FakeQuantize {
            scale: *scale,
            zero_point,
            low,
            high,
        })
    }

    /// The axis that the scales belong to; none if there is one scale for all.
    fn axis_of(&self, at: &str, axis: i64, dims: &[usize]) -> Result<Option<usize>, String> {
        if self.scales.len() == 1 {
            return Ok(None);
        }
        let rank = dims.len();
        let from_end = if axis < 0 { axis + rank as i64 } else { axis };
        let found = usize::try_from(from_end).ok().filter(|axis| *axis < rank);
        let Some(found) = found else {
            return Err(format!(
                "{at}: axis {axis} of a tensor of {rank} dimensions"
            ));
        };
        if dims[found] != self.scales.len() {
            let (scales, size) = (self.scales.len(), dims[found]);
            return Err(format!(
                "{at}: {scales} scales for axis {axis}, whose size is {size}"
            ));
        }
        Ok(Some(found))
    }

    /// For each value the index of its scale.
    fn index_of<'a>(axis: Option<usize>, dims: &'a [usize]) -> impl Fn(usize) -> usize + use<'a> {
        let inner = axis.map_or(1, |axis| dims[axis + 1..].iter().product::<usize>());
        let size = axis.map_or(1, |axis| dims[axis]);
        move |at| at / inner.max(1) % size.max(1)
    }

    /// `(code - zero point) * scale`, each step in float32 once.
    pub fn dequantize(&self, at: &str, axis: i64, codes: &Constant) -> Result<Constant, String> {
        let Values::Codes(code_type, values) = &codes.values else {
            let found = codes.type_name();
            return Err(format!(
                "{at}: its input is {found}, expected int8, uint8 or int32"
            ));
        };
        if *code_type != self.code_type {
            let (input, zero) = (code_type.name(), self.code_type.name());
            return Err(format!(
                "{at}: its input is {input}, but its zero point {zero}"
            ));
        }
        if *code_type == CodeType::I32 && self.zero_points.iter().any(|zero| *zero != 0) {
            return Err(format!("{at}: the zero point of int32 must be 0"));
        }
        let axis = self.axis_of(at, axis, &codes.dims)?;
        let index_of = Self::index_of(axis, &codes.dims);
        let dequantized = values.iter().enumerate().map(|(at, code)| {
            let index = index_of(at);
            (code - self.zero_points[index]) as f32 * self.scales[index]
        });
        Ok(Constant {
            dims: codes.dims.clone(),
            values: Values::Float(dequantized.collect()),
            scales: Some(Scales {
                axis,
                scales: self.scales.clone(),
            }),
        })
    }

    /// The codes of constant values: round to nearest even, then saturate.
    pub fn quantize(&self, at: &str, axis: i64, constant: &Constant) -> Result<Constant, String> {
        let Values::Float(values) = &constant.values else {
            let found = constant.type_name();
            return Err(format!("{at}: its input is {found}, expected float32"));
        };
        if self.code_type == CodeType::I32 {
            return Err(format!("{at}: its type is int32, expected int8 or uint8"));
        }
        let axis = self.axis_of(at, axis, &constant.dims)?;
        let index_of = Self::index_of(axis, &constant.dims);
        let (low, high) = self.code_type.range();
        let codes = values.iter().enumerate().map(|(at, value)| {
            let index = index_of(at);
            let code = (value / self.scales[index]).round_ties_even();
            // `as` saturates.
            (code as i64)
                .saturating_add(i64::from(self.zero_points[index]))
                .clamp(i64::from(low), i64::from(high)) as i32
        });
        Ok(Constant::new(
            constant.dims.clone(),
            Values::Codes(self.code_type, codes.collect()),
        ))
    }
}
