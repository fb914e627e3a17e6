//! Heads for the whole picture: classifiers, and a class for each pixel.

use super::arguments::HeadKind;
use super::facts::{Facts, Output};
use super::guess::{Classes, Guess, LabelSet};
use super::note::{Lines, Note, quoted};
use super::preprocess::Preprocess;

/// A classifier: `[1, K]`, with further axes of 1.
pub fn classify(facts: &Facts) -> Option<Guess> {
    let is_vector = |output: &&Output| {
        output.shape.len() >= 2
            && output.shape[0] == 1
            && output.shape[1..].iter().filter(|axis| **axis != 1).count() == 1
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

/// A class for each pixel: `[1, C, h, w]`, alone or with torchvision's auxiliary output.
pub fn deeplab(facts: &Facts) -> Option<Guess> {
    let maps = facts.of_rank(4);
    let is_alone = maps.len() == 1 || maps.get(1).is_some_and(|second| second.name == "aux");
    let output = maps
        .first()
        .filter(|_| is_alone && facts.of_rank(3).is_empty())?;
    let &[_, classes, rows, columns] = &output.shape[..] else {
        return None;
    };
    let size = (facts.height, facts.width);
    let stride = (1..=16).find(|stride| {
        let grid = |pixels: u32| pixels.div_ceil(*stride) as usize;
        (rows, columns) == (grid(size.0), grid(size.1))
    })?;
    if !(2..=255).contains(&classes) {
        return None;
    }
    // Sizes of k * stride + 1 are made for corners that lie on pixels.
    let is_aligned = stride > 1 && size.0 % stride == 1 && size.1 % stride == 1;
    let place = if stride == 1 {
        "each pixel".to_owned()
    } else {
        format!("every {stride}th pixel")
    };
    let why = format!(
        "{} {:?} has a value for each class and {place}",
        output.name, output.shape
    );
    let mut head = Lines::default();
    head.put(1, "deeplab:", Note::Known(why.clone()));
    head.plain(2, format_args!("logits: {}", quoted(&output.name)));
    head.plain(2, format_args!("output_stride: {stride}"));
    let reason = if is_aligned {
        format!("{}x{} is a multiple of {stride} plus 1", size.1, size.0)
    } else {
        "as torchvision and most others".to_owned()
    };
    head.put(
        2,
        format_args!("align_corners: {is_aligned}"),
        Note::Guess(reason),
    );
    let preprocess = if is_aligned {
        Preprocess::tensorflow_deeplab()
    } else {
        Preprocess::torchvision_segmentation()
    };
    Some(Guess {
        kind: HeadKind::Deeplab,
        why,
        head,
        preprocess,
        classes: Classes::of(classes, LabelSet::Voc),
    })
}
