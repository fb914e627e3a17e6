//! Constant folding between quantised constants and what reads them: exporters transpose and
//! reshape weights before or after they dequantise them, and compute scales by nodes.

use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::constant::{CodeType, Constant, MAX_RANK, Values};
use super::dequantizer::Dequantizer;
use super::node::{attribute, input};

/// Other constants of at most this many values are folded too: they may be scales.
const SMALL: usize = 1 << 14;

impl Constant {
    pub fn code_type(&self) -> Option<CodeType> {
        match &self.values {
            Values::Codes(code_type, _) => Some(*code_type),
            Values::Float(_) | Values::Int64(_) => None,
        }
    }
}

impl Dequantizer<'_> {
    /// Computes the node's output if it is constant and may matter. Returns whether the node is
    /// not needed any more.
    pub fn fold(&mut self, node: &NodeProto) -> Result<bool, String> {
        let [output] = &node.output[..] else {
            return Ok(false);
        };
        let Some(result) = self.folded_output(node) else {
            return Ok(false);
        };
        // Dequantised values are constants of the float graph from here on.
        let is_alone = input(node, 0)
            .and_then(|name| self.folded.get(name))
            .is_some_and(|(_, is_alone)| *is_alone)
            && matches!(result.values, Values::Float(_));
        self.add_folded(output, result, is_alone)?;
        Ok(is_alone)
    }

    fn folded_output(&self, node: &NodeProto) -> Option<Constant> {
        let op = node.op_type.as_str();
        if op == "Constant" {
            return number(node);
        }
        let known = matches!(
            op,
            "Identity" | "Cast" | "Transpose" | "Reshape" | "Squeeze" | "Unsqueeze" | "Clip"
        );
        if !known {
            return None;
        }
        let name = input(node, 0)?;
        if !self.folded.contains_key(name) {
            let tensor = self.tensor(name)?;
            let is_code = matches!(
                CodeType::of(tensor.data_type),
                Some(CodeType::U8 | CodeType::I8)
            );
            let len = tensor
                .dims
                .iter()
                .try_fold(1i64, |n, dim| n.checked_mul(*dim))?;
            if !is_code && usize::try_from(len).ok()? > SMALL {
                return None;
            }
        }
        let value = self.constant(name).ok()??;
        let integers = |index: usize, attribute_name: &str| -> Option<Vec<i64>> {
            match input(node, index) {
                Some(name) => self.constant(name).ok()??.integers(),
                None => Some(attribute(node, attribute_name)?.ints.clone()),
            }
        };
        match op {
            "Identity" => Some((*value).clone()),
            "Cast" => cast(&value, attribute(node, "to")?.i as i32),
            "Transpose" => {
                let rank = value.dims.len();
                let order = match attribute(node, "perm") {
                    Some(perm) => perm.ints.iter().map(|i| usize::try_from(*i).ok()).collect(),
                    None => Some((0..rank).rev().collect::<Vec<_>>()),
                };
                value.transposed(&order?)
            }
            "Reshape" => {
                let wanted = integers(1, "shape")?;
                let zero_is_zero = attribute(node, "allowzero").is_some_and(|a| a.i != 0);
                value.reshaped(reshape_dims(&value, &wanted, zero_is_zero)?)
            }
            "Squeeze" => {
                let axes = axes(&integers(1, "axes")?, value.dims.len())?;
                let dims = value.dims.iter().enumerate();
                let kept = dims.filter(|(axis, _)| !axes.contains(axis));
                value.reshaped(kept.map(|(_, dim)| *dim).collect())
            }
            "Unsqueeze" => {
                let axes = integers(1, "axes")?;
                let rank = value.dims.len() + axes.len();
                let axes = self::axes(&axes, rank)?;
                let mut kept = value.dims.iter();
                let dims = (0..rank).map(|axis| {
                    if axes.contains(&axis) {
                        Some(1)
                    } else {
                        kept.next().copied()
                    }
                });
                value.reshaped(dims.collect::<Option<_>>()?)
            }
            "Clip" => {
                let Values::Codes(code_type, codes) = &value.values else {
                    return None;
                };
                let limit = |index: usize| match input(node, index) {
                    Some(name) => match self.constant(name).ok()??.integers()?[..] {
                        [limit] => Some(Some(limit)),
                        _ => None,
                    },
                    None => Some(None),
                };
                let low = limit(1)?.unwrap_or(i64::MIN);
                let high = limit(2)?.unwrap_or(i64::MAX);
                let clipped = codes.iter().map(|c| i64::from(*c).max(low).min(high));
                let codes = clipped
                    .map(|c| i32::try_from(c).ok())
                    .collect::<Option<_>>();
                let codes = Values::Codes(*code_type, codes?);
                Some(Constant::new(value.dims.clone(), codes))
            }
            _ => None,
        }
    }
}

/// The value of a `Constant` node that is not a tensor.
fn number(node: &NodeProto) -> Option<Constant> {
    let value = |name| attribute(node, name);
    let (dims, values) = if let Some(value) = value("value_float") {
        (Vec::new(), Values::Float(vec![value.f]))
    } else if let Some(value) = value("value_floats") {
        (
            vec![value.floats.len()],
            Values::Float(value.floats.clone()),
        )
    } else if let Some(value) = value("value_int") {
        (Vec::new(), Values::Int64(vec![value.i]))
    } else if let Some(value) = value("value_ints") {
        (vec![value.ints.len()], Values::Int64(value.ints.clone()))
    } else {
        return None;
    };
    Some(Constant::new(dims, values))
}

fn cast(value: &Constant, to: i32) -> Option<Constant> {
    if let (Values::Float(_), Ok(DataType::Float)) = (&value.values, DataType::try_from(to)) {
        return Some(value.clone());
    }
    let integers = value.integers()?;
    let values = match (CodeType::of(to), DataType::try_from(to)) {
        (Some(code_type), _) => {
            let (low, high) = code_type.range();
            let fits = |value: i64| {
                let code = i32::try_from(value).ok()?;
                (low..=high).contains(&code).then_some(code)
            };
            let codes = integers.into_iter().map(fits).collect::<Option<_>>()?;
            Values::Codes(code_type, codes)
        }
        (None, Ok(DataType::Int64)) => Values::Int64(integers),
        (None, Ok(DataType::Float)) => {
            Values::Float(integers.into_iter().map(|i| i as f32).collect())
        }
        _ => return None,
    };
    Some(Constant::new(value.dims.clone(), values))
}

fn axes(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let from_end = |axis: &i64| if *axis < 0 { axis + rank as i64 } else { *axis };
    if rank > MAX_RANK || axes.len() > MAX_RANK {
        return None;
    }
    axes.iter()
        .map(|axis| usize::try_from(from_end(axis)).ok())
        .collect()
}

fn reshape_dims(value: &Constant, wanted: &[i64], zero_is_zero: bool) -> Option<Vec<usize>> {
    let mut dims = Vec::new();
    let mut open = None;
    for (axis, dim) in wanted.iter().enumerate() {
        dims.push(match dim {
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            0 if !zero_is_zero => *value.dims.get(axis)?,
            dim => usize::try_from(*dim).ok()?,
        });
    }
    if let Some(axis) = open {
        let known = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim))?;
        dims[axis] = value.len().checked_div(known)?;
    }
    Some(dims)
}
