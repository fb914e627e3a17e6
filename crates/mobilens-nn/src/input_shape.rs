//! The shape of a network's input: that of the file, or another, and what the file leaves free.
//!
//! Exporters write a free axis as a name (`batch`, `height`) instead of a size, or the size of an example; the
//! kernels and the memory plan need the sizes of the run.

use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::tensor_shape_proto::dimension::Value;
use tract_onnx::pb::type_proto;
use tract_onnx::pb::{GraphProto, TensorShapeProto, ValueInfoProto};

/// Gives the free axes of the only input, or all if it `replaces` those of the file, the sizes of a shape; without
/// one, a free first axis, the batch, is 1. Returns whether that changed anything. A graph with other than one input is left as it is.
///
/// # Errors
/// Names the axes that remain free, and how to give them a size; says how many axes a shape must have.
pub(super) fn set_input_shape(
    graph: &mut GraphProto,
    shape: Option<&[usize]>,
    replaces: bool,
) -> Result<bool, String> {
    let is_constant = |input: &ValueInfoProto, graph: &GraphProto| {
        graph.initializer.iter().any(|t| t.name == input.name)
    };
    let mut inputs = (0..graph.input.len()).filter(|i| !is_constant(&graph.input[*i], graph));
    let (Some(index), None) = (inputs.next(), inputs.next()) else {
        return Ok(false);
    };
    let input = &mut graph.input[index];
    let written = written_shape(input);
    let name = input.name.clone();
    let Some(dims) = dims_of(input) else {
        return Ok(false);
    };
    if let Some(shape) = shape
        && shape.len() != dims.len()
    {
        let (axes, given) = (dims.len(), shape.len());
        return Err(format!(
            "the input {name} is {written}, with {axes} axes; the shape that was given has {given}"
        ));
    }
    // Where the batch is not 1, the sizes are those of an example.
    let is_example =
        matches!(dims.first().map(|d| &d.value), Some(Some(Value::DimValue(batch))) if *batch > 1);
    let replaces = replaces || is_example;
    let mut is_changed = false;
    let mut free = Vec::new();
    for (axis, dim) in dims.iter_mut().enumerate() {
        if let Some(Value::DimValue(size)) = dim.value
            && size > 0
        {
            let given = shape.map(|shape| shape[axis]);
            if !replaces || given.is_none_or(|given| usize::try_from(size) == Ok(given)) {
                continue;
            }
        }
        is_changed = true;
        let size = match shape {
            Some(shape) => Some(shape[axis]),
            None => (axis == 0).then_some(1),
        };
        match size {
            Some(size) => {
                let size = i64::try_from(size).map_err(|e| format!("axis {axis}: {e}"))?;
                dim.value = Some(Value::DimValue(size));
            }
            None => free.push(axis.to_string()),
        }
    }
    if free.is_empty() {
        return Ok(is_changed);
    }
    let example: Vec<String> = dims
        .iter()
        .enumerate()
        .map(|(axis, dim)| match dim.value {
            Some(Value::DimValue(size)) if size > 0 => size.to_string(),
            _ if axis == 1 => "3".to_owned(),
            _ => "224".to_owned(),
        })
        .collect();
    let (axes, are) = if free.len() == 1 {
        ("axis", "is")
    } else {
        ("axes", "are")
    };
    Err(format!(
        "the input {name} is {written}: {axes} {} {are} free; give its shape by `--shape`, for instance --shape {}, or \
         by `input` of a model card",
        free.join(" and "),
        example.join("x"),
    ))
}

/// The axes of an input, if it says them.
fn dims_of(input: &mut ValueInfoProto) -> Option<&mut Vec<Dimension>> {
    let type_proto::Value::TensorType(tensor) = input.r#type.as_mut()?.value.as_mut()?;
    let TensorShapeProto { dim } = tensor.shape.as_mut()?;
    Some(dim)
}

/// The shape as the file has it, `[batch, 3, 300, 300]`.
fn written_shape(input: &mut ValueInfoProto) -> String {
    let dims = dims_of(input).map(std::mem::take).unwrap_or_default();
    let size = |dim: &Dimension| match &dim.value {
        Some(Value::DimValue(size)) => size.to_string(),
        Some(Value::DimParam(name)) if !name.is_empty() => name.clone(),
        _ => "?".to_owned(),
    };
    let written: Vec<String> = dims.iter().map(size).collect();
    if let Some(all) = dims_of(input) {
        *all = dims;
    }
    format!("[{}]", written.join(", "))
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::{TensorProto, TypeProto};

    use super::*;

    fn graph(axes: &[&str]) -> GraphProto {
        let dim = |axis: &&str| Dimension {
            value: match axis.parse() {
                Ok(size) => Some(Value::DimValue(size)),
                Err(_) if axis.is_empty() => None,
                Err(_) => Some(Value::DimParam((*axis).to_owned())),
            },
            ..Dimension::default()
        };
        let tensor = type_proto::Tensor {
            elem_type: 1,
            shape: Some(TensorShapeProto {
                dim: axes.iter().map(dim).collect(),
            }),
        };
        let input = |name: &str| ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(tensor.clone())),
                ..TypeProto::default()
            }),
            ..ValueInfoProto::default()
        };
        GraphProto {
            // Old files list weights among the inputs.
            input: vec![input("weight"), input("x")],
            initializer: vec![TensorProto {
                name: "weight".to_owned(),
                ..TensorProto::default()
            }],
            ..GraphProto::default()
        }
    }

    fn fixed(axes: &[&str], shape: Option<&[usize]>) -> Result<(bool, String), String> {
        let mut graph = graph(axes);
        let is_changed = set_input_shape(&mut graph, shape, true)?;
        Ok((is_changed, written_shape(&mut graph.input[1])))
    }

    #[test]
    fn a_free_batch_is_one_and_a_given_shape_replaces_the_files() {
        let all = ["batch", "3", "height", ""];
        assert_eq!(
            fixed(&["batch", "3", "48", "192"], None),
            Ok((true, "[1, 3, 48, 192]".to_owned()))
        );
        assert_eq!(
            fixed(&all, Some(&[1, 3, 48, 192])),
            Ok((true, "[1, 3, 48, 192]".to_owned()))
        );
        assert_eq!(
            fixed(&["10", "3", "32", "32"], Some(&[1, 3, 640, 640])),
            Ok((true, "[1, 3, 640, 640]".to_owned()))
        );
        assert_eq!(
            fixed(&["1", "3", "48", "192"], Some(&[1, 3, 48, 192])),
            Ok((false, "[1, 3, 48, 192]".to_owned()))
        );
        let mut kept = graph(&["n", "3", "32", "32"]);
        assert_eq!(
            set_input_shape(&mut kept, Some(&[1, 3, 64, 64]), false),
            Ok(true)
        );
        assert_eq!(written_shape(&mut kept.input[1]), "[1, 3, 32, 32]");
        let mut example = graph(&["10", "3", "32", "32"]);
        assert_eq!(
            set_input_shape(&mut example, Some(&[1, 3, 64, 64]), false),
            Ok(true)
        );
        assert_eq!(written_shape(&mut example.input[1]), "[1, 3, 64, 64]");
    }

    #[test]
    fn free_axes_are_named() {
        let message = fixed(&["batch", "3", "height", ""], None).expect_err("two axes are free");
        assert!(
            message.contains("the input x is [batch, 3, height, ?]: axes 2 and 3 are free")
                && message.contains("--shape 1x3x224x224"),
            "{message}"
        );
        let message = fixed(&["-1", "3", "-1", "192"], None).expect_err("one is");
        assert!(message.contains("axis 2 is free"), "{message}");
        let message = fixed(&["n", "3", "h", "w"], Some(&[3, 48, 192])).expect_err("three axes");
        assert!(message.contains("with 4 axes"), "{message}");
    }
}
