//! How pictures become the input of a network: by what its graph begins with, else as networks of its kind have it.

use mobilens_nn::{OnnxFile, OnnxNode};

use super::note::{Lines, Note};

/// Largest value of a normalised input; pixels have up to 255.
const MAX_NORMALISED: f32 = 16.0;
/// Means and standard deviations of the channels of ImageNet's pictures, in pixel values.
const IMAGENET: ([f32; 3], [f32; 3]) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
/// TensorFlow: -1 to 1.
const SIGNED: ([f32; 3], [f32; 3]) = ([127.5; 3], [127.5; 3]);
/// 0 to 1.
const UNIT: ([f32; 3], [f32; 3]) = ([0.0; 3], [255.0; 3]);
/// Pixel values.
const PIXELS: ([f32; 3], [f32; 3]) = ([0.0; 3], [1.0; 3]);
/// EfficientNet-Lite.
const LITE: ([f32; 3], [f32; 3]) = ([127.0; 3], [128.0; 3]);

/// How a picture is fitted into the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fit {
    /// To its size.
    Stretch,
    /// With its aspect ratio, and padding of a value, at the middle or at the top left.
    Letterbox {
        /// Value of the padding.
        pad: f32,
        /// Whether there is padding on all sides.
        centred: bool,
    },
    /// By the shorter side, and the middle cut out.
    Crop {
        /// Share of the shorter side.
        share: f64,
    },
}

/// Preprocessing.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    bgr: bool,
    mean: [f32; 3],
    std: [f32; 3],
    fit: Fit,
    half_pixel: bool,
    normalisation: Note,
    fitting: Note,
}

impl Preprocess {
    fn new((mean, std): ([f32; 3], [f32; 3]), fit: Fit, why: &str) -> Self {
        Self {
            bgr: false,
            mean,
            std,
            fit,
            half_pixel: true,
            normalisation: Note::Guess(why.to_owned()),
            fitting: Note::Guess(why.to_owned()),
        }
    }

    /// YOLO of Ultralytics and its kin.
    pub fn yolo() -> Self {
        let fit = Fit::Letterbox {
            pad: 114.0,
            centred: true,
        };
        Self::new(UNIT, fit, "as YOLO of Ultralytics")
    }

    /// Darknet's YOLO.
    pub fn darknet() -> Self {
        let fit = Fit::Letterbox {
            pad: 127.5,
            centred: true,
        };
        Self::new(UNIT, fit, "as Darknet")
    }

    /// YOLOX.
    pub fn yolox() -> Self {
        let fit = Fit::Letterbox {
            pad: 114.0,
            centred: false,
        };
        Self {
            bgr: true,
            ..Self::new(PIXELS, fit, "as YOLOX")
        }
    }

    /// NanoDet.
    pub fn nanodet() -> Self {
        let fit = Fit::Letterbox {
            pad: 0.0,
            centred: true,
        };
        let (mean, std) = ([103.53, 116.28, 123.675], [57.375, 57.12, 58.395]);
        Self {
            bgr: true,
            ..Self::new((mean, std), fit, "as NanoDet; PicoDet is RGB and stretched")
        }
    }

    /// CenterFace.
    pub fn centerface() -> Self {
        let fit = Fit::Letterbox {
            pad: 0.0,
            centred: true,
        };
        Self::new(PIXELS, fit, "as CenterFace")
    }

    /// CenterNet.
    pub fn centernet() -> Self {
        let fit = Fit::Letterbox {
            pad: 0.0,
            centred: true,
        };
        let (mean, std) = ([104.040, 113.985, 119.850], [73.695, 69.870, 70.890]);
        Self {
            bgr: true,
            ..Self::new((mean, std), fit, "as CenterNet of its authors")
        }
    }

    /// BlazeFace.
    pub fn blazeface() -> Self {
        let fit = Fit::Letterbox {
            pad: 0.0,
            centred: true,
        };
        Self::new(SIGNED, fit, "as BlazeFace")
    }

    /// RetinaFace.
    pub fn retinaface() -> Self {
        let fit = Fit::Letterbox {
            pad: 0.0,
            centred: false,
        };
        Self {
            bgr: true,
            ..Self::new(([104.0, 117.0, 123.0], [1.0; 3]), fit, "as RetinaFace")
        }
    }

    /// RT-DETR and D-FINE.
    pub fn rtdetr() -> Self {
        Self::new(UNIT, Fit::Stretch, "as RT-DETR and D-FINE")
    }

    /// DETR.
    pub fn detr() -> Self {
        Self::new(IMAGENET, Fit::Stretch, "as DETR")
    }

    /// Detectors of the TensorFlow Object Detection API.
    pub fn tensorflow_ssd() -> Self {
        Self {
            half_pixel: false,
            ..Self::new(
                SIGNED,
                Fit::Stretch,
                "as SSD of the TensorFlow Object Detection API",
            )
        }
    }

    /// torchvision's SSDLite.
    pub fn torchvision_ssdlite() -> Self {
        Self::new(SIGNED, Fit::Stretch, "as torchvision's SSDLite")
    }

    /// TensorFlow's DeepLab.
    pub fn tensorflow_deeplab() -> Self {
        let fit = Fit::Letterbox {
            pad: 127.5,
            centred: false,
        };
        Self {
            half_pixel: false,
            ..Self::new(SIGNED, fit, "as TensorFlow's DeepLab")
        }
    }

    /// torchvision's segmentation models.
    pub fn torchvision_segmentation() -> Self {
        Self::new(
            IMAGENET,
            Fit::Stretch,
            "as torchvision's segmentation models",
        )
    }

    /// Classifiers that are trained on ImageNet.
    pub fn imagenet() -> Self {
        let fit = Fit::Crop { share: 0.875 };
        Self::new(IMAGENET, fit, "as most classifiers of torchvision and timm")
    }

    /// Segmentation of one class: nothing shows what it was trained with.
    pub fn other_segmentation() -> Self {
        let what = "preprocessing: this is RGB from 0 to 1, stretched";
        Self {
            normalisation: Note::Unknown(what.to_owned()),
            fitting: Note::Guess("as most small segmentation models".to_owned()),
            ..Self::new(UNIT, Fit::Stretch, "")
        }
    }

    /// Classifiers of other classes: nothing shows what they were trained with.
    pub fn other_classifier(is_square: bool) -> Self {
        let what = "preprocessing: this is that of most classifiers of ImageNet";
        let fit = if is_square {
            Fit::Crop { share: 0.875 }
        } else {
            Fit::Stretch
        };
        Self {
            normalisation: Note::Unknown(what.to_owned()),
            fitting: Note::Guess("as most classifiers of torchvision and timm".to_owned()),
            ..Self::new(IMAGENET, fit, "")
        }
    }

    /// Classifiers of Ultralytics.
    pub fn yolo_classifier() -> Self {
        let fit = Fit::Crop { share: 1.0 };
        Self::new(UNIT, fit, "as classifiers of Ultralytics")
    }

    /// With the normalisation that the file itself shows, if it does.
    pub fn with_file(mut self, file: &OnnxFile) -> Self {
        let input = file.inputs.first().map_or("", |input| &input.name);
        let found = quantised_range(file, input).map(|(low, high)| {
            let (mean, std) = self.of_range(low, high);
            let what =
                format!("pixels give the range of the quantised input, {low:.3} to {high:.3}");
            (mean, std, what)
        });
        let found = found.or_else(|| {
            let (ops, scale, offset) = affine_start(file, input)?;
            let is_pixels = scale
                .iter()
                .zip(offset)
                .all(|(a, b)| (255.0 * a + b).abs().max(b.abs()) <= MAX_NORMALISED);
            let (mean, std) = if is_pixels { PIXELS } else { UNIT };
            let range = if is_pixels { 255 } else { 1 };
            let ops = ops.join(" and ");
            let what =
                format!("the graph normalises itself ({ops} by constants), for 0 to {range}");
            Some((mean, std, what))
        });
        if let Some((mean, std, what)) = found {
            (self.mean, self.std, self.normalisation) = (mean, std, Note::Known(what));
        }
        self
    }

    /// The usual normalisation that gives this range, that of its kind before others.
    fn of_range(&self, low: f32, high: f32) -> ([f32; 3], [f32; 3]) {
        let step = (high - low) / 255.0;
        let fits = |(mean, std): &([f32; 3], [f32; 3])| {
            let at = |pixel: f32, fold: fn(f32, f32) -> f32| {
                let values = mean.iter().zip(std).map(|(mean, std)| (pixel - mean) / std);
                values.reduce(fold).unwrap_or_default()
            };
            // The zero point is rounded to a whole step.
            (at(0.0, f32::min) - low).abs() <= 0.51 * step
                && (at(255.0, f32::max) - at(0.0, f32::min) - 255.0 * step).abs() <= 0.01 * step
        };
        let usual = [(self.mean, self.std), SIGNED, LITE, UNIT, PIXELS, IMAGENET];
        let any = ([-low / step; 3], [1.0 / step; 3]);
        usual.into_iter().find(fits).unwrap_or(any)
    }

    /// The lines below `input` behind the size.
    pub fn lines(&self) -> Lines {
        let mut lines = Lines::default();
        let colour = if self.bgr { "bgr" } else { "rgb" };
        lines.put(1, format_args!("colour: {colour}"), self.fitting.clone());
        let three = |values: [f32; 3]| format!("[{}, {}, {}]", values[0], values[1], values[2]);
        lines.put(
            1,
            format_args!("mean: {}", three(self.mean)),
            self.normalisation.clone(),
        );
        lines.plain(1, format_args!("std: {}", three(self.std)));
        match self.fit {
            Fit::Stretch => lines.put(1, "resize: stretch", self.fitting.clone()),
            Fit::Letterbox { pad, centred } => {
                lines.put(1, "resize: letterbox", self.fitting.clone());
                lines.plain(1, format_args!("pad_value: {pad}"));
                let anchor = if centred { "center" } else { "top_left" };
                lines.plain(1, format_args!("anchor: {anchor}"));
            }
            Fit::Crop { share } => {
                lines.put(1, "resize: center_crop", self.fitting.clone());
                lines.plain(1, format_args!("crop_share: {share}"));
                let what = "resizing filter: torchvision has pil_bilinear, timm mostly pil_bicubic";
                lines.put(1, "filter: pil_bilinear", Note::Unknown(what.to_owned()));
            }
        }
        lines.plain(1, format_args!("half_pixel: {}", self.half_pixel));
        lines
    }
}

/// Lowest and highest value of an input that is quantised to a byte first.
fn quantised_range(file: &OnnxFile, input: &str) -> Option<(f32, f32)> {
    let node = only_reader(file, input)?;
    if node.op != "QuantizeLinear" {
        return None;
    }
    let scale = file.constants.get(node.inputs.get(1)?)?;
    let zero = node.inputs.get(2).and_then(|name| file.constants.get(name));
    let is_signed = zero.is_some_and(|zero| zero.element == "Int8");
    let ([scale], [zero]) = (
        &scale.values[..],
        zero.map_or(&[0.0][..], |zero| &zero.values),
    ) else {
        return None;
    };
    let lowest = if is_signed { -128.0 } else { 0.0 };
    Some(((lowest - zero) * scale, (lowest + 255.0 - zero) * scale))
}

/// The only operator that reads a value.
fn only_reader<'f>(file: &'f OnnxFile, value: &str) -> Option<&'f OnnxNode> {
    let mut readers = file
        .nodes
        .iter()
        .filter(|node| node.inputs.iter().any(|i| i == value));
    let first = readers.next()?;
    readers.next().is_none().then_some(first)
}

/// What the graph does to its input first, if it is Add, Sub, Mul and Div by constants of each channel: the operators,
/// and the factors and summands of the channels.
fn affine_start(file: &OnnxFile, input: &str) -> Option<(Vec<String>, [f32; 3], [f32; 3])> {
    let (mut scale, mut offset) = ([1.0; 3], [0.0; 3]);
    let mut ops = Vec::new();
    let mut value = input;
    while let Some(node) = only_reader(file, value) {
        let next = node.outputs.first()?;
        if ["Cast", "Identity", "Transpose"].contains(&node.op.as_str()) {
            value = next;
            continue;
        }
        let [first, second] = &node.inputs[..] else {
            break;
        };
        let is_swapped = second == value;
        let other = if is_swapped { first } else { second };
        let Some(by) = file
            .constants
            .get(other)
            .and_then(|constant| match constant.values[..] {
                [one] => Some([one; 3]),
                [a, b, c] => Some([a, b, c]),
                _ => None,
            })
        else {
            break;
        };
        if !is_affine(&node.op, is_swapped, by) {
            break;
        }
        for (channel, by) in by.into_iter().enumerate() {
            let (a, b) = (scale[channel], offset[channel]);
            (scale[channel], offset[channel]) = match (node.op.as_str(), is_swapped) {
                ("Add", _) => (a, b + by),
                ("Sub", false) => (a, b - by),
                ("Sub", true) => (-a, by - b),
                ("Mul", _) => (a * by, b * by),
                _ => (a / by, b / by),
            };
        }
        ops.push(node.op.clone());
        value = next;
    }
    (!ops.is_empty()).then_some((ops, scale, offset))
}

fn is_affine(op: &str, is_swapped: bool, by: [f32; 3]) -> bool {
    match op {
        "Add" | "Sub" | "Mul" => true,
        "Div" => !is_swapped && !by.contains(&0.0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use mobilens_nn::{OnnxConstant, OnnxValue};

    use super::*;

    fn file(nodes: &[(&str, &[&str], &str)], constants: &[(&str, &[f32])]) -> OnnxFile {
        let texts = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        OnnxFile {
            inputs: vec![OnnxValue {
                name: "x".to_owned(),
                element: "Float".to_owned(),
                axes: Vec::new(),
            }],
            nodes: nodes
                .iter()
                .map(|(op, inputs, output)| OnnxNode {
                    op: (*op).to_owned(),
                    inputs: texts(inputs),
                    outputs: texts(&[output]),
                })
                .collect(),
            constants: constants
                .iter()
                .map(|(name, values)| {
                    let constant = OnnxConstant {
                        element: "Uint8".to_owned(),
                        shape: vec![values.len()],
                        values: values.to_vec(),
                    };
                    ((*name).to_owned(), constant)
                })
                .collect(),
            ..OnnxFile::default()
        }
    }

    fn normalisation(file: &OnnxFile) -> ([f32; 3], [f32; 3], Note) {
        let found = Preprocess::imagenet().with_file(file);
        (found.mean, found.std, found.normalisation)
    }

    #[test]
    fn a_graph_that_normalises_itself_gets_what_it_expects() {
        let of_pixels = file(
            &[
                ("Sub", &["x", "m"], "a"),
                ("Div", &["a", "s"], "b"),
                ("Conv", &["b", "w"], "y"),
            ],
            &[("m", &[127.5]), ("s", &[127.5])],
        );
        let (mean, std, note) = normalisation(&of_pixels);
        assert_eq!((mean, std), PIXELS);
        assert!(
            matches!(note, Note::Known(why) if why.contains("Sub and Div") && why.contains("0 to 255"))
        );
        let of_shares = file(
            &[
                ("Sub", &["x", "m"], "a"),
                ("Mul", &["s", "a"], "b"),
                ("Conv", &["b", "w"], "y"),
            ],
            &[("m", &[0.485, 0.456, 0.406]), ("s", &[4.4, 4.5, 4.4])],
        );
        assert_eq!(normalisation(&of_shares).1, [255.0; 3]);
        let none = file(&[("Conv", &["x", "w"], "y")], &[]);
        assert!(matches!(normalisation(&none).2, Note::Guess(_)));
    }

    #[test]
    fn a_quantised_input_shows_its_normalisation() {
        for (low, high, expected) in [
            (-1.0, 1.0, SIGNED),
            (-127.0 / 128.0, 1.0, LITE),
            (0.0, 1.0, UNIT),
        ] {
            let scale = (high - low) / 255.0_f32;
            let zero = (-low / scale).round();
            let nodes: &[(&str, &[&str], &str)] = &[("QuantizeLinear", &["x", "s", "z"], "q")];
            let quantised = file(nodes, &[("s", &[scale]), ("z", &[zero])]);
            let (mean, std, _) = normalisation(&quantised);
            assert_eq!((mean, std), expected);
        }
    }
}
