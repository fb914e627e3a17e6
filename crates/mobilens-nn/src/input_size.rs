//! Another input size than the file's, and fewer of a detector's feature maps, before tract reads the
//! file.
//!
//! A fully convolutional network runs at any input size, but files state the shapes of one: the heads of
//! an SSD are brought to `[1, anchors, values]` by `Reshape`s to constant shapes.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto};

use crate::load_options::FeatureMaps;

/// Lets each `Reshape` to a constant shape of three dimensions take the middle one from its input.
pub(super) fn free_reshapes(graph: &mut GraphProto) {
    let shapes: Vec<String> = graph
        .node
        .iter()
        .filter(|node| node.op_type == "Reshape")
        .filter_map(|node| node.input.get(1).cloned())
        .collect();
    for tensor in &mut graph.initializer {
        if !shapes.contains(&tensor.name) {
            continue;
        }
        if let Some([first, middle, last]) = shape_of(tensor)
            && middle > 0
            && first > 0
            && last > 0
        {
            tensor.raw_data.clear();
            tensor.int64_data = vec![first, -1, last];
        }
    }
}

/// The values of an int64 tensor of three values.
fn shape_of(tensor: &TensorProto) -> Option<[i64; 3]> {
    if tensor.data_type != DataType::Int64 as i32 || tensor.dims != [3] {
        return None;
    }
    let values: Vec<i64> = if tensor.raw_data.is_empty() {
        tensor.int64_data.clone()
    } else {
        let words = tensor.raw_data.as_chunks::<8>().0.iter();
        words.map(|word| i64::from_le_bytes(*word)).collect()
    };
    values.try_into().ok()
}

/// Leaves of each output, which must be a `Concat` of all feature maps, only the first maps.
///
/// # Errors
/// When an output is none, or has fewer.
pub(super) fn keep_feature_maps(graph: &mut GraphProto, maps: &FeatureMaps) -> Result<(), String> {
    for output in &maps.outputs {
        let node = graph
            .node
            .iter_mut()
            .find(|node| node.output.first() == Some(output));
        let concat = node.filter(|node| node.op_type == "Concat");
        let concat = concat.ok_or_else(|| {
            format!(
                "the output {output} is no Concat of feature maps, of which some could be left out"
            )
        })?;
        if concat.input.len() < maps.count || maps.count == 0 {
            return Err(format!(
                "the output {output} has {} feature maps, not {}",
                concat.input.len(),
                maps.count
            ));
        }
        concat.input.truncate(maps.count);
    }
    Ok(())
}
