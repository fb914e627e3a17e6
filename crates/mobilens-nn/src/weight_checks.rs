//! Checks of a file's tensors before anything is computed from them: sizes that no network has, data that is cut
//! off, and weights that are no numbers.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value;
use tract_onnx::pb::{GraphProto, TensorProto, ValueInfoProto, type_proto};

/// Most values of a tensor: 1 GB of float32.
pub(super) const MAX_VALUES: u64 = 1 << 28;

/// Operators whose further inputs are weights. Elsewhere an infinite constant may be meant, as that of a mask.
const WITH_WEIGHTS: [&str; 7] = [
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "Gemm",
    "LayerNormalization",
    "MatMul",
    "PRelu",
];
/// Operators that only change a weight's form.
const FORMS: [&str; 6] = [
    "Cast",
    "DequantizeLinear",
    "Identity",
    "Reshape",
    "Squeeze",
    "Transpose",
];

/// Checks a graph whose weights are all in it.
///
/// # Errors
/// Names the input or weight that is too large, has not as much data as its shape says, or holds NaN, or infinity as
/// a weight.
pub(super) fn check_tensors(graph: &GraphProto) -> Result<(), String> {
    for input in &graph.input {
        let dims = declared_dims(input);
        check_size(&format!("the input {}", input.name), &dims)?;
    }
    let weights = weight_names(graph);
    let in_nodes = graph.node.iter().flat_map(|node| {
        let tensors = node.attribute.iter().filter_map(|a| a.t.as_ref());
        tensors.map(|tensor| (tensor, node.output.first()))
    });
    let initialisers = graph.initializer.iter().map(|t| (t, Some(&t.name)));
    for (tensor, name) in initialisers.chain(in_nodes) {
        let name = name.map_or("", String::as_str);
        let what = format!("the constant {name}");
        let dims: Vec<u64> = tensor
            .dims
            .iter()
            .map(|dim| u64::try_from(*dim).map_err(|_| format!("{what} has an axis of {dim}")))
            .collect::<Result<_, _>>()?;
        let count = check_size(&what, &dims)?;
        check_data(&what, tensor, &dims, count)?;
        if let Some((index, value)) = not_finite(tensor)
            && (value.is_nan() || weights.contains(name))
        {
            let value = if value.is_nan() { "NaN" } else { "infinite" };
            return Err(format!(
                "{what} {dims:?} is {value} at index {index}: the training diverged or the file is damaged; export \
                 weights that are all finite numbers"
            ));
        }
    }
    check_filled(graph)
}

/// The number of values.
///
/// # Errors
/// When they are more than [`MAX_VALUES`].
pub(super) fn check_size(what: &str, dims: &[u64]) -> Result<u64, String> {
    let count = dims.iter().try_fold(1u64, |n, dim| n.checked_mul(*dim));
    count.filter(|n| *n <= MAX_VALUES).ok_or_else(|| {
        format!(
            "{what} is {dims:?}, more than the {} MB that a tensor may have",
            (MAX_VALUES * 4) >> 20
        )
    })
}

/// The fixed axes.
fn declared_dims(value: &ValueInfoProto) -> Vec<u64> {
    let Some(type_proto::Value::TensorType(tensor)) =
        value.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Vec::new();
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    dims.filter_map(|dim| match dim.value {
        Some(Value::DimValue(size)) => u64::try_from(size).ok().filter(|size| *size > 0),
        _ => None,
    })
    .collect()
}

/// Constants that are filled with one value: their shape is a few bytes of the file.
fn check_filled(graph: &GraphProto) -> Result<(), String> {
    for node in &graph.node {
        let shape = match node.op_type.as_str() {
            "ConstantOfShape" => node.input.first(),
            "Expand" | "Reshape" => node.input.get(1),
            _ => None,
        };
        let Some(shape) = shape.and_then(|name| constant(graph, name)) else {
            continue;
        };
        let dims: Vec<u64> = integers(shape)
            .into_iter()
            .map(|dim| u64::try_from(dim).unwrap_or(1))
            .collect();
        let output = node.output.first().map_or("", String::as_str);
        check_size(&format!("the value {output}"), &dims)?;
    }
    Ok(())
}

fn constant<'g>(graph: &'g GraphProto, name: &str) -> Option<&'g TensorProto> {
    let initialiser = graph.initializer.iter().find(|t| t.name == name);
    initialiser.or_else(|| {
        let mut nodes = graph.node.iter();
        let node =
            nodes.find(|node| node.op_type == "Constant" && node.output.iter().any(|o| o == name));
        node?.attribute.iter().find_map(|a| a.t.as_ref())
    })
}

/// The values of an int64 tensor.
fn integers(tensor: &TensorProto) -> Vec<i64> {
    if tensor.data_type != DataType::Int64 as i32 {
        return Vec::new();
    }
    let raw = tensor.raw_data.as_chunks::<8>().0;
    let raw = raw.iter().map(|bytes| i64::from_le_bytes(*bytes));
    raw.chain(tensor.int64_data.iter().copied()).collect()
}

/// What is used as a weight, also through operators that only change its form.
fn weight_names(graph: &GraphProto) -> HashSet<&str> {
    let mut names = HashSet::new();
    for node in graph.node.iter().rev() {
        let op = node.op_type.as_str();
        if WITH_WEIGHTS.contains(&op) {
            names.extend(node.input.iter().skip(1).map(String::as_str));
        } else if FORMS.contains(&op) && node.output.iter().any(|o| names.contains(o.as_str())) {
            names.extend(node.input.iter().map(String::as_str));
        }
    }
    names
}

/// Whether there is as much data as the shape says.
fn check_data(what: &str, tensor: &TensorProto, dims: &[u64], count: u64) -> Result<(), String> {
    let bytes = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float | DataType::Int32 | DataType::Uint32) => 4,
        Ok(DataType::Double | DataType::Int64 | DataType::Uint64) => 8,
        Ok(DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16) => 2,
        Ok(DataType::Int8 | DataType::Uint8 | DataType::Bool) => 1,
        _ => return Ok(()),
    };
    let typed = [
        tensor.float_data.len(),
        tensor.int32_data.len(),
        tensor.int64_data.len(),
        tensor.double_data.len(),
        tensor.uint64_data.len(),
    ];
    let given = tensor.raw_data.len() as u64;
    let is_whole = if tensor.raw_data.is_empty() {
        typed.iter().any(|length| *length as u64 == count)
    } else {
        given == count * bytes
    };
    if is_whole {
        return Ok(());
    }
    Err(format!(
        "{what} is {dims:?}, {} bytes; the file has {given}: it is damaged",
        count * bytes
    ))
}

/// The first value that is NaN, or else the first that is infinite, with its index.
fn not_finite(tensor: &TensorProto) -> Option<(usize, f64)> {
    let raw = &tensor.raw_data;
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) if raw.is_empty() => {
            first_of(tensor.float_data.iter().map(|v| f64::from(*v)))
        }
        Ok(DataType::Float) => {
            // Almost always none, so that the common case is one quick pass.
            let all = raw.as_chunks::<4>().0;
            let has_any = |block: &[[u8; 4]]| {
                let exponents = block.iter().map(|b| u32::from_le_bytes(*b) & 0x7f80_0000);
                exponents.fold(false, |any, e| any | (e == 0x7f80_0000))
            };
            if !all.chunks(1024).any(has_any) {
                return None;
            }
            first_of(all.iter().map(|b| f64::from(f32::from_le_bytes(*b))))
        }
        Ok(DataType::Double) if raw.is_empty() => first_of(tensor.double_data.iter().copied()),
        Ok(DataType::Double) => first_of(
            raw.as_chunks::<8>()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b)),
        ),
        Ok(DataType::Float16) => first_of_half(tensor, 0x7c00, 0x03ff),
        Ok(DataType::Bfloat16) => first_of_half(tensor, 0x7f80, 0x007f),
        _ => None,
    }
}

fn first_of(values: impl Iterator<Item = f64>) -> Option<(usize, f64)> {
    let mut infinite = None;
    for (index, value) in values.enumerate() {
        if value.is_nan() {
            return Some((index, value));
        }
        if value.is_infinite() && infinite.is_none() {
            infinite = Some((index, value));
        }
    }
    infinite
}

/// Of numbers of two bytes, by their bits of exponent and mantissa.
fn first_of_half(tensor: &TensorProto, exponent: u16, mantissa: u16) -> Option<(usize, f64)> {
    let value = |bits: u16| match (bits & exponent == exponent, bits & mantissa) {
        (false, _) => 0.0,
        (true, 0) => f64::INFINITY,
        (true, _) => f64::NAN,
    };
    if tensor.raw_data.is_empty() {
        return first_of(tensor.int32_data.iter().map(|bits| value(*bits as u16)));
    }
    let all = tensor.raw_data.as_chunks::<2>().0;
    let is_special = |b: &[u8; 2]| u16::from_le_bytes(*b) & exponent == exponent;
    let has_any = |block: &[[u8; 2]]| block.iter().fold(false, |any, b| any | is_special(b));
    if !all.chunks(1024).any(has_any) {
        return None;
    }
    first_of(all.iter().map(|b| value(u16::from_le_bytes(*b))))
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::NodeProto;

    use super::*;

    fn tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
        TensorProto {
            name: name.to_owned(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..TensorProto::default()
        }
    }

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.to_owned(),
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        }
    }

    fn check(tensors: Vec<TensorProto>, nodes: Vec<NodeProto>) -> Result<(), String> {
        check_tensors(&GraphProto {
            initializer: tensors,
            node: nodes,
            ..GraphProto::default()
        })
    }

    #[test]
    fn a_weight_that_is_no_number_is_named() {
        let conv = || vec![node("Conv", &["x", "w"], "y")];
        assert_eq!(
            check(vec![tensor("w", &[2, 1], &[1.0, f32::MAX])], conv()),
            Ok(())
        );
        let nan = check(
            vec![tensor("w", &[2, 1], &[f32::INFINITY, f32::NAN])],
            conv(),
        );
        let message = nan.expect_err("NaN");
        assert!(
            message.contains("the constant w [2, 1] is NaN at index 1"),
            "{message}"
        );
        let infinite = check(vec![tensor("w", &[1], &[f32::INFINITY])], conv());
        assert!(infinite.is_err_and(|m| m.contains("is infinite at index 0")));
    }

    #[test]
    fn an_infinite_constant_is_a_fault_only_as_a_weight() {
        let mask = || vec![tensor("m", &[1], &[f32::NEG_INFINITY])];
        assert_eq!(check(mask(), vec![node("Add", &["x", "m"], "y")]), Ok(()));
        let cast = vec![node("Cast", &["m"], "c"), node("MatMul", &["x", "c"], "y")];
        assert!(check(mask(), cast).is_err());
    }

    #[test]
    fn halves_are_read_by_their_bits() {
        for (data_type, nan, large) in [
            (DataType::Float16, 0x7e00_u16, 0x7bff_u16),
            (DataType::Bfloat16, 0x7fc0, 0x7f7f),
        ] {
            let of = |bits: u16| TensorProto {
                data_type: data_type as i32,
                raw_data: [0u16, bits].iter().flat_map(|b| b.to_le_bytes()).collect(),
                ..tensor("w", &[2], &[])
            };
            assert_eq!(check(vec![of(large)], Vec::new()), Ok(()));
            assert!(check(vec![of(nan)], Vec::new()).is_err_and(|m| m.contains("index 1")));
        }
    }

    #[test]
    fn sizes_are_checked_before_memory_is_asked_for() {
        let huge = check(vec![tensor("w", &[1 << 20, 1 << 20], &[])], Vec::new());
        assert!(huge.is_err_and(|m| m.contains("more than the 1024 MB")));
        let short = check(vec![tensor("w", &[3], &[0.0; 2])], Vec::new());
        assert!(short.is_err_and(|m| m.contains("12 bytes; the file has 8")));
        let shape = TensorProto {
            data_type: DataType::Int64 as i32,
            raw_data: [1i64 << 40].iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..tensor("s", &[1], &[])
        };
        let filled = check(vec![shape], vec![node("ConstantOfShape", &["s"], "y")]);
        assert!(filled.is_err_and(|m| m.contains("the value y is [1099511627776]")));
    }
}
