//! Heads for the whole picture: classifiers, and a class for each pixel.

use super::arguments::HeadKind;
use super::facts::{Facts, Output};
use super::guess::{Classes, Guess, LabelSet};
use super::note::{Lines, Note, quoted};
use super::preprocess::Preprocess;

/// A classifier: `[1, K]`, with further axes of 1.
pub fn classify(facts: &Facts) -> Option<Guess> {
    // Detectors have a score for each box beside the boxes.
    let is_alone = facts.of_rank(3).len() <= 1;
    let is_vector = |output: &&Output| {
        let of_classes = output.shape.iter().filter(|axis| **axis != 1).count() == 1;
        of_classes && output.shape.len() >= 2 && (output.shape.len() == 2 || is_alone)
    };
    let output = facts.outputs.iter().find(is_vector)?;
    let channels = output.shape.iter().product();
    let (activation, note) = if output.ends_with("Softmax") {
        (
            "none",
            Note::Known("the graph ends with Softmax".to_owned()),
        )
    } else if output.ends_with("Sigmoid") {
        (
            "none",
            Note::Known("the graph ends with Sigmoid".to_owned()),
        )
    } else {
        let why = "the graph ends without one; sigmoid where several classes may be in a picture";
        ("softmax", Note::Guess(why.to_owned()))
    };
    let why = format!(
        "{} {:?} has a value for each class",
        output.name, output.shape
    );
    let mut head = Lines::default();
    head.put(1, "classify:", Note::Known(why.clone()));
    head.plain(2, format_args!("output: {}", quoted(&output.name)));
    head.put(2, format_args!("activation: {activation}"), note);
    head.plain(2, "top: 5");
    let preprocess = if facts.is_yolo_export() {
        Preprocess::yolo_classifier()
    } else if (1000..=1001).contains(&channels) {
        Preprocess::imagenet()
    } else {
        Preprocess::other_classifier(facts.width == facts.height)
    };
    Some(Guess {
        kind: HeadKind::Classify,
        why,
        head,
        preprocess,
        classes: Classes::of(channels, LabelSet::ImageNet),
    })
}

/// An output with values for each cell of pixels.
struct PixelMap<'f> {
    output: &'f Output,
    classes: usize,
    stride: u32,
    is_channels_last: bool,
    is_ids: bool,
}

impl<'f> PixelMap<'f> {
    /// The only output, or the first beside torchvision's auxiliary one.
    fn of(facts: &'f Facts) -> Option<Self> {
        let mut all = facts
            .outputs
            .iter()
            .filter(|o| o.name != "aux" && o.shape.len() > 2);
        let (output, None) = (all.next()?, all.next()) else {
            return None;
        };
        let is_ids = output.ends_with("ArgMax");
        let of = |rows: usize, columns: usize, classes, is_channels_last| {
            let stride = (1..=16).find(|stride| facts.grid(*stride) == (rows, columns))?;
            Some(Self {
                output,
                classes,
                stride,
                is_channels_last,
                is_ids,
            })
        };
        match output.shape[..] {
            [1, rows, columns] if is_ids => of(rows, columns, 1, false),
            [1, a, b, c] => of(b, c, a, false).or_else(|| of(a, b, c, true)),
            _ => None,
        }
    }
}

/// A class for each pixel: logits, probabilities or ids.
pub fn segment(facts: &Facts) -> Option<Guess> {
    let map = PixelMap::of(facts).filter(|map| map.classes <= 255)?;
    let PixelMap {
        output,
        classes,
        stride,
        ..
    } = map;
    let (width, height) = (facts.width, facts.height);
    // Sizes of k * stride + 1 are made for corners that lie on pixels.
    let is_aligned = stride > 1 && height % stride == 1 && width % stride == 1;
    let is_deeplab = is_aligned && classes > 1 && !map.is_channels_last && !map.is_ids;
    let place = if stride == 1 {
        "each pixel".to_owned()
    } else {
        format!("every {stride}th pixel")
    };
    let why = format!("{} {:?} has values for {place}", output.name, output.shape);
    let mut head = Lines::default();
    if is_deeplab {
        head.put(1, "deeplab:", Note::Known(why.clone()));
        head.plain(2, format_args!("logits: {}", quoted(&output.name)));
        head.plain(2, format_args!("output_stride: {stride}"));
        let reason = format!("{width}x{height} is a multiple of {stride} plus 1");
        head.put(2, "align_corners: true", Note::Guess(reason));
    } else {
        head.put(1, "segment:", Note::Known(why.clone()));
        head.plain(2, format_args!("output: {}", quoted(&output.name)));
        let done = ["Sigmoid", "Softmax"]
            .into_iter()
            .find(|op| output.ends_with(op));
        let (values, note) = match done {
            _ if map.is_ids => (
                "class_ids",
                Note::Known("the graph ends with ArgMax".to_owned()),
            ),
            Some(op) => (
                "probabilities",
                Note::Known(format!("the graph ends with {op}")),
            ),
            None => (
                "logits",
                Note::Guess("the graph ends without an activation".to_owned()),
            ),
        };
        head.put(2, format_args!("values: {values}"), note);
        if map.is_channels_last {
            head.plain(2, "layout: channels_last");
        }
    }
    let (preprocess, set) = match classes {
        _ if is_deeplab => (Preprocess::tensorflow_deeplab(), LabelSet::Voc),
        1 if !map.is_ids => (Preprocess::other_segmentation(), LabelSet::Foreground),
        _ => (Preprocess::torchvision_segmentation(), LabelSet::Voc),
    };
    let channels = match classes {
        _ if map.is_ids => None,
        1 => Some(2),
        _ => Some(classes),
    };
    Some(Guess {
        kind: if is_deeplab {
            HeadKind::Deeplab
        } else {
            HeadKind::Segment
        },
        why,
        head,
        preprocess,
        classes: Classes {
            channels,
            background: false,
            set,
        },
    })
}
