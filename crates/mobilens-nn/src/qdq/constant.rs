//! Constant tensors of an ONNX graph: reading, dequantising, and changes of their axes.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

/// Most dimensions of a tensor.
pub(super) const MAX_RANK: usize = 32;

/// Element type of quantised values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodeType {
    U8,
    I8,
    /// Biases only.
    I32,
}

impl CodeType {
    pub fn of(data_type: i32) -> Option<Self> {
        match DataType::try_from(data_type) {
            Ok(DataType::Uint8) => Some(Self::U8),
            Ok(DataType::Int8) => Some(Self::I8),
            Ok(DataType::Int32) => Some(Self::I32),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::I32 => "int32",
        }
    }

    /// Least and greatest code.
    pub fn range(self) -> (i32, i32) {
        match self {
            Self::U8 => (0, 255),
            Self::I8 => (-128, 127),
            Self::I32 => (i32::MIN, i32::MAX),
        }
    }
}

/// Values in the order of memory.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Float(Vec<f32>),
    Codes(CodeType, Vec<i32>),
    Int64(Vec<i64>),
}

/// Scales that values were dequantised with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scales {
    /// The axis with one scale for each index; none: one scale for all.
    pub axis: Option<usize>,
    pub scales: Vec<f32>,
}

/// A constant tensor.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    pub dims: Vec<usize>,
    pub values: Values,
    /// Of dequantised values, where they are known.
    pub scales: Option<Scales>,
}

/// Name of an element type as ONNX writes it, in small letters.
pub(super) fn type_name(data_type: i32) -> String {
    match DataType::try_from(data_type) {
        Ok(known) => known.as_str_name().to_lowercase(),
        Err(_) => format!("unknown type {data_type}"),
    }
}

impl Constant {
    pub fn new(dims: Vec<usize>, values: Values) -> Self {
        Self {
            dims,
            values,
            scales: None,
        }
    }

    /// Reads a tensor of float32, uint8, int8, int32 or int64 values.
    pub fn read(tensor: &TensorProto) -> Result<Self, String> {
        let name = &tensor.name;
        if tensor.data_location == Some(DataLocation::External as i32) {
            return Err(format!("tensor {name}: its values are in another file"));
        }
        let dims = tensor
            .dims
            .iter()
            .map(|dim| usize::try_from(*dim).ok())
            .collect::<Option<Vec<_>>>();
        let shape = dims.filter(|dims| dims.len() <= MAX_RANK).and_then(|dims| {
            let len = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim))?;
            Some((dims, len))
        });
        let (dims, len) =
            shape.ok_or_else(|| format!("tensor {name}: wrong shape {:?}", tensor.dims))?;
        let raw = &tensor.raw_data[..];
        let data_type = DataType::try_from(tensor.data_type);
        let values = match data_type {
            Ok(DataType::Float) if raw.is_empty() => Values::Float(tensor.float_data.clone()),
            Ok(DataType::Float) => Values::Float(numbers(raw, f32::from_le_bytes)),
            Ok(DataType::Int64) if raw.is_empty() => Values::Int64(tensor.int64_data.clone()),
            Ok(DataType::Int64) => Values::Int64(numbers(raw, i64::from_le_bytes)),
            _ => {
                let code_type = CodeType::of(tensor.data_type).ok_or_else(|| {
                    let found = type_name(tensor.data_type);
                    format!(
                        "tensor {name}: its type is {found}, which is not supported for quantised \
                         values and their scales"
                    )
                })?;
                let codes = match code_type {
                    _ if raw.is_empty() => tensor.int32_data.clone(),
                    CodeType::U8 => raw.iter().map(|byte| i32::from(*byte)).collect(),
                    CodeType::I8 => raw.iter().map(|byte| i32::from(*byte as i8)).collect(),
                    CodeType::I32 => numbers(raw, i32::from_le_bytes),
                };
                let (low, high) = code_type.range();
                if let Some(code) = codes.iter().find(|code| !(low..=high).contains(*code)) {
                    let type_name = code_type.name();
                    return Err(format!(
                        "tensor {name}: {code} is not a value of {type_name}"
                    ));
                }
                Values::Codes(code_type, codes)
            }
        };
        let constant = Self::new(dims, values);
        // The bytes too, as `numbers` leaves out an incomplete value at the end.
        let bytes = len.checked_mul(constant.bytes_per_value());
        let raw_fits = raw.is_empty() || bytes == Some(raw.len());
        if constant.len() != len || !raw_fits {
            let (found, dims) = (constant.len(), &tensor.dims);
            return Err(format!(
                "tensor {name}: {found} values for the shape {dims:?}"
            ));
        }
        Ok(constant)
    }

    fn bytes_per_value(&self) -> usize {
        match &self.values {
            Values::Float(_) | Values::Codes(CodeType::I32, _) => 4,
            Values::Codes(CodeType::U8 | CodeType::I8, _) => 1,
            Values::Int64(_) => 8,
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Float(values) => values.len(),
            Values::Codes(_, values) => values.len(),
            Values::Int64(values) => values.len(),
        }
    }

    pub fn type_name(&self) -> &'static str {
        match &self.values {
            Values::Float(_) => "float32",
            Values::Codes(code_type, _) => code_type.name(),
            Values::Int64(_) => "int64",
        }
    }

    /// Whole numbers of any type.
    pub fn integers(&self) -> Option<Vec<i64>> {
        match &self.values {
            Values::Float(_) => None,
            Values::Codes(_, values) => Some(values.iter().map(|v| i64::from(*v)).collect()),
            Values::Int64(values) => Some(values.clone()),
        }
    }

    /// As a tensor of a file; float values only.
    pub fn to_tensor(&self, name: &str) -> Option<TensorProto> {
        let Values::Float(values) = &self.values else {
            return None;
        };
        Some(TensorProto {
            dims: self.dims.iter().map(|dim| *dim as i64).collect(),
            data_type: DataType::Float as i32,
            name: name.to_owned(),
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..TensorProto::default()
        })
    }

    /// Axes in another order: axis `i` of the result is axis `order[i]`.
    pub fn transposed(&self, order: &[usize]) -> Option<Self> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if sorted.iter().enumerate().any(|(at, axis)| at != *axis) || order.len() != self.dims.len()
        {
            return None;
        }
        let stride_of = |axis: usize| -> usize { self.dims[axis + 1..].iter().product() };
        let dims: Vec<usize> = order.iter().map(|axis| self.dims[*axis]).collect();
        let strides: Vec<usize> = order.iter().map(|axis| stride_of(*axis)).collect();
        let sources: Vec<usize> = (0..self.len())
            .map(|index| {
                let (mut rest, mut from) = (index, 0);
                for (size, stride) in dims.iter().zip(&strides).rev() {
                    from += rest % size * stride;
                    rest /= size;
                }
                from
            })
            .collect();
        let values = match &self.values {
            Values::Float(values) => Values::Float(sources.iter().map(|i| values[*i]).collect()),
            Values::Codes(code_type, values) => {
                Values::Codes(*code_type, sources.iter().map(|i| values[*i]).collect())
            }
            Values::Int64(values) => Values::Int64(sources.iter().map(|i| values[*i]).collect()),
        };
        let moved = |axis: usize| order.iter().position(|from| *from == axis);
        Some(Self {
            dims,
            values,
            scales: self.scales_along(moved),
        })
    }

    /// The same values under another shape of as many values.
    pub fn reshaped(&self, dims: Vec<usize>) -> Option<Self> {
        let len = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim))?;
        if len != self.len() || dims.len() > MAX_RANK {
            return None;
        }
        // The axis is still there if as many values lie before and within it.
        let moved = |axis: usize| {
            let before: usize = self.dims[..axis].iter().product();
            (0..dims.len()).find(|to| {
                dims[*to] == self.dims[axis] && dims[..*to].iter().product::<usize>() == before
            })
        };
        Some(Self {
            scales: self.scales_along(moved),
            values: self.values.clone(),
            dims,
        })
    }

    /// The scales after axes have moved.
    fn scales_along(&self, moved: impl Fn(usize) -> Option<usize>) -> Option<Scales> {
        let Scales { axis, scales } = self.scales.as_ref()?;
        let axis = match axis {
            Some(axis) => Some(moved(*axis)?),
            None => None,
        };
        Some(Scales {
            axis,
            scales: scales.clone(),
        })
    }

    /// The scale of each index of axis 0, of dequantised values.
    pub fn scales_of_outputs(&self) -> Option<Vec<f32>> {
        let Scales { axis, scales } = self.scales.as_ref()?;
        let outputs = *self.dims.first()?;
        match axis {
            None => Some(vec![*scales.first()?; outputs]),
            Some(0) => Some(scales.clone()),
            Some(_) => None,
        }
    }
}

fn numbers<const N: usize, T>(raw: &[u8], convert: fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks()
        .0
        .iter()
        .map(|bytes| convert(*bytes))
        .collect()
}
