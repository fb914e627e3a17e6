//! Weights that an ONNX file keeps in files beside it.
//!
//! torch's exporter writes weights of 1 KB and more into `NAME.onnx.data`. They are read into the graph before
//! anything else looks at it, so that all that follows sees one kind of tensor.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::{Component, Path};

use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{GraphProto, TensorProto};

/// Reads the weights that are outside of the file, which lies in `folder`.
///
/// # Errors
/// When there is no folder, a file is missing, outside of the folder, or shorter than a tensor needs.
pub(super) fn read_external_data(
    graph: &mut GraphProto,
    folder: Option<&Path>,
) -> Result<(), String> {
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    let of_nodes = graph.node.iter_mut().flat_map(|node| {
        let attributes = node.attribute.iter_mut();
        attributes.filter_map(|attribute| attribute.t.as_mut())
    });
    for tensor in graph.initializer.iter_mut().chain(of_nodes) {
        if tensor.data_location != Some(DataLocation::External as i32) {
            continue;
        }
        read_tensor(tensor, folder, &mut files)
            .map_err(|why| format!("the weights of {}: {why}", tensor.name))?;
    }
    Ok(())
}

fn read_tensor(
    tensor: &mut TensorProto,
    folder: Option<&Path>,
    files: &mut HashMap<String, Vec<u8>>,
) -> Result<(), String> {
    let entry = |key: &str| {
        let mut entries = tensor.external_data.iter();
        entries.find(|entry| entry.key == key).map(|e| &e.value)
    };
    let number = |key: &str| match entry(key).map(|value| value.parse::<usize>()) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(format!("their {key} is not a whole number")),
    };
    let location = entry("location").ok_or("the file does not say where they are")?;
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    let folder = folder.ok_or("they are in another file")?;
    let bytes = match files.entry(location.clone()) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(read_beside(folder, location)?),
    };
    let end = length.map_or(Some(bytes.len()), |length| offset.checked_add(length));
    let data = end.and_then(|end| bytes.get(offset..end)).ok_or_else(|| {
        let size = bytes.len();
        let length = length.unwrap_or_default();
        format!("{location} has {size} bytes; expected {length} from {offset} on")
    })?;
    tensor.raw_data = data.to_vec();
    tensor.external_data.clear();
    tensor.data_location = None;
    Ok(())
}

/// The content of a file in `folder`. A model may come from a stranger: it cannot name files elsewhere.
fn read_beside(folder: &Path, location: &str) -> Result<Vec<u8>, String> {
    let path = Path::new(location);
    let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !path.components().all(is_inside) {
        return Err(format!(
            "they are in {location}, which is not in the model's folder"
        ));
    }
    let failed =
        |e: std::io::Error| format!("cannot read {location}, which must be beside the model: {e}");
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let folder = folder.canonicalize().map_err(failed)?;
    let path = folder.join(path).canonicalize().map_err(failed)?;
    if !path.starts_with(&folder) {
        return Err(format!(
            "they are in {location}, which leads out of the model's folder"
        ));
    }
    if !path.is_file() {
        return Err(format!("{location} is not a file"));
    }
    fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::StringStringEntryProto;

    use super::*;

    fn graph(entries: &[(&str, &str)]) -> GraphProto {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        GraphProto {
            initializer: vec![TensorProto {
                name: "w".to_owned(),
                dims: vec![2],
                data_type: 1,
                data_location: Some(DataLocation::External as i32),
                external_data: entries.iter().map(entry).collect(),
                ..TensorProto::default()
            }],
            ..GraphProto::default()
        }
    }

    #[test]
    fn weights_are_read_from_their_place_in_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("w.data"), [9, 9, 1, 2, 3, 4, 5, 6, 7, 8]).expect("room");
        let mut read = graph(&[("location", "w.data"), ("offset", "2"), ("length", "8")]);
        read_external_data(&mut read, Some(folder.path())).expect("is there");
        assert_eq!(read.initializer[0].raw_data, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(read.initializer[0].data_location, None);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).expect("room");
        fs::write(inner.join("short"), [0; 4]).expect("room");
        fs::write(folder.path().join("secret"), [0; 8]).expect("room");
        let wrong: [(&[(&str, &str)], &str); 7] = [
            (
                &[],
                "the weights of w: the file does not say where they are",
            ),
            (
                &[("location", "none")],
                "cannot read none, which must be beside the model",
            ),
            (
                &[("location", "short"), ("length", "8")],
                "short has 4 bytes; expected 8 from 0 on",
            ),
            (
                &[
                    ("location", "short"),
                    ("offset", "18446744073709551615"),
                    ("length", "8"),
                ],
                "short has 4 bytes",
            ),
            (
                &[("location", "short"), ("offset", "x")],
                "their offset is not a whole number",
            ),
            (
                &[("location", "../secret")],
                "which is not in the model's folder",
            ),
            (
                &[("location", "/dev/zero")],
                "which is not in the model's folder",
            ),
        ];
        for (entries, expected) in wrong {
            let message =
                read_external_data(&mut graph(entries), Some(&inner)).expect_err(expected);
            assert!(message.contains(expected), "{message}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../secret", inner.join("link")).expect("room");
            let mut linked = graph(&[("location", "link")]);
            let message = read_external_data(&mut linked, Some(&inner)).expect_err("leads out");
            assert!(message.contains("leads out of"), "{message}");
        }
        let message = read_external_data(&mut graph(&[("location", "w")]), None);
        assert!(message.is_err_and(|m| m.contains("they are in another file")));
    }
}
