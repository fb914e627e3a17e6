//! Heads with several outputs a network: GFL (NanoDet, PicoDet), CenterNet and CenterFace.

use super::arguments::HeadKind;
use super::facts::{Facts, Output};
use super::guess::{Classes, Guess, LabelSet};
use super::note::{Lines, Note, list, quoted};
use super::preprocess::Preprocess;

/// Bins of a distribution: PicoDet and NanoDet-Plus, NanoDet, others.
const BINS: [usize; 4] = [8, 11, 16, 17];
/// Strides of four maps.
const FOUR: [u32; 4] = [8, 16, 32, 64];

/// GFL: scores and distributions for each stride, or both of all strides in one output.
pub fn gfl(facts: &Facts) -> Option<Guess> {
    let rows = facts.of_rank(3);
    if facts.is_yolo_export() {
        return None;
    }
    match &rows[..] {
        [one] => joined_gfl(facts, one),
        [] => None,
        _ => split_gfl(facts, &rows),
    }
}

fn joined_gfl(facts: &Facts, output: &Output) -> Option<Guess> {
    let classes = output.shape[2].checked_sub(4 * BINS[0])?;
    // YOLO's decoded boxes come from more than convolutions.
    let is_raw = output.ends.iter().all(|op| op == "Conv" || op == "Sigmoid");
    if output.shape[1] != facts.cells(&FOUR) || classes == 0 || !is_raw {
        return None;
    }
    let why = format!(
        "{} {:?} has scores and distributions of strides 8 to 64",
        output.name, output.shape
    );
    let mut head = Lines::default();
    head.put(1, "gfl:", Note::Known(why.clone()));
    head.plain(2, format_args!("outputs: {}", list([output.name.as_str()])));
    head.plain(2, "joined: true");
    head.plain(2, "strides: [8, 16, 32, 64]");
    head.put(2, "bins: 8", Note::Guess("as NanoDet-Plus".to_owned()));
    head.put(
        2,
        "cell_offset: 0",
        Note::Guess("as NanoDet-Plus".to_owned()),
    );
    Some(finished_gfl(head, output, classes, why))
}

/// The lines that all have.
fn finished_gfl(mut head: Lines, scores: &Output, classes: usize, why: String) -> Guess {
    let (activation, note) = if scores.ends_with("Sigmoid") {
        (
            "none",
            Note::Known("the scores end with Sigmoid".to_owned()),
        )
    } else {
        (
            "sigmoid",
            Note::Guess("the scores end without an activation".to_owned()),
        )
    };
    head.put(2, format_args!("activation: {activation}"), note);
    head.put(2, "nms_iou: 0.6", Note::Guess("as NanoDet".to_owned()));
    head.plain(2, "max_detections: 100");
    Guess {
        kind: HeadKind::Gfl,
        why,
        head,
        preprocess: Preprocess::nanodet(),
        classes: Classes::of(classes, LabelSet::Coco),
    }
}

fn split_gfl(facts: &Facts, rows: &[&Output]) -> Option<Guess> {
    // `[1, cells, channels]`, or `[1, channels, cells]`.
    let (axis, strides) = [1, 2].into_iter().find_map(|axis| {
        let of = |o: &&Output| {
            let mut all = FOUR.into_iter();
            all.find(|stride| facts.cells(&[*stride]) == o.shape[axis])
        };
        let mut strides: Vec<u32> = rows.iter().map(of).collect::<Option<_>>()?;
        strides.sort_unstable();
        strides.dedup();
        Some((axis, strides))
    })?;
    if rows.len() != 2 * strides.len() {
        return None;
    }
    let channels = |o: &Output| o.shape[3 - axis];
    // The two outputs of a stride.
    let of_stride = |stride: u32| {
        let cells = facts.cells(&[stride]);
        let mut of = rows.iter().filter(move |o| o.shape[axis] == cells);
        Some((*of.next()?, *of.next()?))
    };
    let (a, b) = of_stride(*strides.first()?)?;
    let is_distribution =
        |o: &Output| channels(o).is_multiple_of(4) && BINS.contains(&(channels(o) / 4));
    let bins = match (is_distribution(a), is_distribution(b)) {
        // As many classes as values of distributions: in their usual order.
        (_, true) => channels(b),
        (true, false) => channels(a),
        (false, false) => return None,
    };
    let classes = if channels(b) == bins {
        channels(a)
    } else {
        channels(b)
    };
    let (mut scores, mut distributions) = (Vec::new(), Vec::new());
    for stride in &strides {
        let (a, b) = of_stride(*stride)?;
        let (of_scores, of_bins) = if channels(b) == bins { (a, b) } else { (b, a) };
        if (channels(of_scores), channels(of_bins)) != (classes, bins) {
            return None;
        }
        scores.push(of_scores);
        distributions.push(of_bins);
    }
    let why = format!(
        "two outputs for each of the strides {strides:?}, with {classes} and {bins} channels"
    );
    let names = scores.iter().chain(&distributions).map(|o| o.name.as_str());
    let mut head = Lines::default();
    head.put(1, "gfl:", Note::Known(why.clone()));
    head.plain(2, format_args!("outputs: {}", list(names)));
    head.plain(2, format_args!("strides: {strides:?}"));
    head.put(
        2,
        format_args!("bins: {}", bins / 4),
        Note::Known(format!("{bins} channels are 4 distributions")),
    );
    head.put(
        2,
        "cell_offset: 0.5",
        Note::Guess("as NanoDet and PicoDet".to_owned()),
    );
    if axis == 2 {
        head.plain(2, "layout: channels_first");
    }
    Some(finished_gfl(head, scores[0], classes, why))
}

/// CenterNet: a heat map, sizes and offsets of the same cells; CenterFace has landmarks besides.
pub fn centernet(facts: &Facts) -> Option<Guess> {
    let maps = facts.of_rank(4);
    let first = maps.first()?;
    let (rows, columns) = (first.shape[2], first.shape[3]);
    let is_same = |o: &&&Output| o.shape[2..] == [rows, columns];
    if !(3..=4).contains(&maps.len()) || maps.iter().filter(is_same).count() != maps.len() {
        return None;
    }
    let stride = facts.stride_of(rows, columns)?;
    let landmarks = maps.iter().find(|o| o.shape[1] == 10);
    let is_named = |o: &Output, words: &[&str]| {
        let name = o.name.to_ascii_lowercase();
        words.iter().any(|word| name.contains(word))
    };
    let is_landmarks = |o: &Output| landmarks.is_some_and(|l| l.name == o.name);
    let mut two = maps
        .iter()
        .filter(|o| o.shape[1] == 2 && !is_named(o, &["hm", "heat"]));
    let (one, other, None) = (two.next()?, two.next()?, two.next()) else {
        return None;
    };
    let is_swapped =
        is_named(one, &["off", "reg"]) || is_named(other, &["wh", "size", "scale", "dim"]);
    let (size, offset) = if is_swapped {
        (other, one)
    } else {
        (one, other)
    };
    let heat = maps
        .iter()
        .find(|o| ![&size.name, &offset.name].contains(&&o.name) && !is_landmarks(o))?;
    let is_face = landmarks.is_some() && heat.shape[1] == 1;
    let is_sure = is_swapped
        || is_named(one, &["wh", "size", "scale", "dim"])
        || is_named(other, &["off", "reg"]);
    let why = format!(
        "a heat map {} {:?} with sizes and offsets of the same cells",
        heat.name, heat.shape
    );
    let mut head = Lines::default();
    head.put(1, "centernet:", Note::Known(why.clone()));
    head.plain(2, format_args!("heatmap: {}", quoted(&heat.name)));
    let order = if is_sure {
        Note::Known("by its name".to_owned())
    } else {
        Note::Guess("sizes come before offsets".to_owned())
    };
    head.put(2, format_args!("size: {}", quoted(&size.name)), order);
    head.plain(2, format_args!("offset: {}", quoted(&offset.name)));
    if let Some(landmarks) = landmarks.filter(|_| is_face) {
        head.plain(2, format_args!("landmarks: {}", quoted(&landmarks.name)));
        head.put(
            2,
            "coding: centerface",
            Note::Guess("one class and five landmarks".to_owned()),
        );
    } else {
        head.plain(2, "coding: centernet");
    }
    head.plain(2, format_args!("stride: {stride}"));
    let (activation, note) = if heat.ends_with("Sigmoid") || heat.ends_with("Clip") {
        (
            "none",
            Note::Known("the heat map ends with Sigmoid".to_owned()),
        )
    } else {
        (
            "sigmoid",
            Note::Guess("the heat map ends without an activation".to_owned()),
        )
    };
    head.put(2, format_args!("activation: {activation}"), note);
    let (set, preprocess) = if is_face {
        head.put(2, "nms_iou: 0.3", Note::Guess("as CenterFace".to_owned()));
        head.plain(2, "max_detections: 300");
        (LabelSet::Face, Preprocess::centerface())
    } else {
        head.put(
            2,
            "max_detections: 100",
            Note::Guess("as CenterNet, which takes peaks".to_owned()),
        );
        (LabelSet::Coco, Preprocess::centernet())
    };
    Some(Guess {
        kind: HeadKind::Centernet,
        why,
        head,
        preprocess,
        classes: Classes::of(heat.shape[1], set),
    })
}
