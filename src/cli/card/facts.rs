//! What a model's file says of itself: its input, its outputs, and the operators that these end with.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use mobilens_nn::{LoadOptions, Network, NnError, OnnxFile, OnnxNode};

use super::note::Note;
use super::python_dict::{parse_list, parse_names};

/// Operators that select boxes by their overlap, in ONNX, TensorRT and TFLite.
const NMS: [&str; 6] = [
    "NonMaxSuppression",
    "EfficientNMS_TRT",
    "BatchedNMS_TRT",
    "BatchedNMSDynamic_TRT",
    "NMSDynamic_TRT",
    "TFLite_Detection_PostProcess",
];
/// Operators that leave values as they are.
const FORMS: [&str; 12] = [
    "Cast",
    "Concat",
    "DequantizeLinear",
    "Flatten",
    "Identity",
    "QuantizeLinear",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Why a card cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The network cannot be loaded.
    #[error(transparent)]
    Network(#[from] NnError),
    /// The file is a network that no card describes.
    #[error("{path}: {why}")]
    Model {
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// An output of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The operators that its values come from, past those that only change their form.
    pub ends: BTreeSet<String>,
    /// The constant that it is, if it does not depend on the input.
    pub constant: Option<String>,
}

impl Output {
    /// Whether one of its last operators is `op`.
    pub fn ends_with(&self, op: &str) -> bool {
        self.ends.contains(op)
    }
}

/// A model's file.
#[derive(Debug)]
pub struct Facts {
    /// The file, as it was written.
    pub file: OnnxFile,
    /// Width of the input in pixels.
    pub width: u32,
    /// Height of the input in pixels.
    pub height: u32,
    /// Where its size comes from.
    pub size_note: Note,
    /// Outputs, in the order of the file.
    pub outputs: Vec<Output>,
    /// Names of the classes in the file's metadata, by their channels.
    pub names: Option<Vec<String>>,
}

impl Facts {
    /// Reads the file and loads the network, at `shape` if one is given.
    ///
    /// # Errors
    /// When it cannot be loaded, has other than one input for pictures, or selects boxes itself.
    pub fn read(path: &Path, shape: Option<&[usize]>) -> Result<Self, CardError> {
        let file = OnnxFile::read(path)?;
        let fault = |why: String| CardError::Model {
            path: path.display().to_string(),
            why,
        };
        refuse_nms(&file).map_err(fault)?;
        let (size, size_note) = input_size(&file, shape).map_err(fault)?;
        let options = LoadOptions {
            shape: size.map(|(height, width)| vec![1, 3, height, width]),
            replace_shape: true,
            ..LoadOptions::default()
        };
        let network = Network::load(path, &options)?;
        let &[1, 3, height, width] = &network.input().shape[..] else {
            let why = format!(
                "its input is {:?}; expected [1, 3, height, width]",
                network.input().shape
            );
            return Err(fault(why));
        };
        let ends = Ends::of(&file);
        let outputs = network.outputs().iter().map(|output| {
            let (of_output, constant) = ends.of_output(&output.name);
            Output {
                name: output.name.clone(),
                shape: output.shape.clone(),
                constant: constant.filter(|_| of_output.is_empty()),
                ends: of_output,
            }
        });
        let pixels = |side: usize| {
            u32::try_from(side)
                .ok()
                .filter(|side| (8..=4096).contains(side))
                .ok_or_else(|| {
                    fault(format!(
                        "its input is {width}x{height}; expected sides of 8 to 4096 pixels"
                    ))
                })
        };
        Ok(Self {
            width: pixels(width)?,
            height: pixels(height)?,
            size_note,
            outputs: outputs.collect(),
            names: file
                .metadata
                .get("names")
                .and_then(|text| parse_names(text)),
            file,
        })
    }

    /// A value of the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.file.metadata.get(key).map(String::as_str)
    }

    /// Whether the exporter wrote the metadata that YOLO exporters write.
    pub fn is_yolo_export(&self) -> bool {
        self.metadata("task").is_some() && self.metadata("stride").is_some()
    }

    /// Rows and columns of the map with a cell every `stride` pixels.
    pub fn grid(&self, stride: u32) -> (usize, usize) {
        (
            self.height.div_ceil(stride) as usize,
            self.width.div_ceil(stride) as usize,
        )
    }

    /// Number of cells of all maps with these strides.
    pub fn cells(&self, strides: &[u32]) -> usize {
        let cells = strides.iter().map(|stride| {
            let (rows, columns) = self.grid(*stride);
            rows * columns
        });
        cells.sum()
    }

    /// The stride of a map of so many rows and columns.
    pub fn stride_of(&self, rows: usize, columns: usize) -> Option<u32> {
        let all = [4, 8, 16, 32, 64, 128];
        all.into_iter().find(|s| self.grid(*s) == (rows, columns))
    }

    /// Outputs of so many dimensions.
    pub fn of_rank(&self, rank: usize) -> Vec<&Output> {
        let outputs = self.outputs.iter();
        outputs
            .filter(|o| o.shape.len() == rank && o.shape[0] == 1)
            .collect()
    }

    /// The outputs for a message: `boxes [1, 1917, 4]`.
    pub fn outputs_text(&self) -> String {
        let outputs = self.outputs.iter();
        let texts: Vec<String> = outputs
            .map(|o| format!("{} {:?}", o.name, o.shape))
            .collect();
        texts.join(", ")
    }
}

/// A network that selects boxes itself has outputs of no fixed size.
fn refuse_nms(file: &OnnxFile) -> Result<(), String> {
    let Some(op) = NMS.iter().find(|op| file.operators.contains(**op)) else {
        return Ok(());
    };
    let how = if file.metadata.contains_key("task") {
        "export it with nms=False"
    } else {
        "export the network alone, with the raw outputs of its heads (boxes and class scores before they are decoded \
         and selected)"
    };
    Err(format!(
        "it has non-maximum suppression inside ({op}), which a pipeline does itself: {how}"
    ))
}

/// Height and width of the input, `None` for what the loader says itself.
fn input_size(
    file: &OnnxFile,
    shape: Option<&[usize]>,
) -> Result<(Option<(usize, usize)>, Note), String> {
    let [input] = &file.inputs[..] else {
        let names: Vec<&str> = file.inputs.iter().map(|i| i.name.as_str()).collect();
        return Err(format!(
            "it has {} inputs ({}); expected one, the picture: export the network without its postprocessing",
            names.len(),
            names.join(", ")
        ));
    };
    let name = &input.name;
    if input.element != "Float" {
        return Err(format!(
            "its input {name} is {}; expected float32: export it with a float32 input",
            input.element
        ));
    }
    if let Some(shape) = shape {
        let &[1, 3, height, width] = shape else {
            return Err(format!(
                "--shape {}: expected 1x3xHEIGHTxWIDTH",
                joined(shape)
            ));
        };
        let note = Note::Known("--shape".to_owned());
        return Ok((Some((height, width)), note));
    }
    let &[batch, channels, height, width] = &input.axes[..] else {
        return Err(format!(
            "its input {name} has {} axes; expected a picture, [1, 3, height, width]",
            input.axes.len()
        ));
    };
    if channels != Some(3) && width == Some(3) {
        return Err(format!(
            "its input {name} has the channels last (NHWC); expected [1, 3, height, width]: export it with the channels \
             first, for instance with tf2onnx --inputs-as-nchw {name}"
        ));
    }
    if channels.is_some_and(|channels| channels != 3) {
        let channels = channels.unwrap_or_default();
        return Err(format!(
            "its input {name} has {channels} channels; expected the 3 of a colour picture"
        ));
    }
    let side = |side: Option<u64>| side.and_then(|side| usize::try_from(side).ok());
    match (side(height), side(width)) {
        (Some(height), Some(width)) if batch.is_none_or(|batch| batch <= 1) => {
            let note = Note::Known(format!("the shape of the file's input `{name}`"));
            Ok((Some((height, width)), note))
        }
        (Some(height), Some(width)) => {
            let batch = batch.unwrap_or_default();
            let note = Note::Unknown(format!(
                "size of the input: the file has a batch of {batch}, so its size may be an example too; give another by \
                 --shape"
            ));
            Ok((Some((height, width)), note))
        }
        _ => {
            let size = file.metadata.get("imgsz").and_then(|text| parse_list(text));
            let Some(&[height, width]) = size.as_deref() else {
                return Ok((None, Note::Known(String::new())));
            };
            let note = Note::Known("`imgsz` of the file's metadata; its axes are free".to_owned());
            Ok((Some((height, width)), note))
        }
    }
}

fn joined(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    sizes.join("x")
}

/// Looks from outputs back to what their values come from.
struct Ends<'f> {
    producers: HashMap<&'f str, &'f OnnxNode>,
}

impl<'f> Ends<'f> {
    fn of(file: &'f OnnxFile) -> Self {
        let of_node = |node: &'f OnnxNode| node.outputs.iter().map(move |o| (o.as_str(), node));
        Self {
            producers: file.nodes.iter().flat_map(of_node).collect(),
        }
    }

    /// The operators, and the last value that no operator makes.
    fn of_output(&self, name: &str) -> (BTreeSet<String>, Option<String>) {
        let (mut ends, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut constant = None;
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            let Some(node) = self.producers.get(name) else {
                constant = Some(name.to_owned());
                continue;
            };
            if node.op == "Concat" {
                open.extend(node.inputs.iter().map(String::as_str));
            } else if FORMS.contains(&node.op.as_str()) {
                open.extend(node.inputs.first().map(String::as_str));
            } else if node.op == "Constant" {
                constant = Some(name.to_owned());
            } else {
                ends.insert(node.op.clone());
            }
        }
        (ends, constant)
    }
}
