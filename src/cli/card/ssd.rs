//! SSD: as many boxes as anchors of a layout that is known, or that a constant of the file holds.

use mobilens_nn::OnnxConstant;

use super::arguments::HeadKind;
use super::facts::Facts;
use super::guess::{Classes, Guess, LabelSet};
use super::note::{Lines, Note, quoted};
use super::pairs::Pair;
use super::preprocess::Preprocess;

/// Where SSD heads come from.
const AS_TENSORFLOW: &str = "as in the TensorFlow Object Detection API";
const AS_TORCHVISION: &str = "as torchvision's SSDLite";
/// Strides of a feature pyramid.
const PYRAMID: [u32; 5] = [8, 16, 32, 64, 128];

/// What tells the boxes of the kinds of SSD apart.
struct Kind {
    /// Lines of the anchors.
    anchors: Lines,
    /// Whose other settings are usual with them.
    origin: Origin,
    what: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Origin {
    TensorFlow,
    Torchvision,
}

/// Feature maps that are halved from one to the next, from every 16th pixel to one.
fn halved_maps(side: u32) -> Vec<u32> {
    let mut maps = vec![side.div_ceil(16)];
    while let Some(last) = maps.last().copied().filter(|last| *last > 1) {
        maps.push(last.div_ceil(2));
    }
    maps
}

/// SSD of any kind.
pub fn ssd(facts: &Facts) -> Option<Guess> {
    let pair = Pair::of(facts).filter(|pair| !pair.is_faces(facts) && pair.channels >= 2)?;
    let kind = listed(facts, &pair)
        .or_else(|| halved(facts, &pair))
        .or_else(|| pyramid(facts, &pair))?;
    let why = pair.why(&kind.what);
    let mut head = Lines::default();
    head.put(1, "ssd:", Note::Known(why.clone()));
    head.plain(2, format_args!("boxes: {}", quoted(&pair.boxes.name)));
    head.plain(2, format_args!("scores: {}", quoted(&pair.scores.name)));
    head.extend(kind.anchors);
    let is_torchvision = kind.origin == Origin::Torchvision;
    let origin = if is_torchvision {
        AS_TORCHVISION
    } else {
        AS_TENSORFLOW
    };
    let guess = || Note::Guess(origin.to_owned());
    head.put(
        2,
        "box_coding: { y: 10.0, x: 10.0, h: 5.0, w: 5.0 }",
        guess(),
    );
    if is_torchvision {
        head.plain(2, "box_order: xywh");
        head.put(2, "max_log_size: 4.1351666", guess());
        head.plain(2, "clip_to_input: true");
        head.plain(2, "candidates_per_class: 300");
    }
    let usual = if is_torchvision { "softmax" } else { "sigmoid" };
    let (activation, note) = pair.activation(usual, origin);
    head.put(2, format_args!("activation: {activation}"), note);
    // The API's classes and background are 91 channels of COCO; newer files leave the background out.
    let background = pair.channels != 90 && pair.channels != 80;
    head.put(
        2,
        format_args!("background: {background}"),
        Note::Guess(format!("{origin}, by the number of channels")),
    );
    let (nms_iou, most) = if is_torchvision {
        ("0.55", 300)
    } else {
        ("0.6", 100)
    };
    head.put(2, format_args!("nms_iou: {nms_iou}"), guess());
    head.plain(2, format_args!("max_detections: {most}"));
    Some(Guess {
        kind: HeadKind::Ssd,
        why,
        head,
        preprocess: if is_torchvision {
            Preprocess::torchvision_ssdlite()
        } else {
            Preprocess::tensorflow_ssd()
        },
        classes: Classes {
            channels: Some(pair.channels),
            background,
            set: LabelSet::Coco,
        },
    })
}

/// Square maps that halve: TensorFlow's with three anchors a cell in the first, torchvision's with six in all.
fn halved(facts: &Facts, pair: &Pair<'_>) -> Option<Kind> {
    let maps = halved_maps(facts.width);
    if facts.width != facts.height || maps.len() < 2 {
        return None;
    }
    let cells: usize = maps.iter().map(|side| (side * side) as usize).sum();
    let first = (maps[0] * maps[0]) as usize;
    let rows = pair.rows;
    let mut anchors = Lines::default();
    if rows == 6 * cells {
        let note = format!("{rows} anchors are 6 a cell of maps that halve, {AS_TORCHVISION}");
        anchors.put(2, "default_boxes:", Note::Guess(note));
        anchors.plain(3, format_args!("feature_maps: {maps:?}"));
        anchors.plain(3, "min_ratio: 0.2");
        anchors.plain(3, "max_ratio: 0.95");
        let ratios = vec!["[2, 3]"; maps.len()].join(", ");
        anchors.plain(3, format_args!("aspect_ratios: [{ratios}]"));
        return Some(Kind {
            anchors,
            origin: Origin::Torchvision,
            what: "as many as anchors of torchvision's SSDLite".to_owned(),
        });
    }
    if rows + 3 * first != 6 * cells {
        return None;
    }
    let note = format!(
        "{rows} anchors are 3 a cell of the first map and 6 of the others, {AS_TENSORFLOW}"
    );
    anchors.put(2, "anchors:", Note::Guess(note));
    anchors.plain(3, format_args!("feature_maps: {maps:?}"));
    let last = (maps.len() - 1) as f32;
    let scales: Vec<String> = (0..maps.len())
        .map(|i| format!("{:.4}", 0.2 + 0.75 * i as f32 / last))
        .map(|scale| scale.trim_end_matches('0').to_owned())
        .collect();
    anchors.plain(3, format_args!("scales: [{}]", scales.join(", ")));
    anchors.plain(3, "aspect_ratios: [1.0, 2.0, 0.5, 3.0, 0.3333]");
    anchors.plain(3, "interpolated_scale_aspect_ratio: 1.0");
    anchors.plain(3, "reduce_boxes_in_lowest_layer: true");
    Some(Kind {
        anchors,
        origin: Origin::TensorFlow,
        what: "as many as anchors of an SSD whose maps halve".to_owned(),
    })
}

/// FPN-Lite and RetinaNet: strides of 8 to 128.
fn pyramid(facts: &Facts, pair: &Pair<'_>) -> Option<Kind> {
    let cells = facts.cells(&PYRAMID);
    let scales = [2, 3]
        .into_iter()
        .find(|scales| 3 * scales * cells == pair.rows)?;
    let mut anchors = Lines::default();
    let note = format!(
        "{} anchors are {} a cell of strides 8 to 128, as FPN-Lite",
        pair.rows,
        3 * scales
    );
    anchors.put(2, "multiscale_anchors:", Note::Guess(note));
    anchors.plain(3, "min_level: 3");
    anchors.plain(3, "max_level: 7");
    anchors.plain(3, "anchor_scale: 4.0");
    anchors.plain(3, format_args!("scales_per_octave: {scales}"));
    anchors.plain(3, "aspect_ratios: [1.0, 2.0, 0.5]");
    Some(Kind {
        anchors,
        origin: Origin::TensorFlow,
        what: "as many as anchors of a feature pyramid".to_owned(),
    })
}

/// Anchors in a constant, which may be an output, too.
fn listed(facts: &Facts, pair: &Pair<'_>) -> Option<Kind> {
    let is_anchors = |constant: &OnnxConstant| {
        let shape = match &constant.shape[..] {
            [1, rest @ ..] => rest,
            all => all,
        };
        let is_share = |v: &f32| (-1.0..=2.0).contains(v);
        shape == [pair.rows, 4] && constant.values.iter().all(is_share)
    };
    let constants = &facts.file.constants;
    let of_output = facts.outputs.iter().find_map(|output| {
        let constant = output
            .constant
            .as_ref()
            .and_then(|name| constants.get(name));
        Some((output, constant.filter(|c| is_anchors(c))?))
    });
    let (key, name, constant) = match of_output {
        Some((output, constant)) => ("output", &output.name, constant),
        None => {
            let nodes = &facts.file.nodes;
            let is_node = |name: &String| nodes.iter().any(|node| node.outputs.contains(name));
            let all = constants
                .iter()
                .filter(|(name, constant)| is_anchors(constant) && !is_node(name));
            let (name, constant) = all.min_by_key(|(name, _)| *name)?;
            ("initializer", name, constant)
        }
    };
    let rows = constant.values.as_chunks::<4>().0;
    let is_corners = rows.iter().all(|[y1, x1, y2, x2]| y2 > y1 && x2 > x1);
    let coding = if is_corners { "corners" } else { "centers" };
    let mut anchors = Lines::default();
    let note = format!("the constant {name} has {} rows of 4", pair.rows);
    anchors.put(2, "anchor_list:", Note::Known(note));
    anchors.plain(3, format_args!("{key}: {}", quoted(name)));
    anchors.put(
        3,
        format_args!("coding: {coding}"),
        Note::Guess("by its values".to_owned()),
    );
    Some(Kind {
        anchors,
        origin: Origin::TensorFlow,
        what: "as many as anchors in a constant of the file".to_owned(),
    })
}

/// BlazeFace: a score and a box with keypoints for each anchor, in one output or one for each map.
pub fn blazeface(facts: &Facts) -> Option<Guess> {
    let all = facts.of_rank(3);
    let of_rows = |is: fn(usize) -> bool| {
        let mut of: Vec<_> = all.iter().filter(|o| is(o.shape[2])).collect();
        of.sort_by_key(|o| std::cmp::Reverse(o.shape[1]));
        of
    };
    let (scores, boxes) = (
        of_rows(|n| n == 1),
        of_rows(|n| n > 4 && n.is_multiple_of(2)),
    );
    let is_pair = scores
        .iter()
        .map(|o| o.shape[1])
        .eq(boxes.iter().map(|o| o.shape[1]));
    if !is_pair || scores.len() + boxes.len() != all.len() {
        return None;
    }
    let values = boxes.first()?.shape[2];
    let rows: usize = boxes.iter().map(|o| o.shape[1]).sum();
    let layouts: [(&[u32], &[usize]); 3] =
        [(&[8, 16], &[2, 6]), (&[16, 32], &[2, 6]), (&[4], &[1])];
    let (strides, per_cell) = layouts.into_iter().find(|(strides, per_cell)| {
        let of_map = strides.iter().zip(*per_cell);
        let count: usize = of_map.map(|(s, n)| n * facts.cells(&[*s])).sum();
        count == rows
    })?;
    let why = format!(
        "{rows} boxes with {} keypoints, as many as anchors of BlazeFace",
        values / 2 - 2
    );
    let mut head = Lines::default();
    head.put(1, "ssd:", Note::Known(why.clone()));
    head.plain(2, format_args!("boxes: {}", quoted(&boxes[0].name)));
    head.plain(2, format_args!("scores: {}", quoted(&scores[0].name)));
    if boxes.len() > 1 {
        head.plain(2, "further_maps:");
    }
    for (boxes, scores) in boxes.iter().zip(&scores).skip(1) {
        let (boxes, scores) = (quoted(&boxes.name), quoted(&scores.name));
        head.plain(3, format_args!("- {{ boxes: {boxes}, scores: {scores} }}"));
    }
    let guess = || Note::Guess("as BlazeFace".to_owned());
    head.put(2, "fixed_anchors:", guess());
    head.plain(3, format_args!("strides: {strides:?}"));
    head.plain(3, format_args!("per_cell: {per_cell:?}"));
    let (h, w) = (facts.height, facts.width);
    head.put(
        2,
        format_args!("box_coding: {{ y: {h}, x: {w}, h: {h}, w: {w} }}"),
        guess(),
    );
    head.plain(2, "box_order: xywh");
    head.plain(2, "size_coding: linear");
    head.plain(2, format_args!("keypoints: {}", values / 2 - 2));
    let done = scores.iter().any(|o| o.ends_with("Sigmoid"));
    head.plain(
        2,
        format_args!("activation: {}", if done { "none" } else { "sigmoid" }),
    );
    head.plain(2, "background: false");
    head.put(2, "nms: weighted", guess());
    head.plain(2, "nms_iou: 0.3");
    head.plain(2, "max_detections: 100");
    Some(Guess {
        kind: HeadKind::Ssd,
        why,
        head,
        preprocess: Preprocess::blazeface(),
        classes: Classes::of(1, LabelSet::Face),
    })
}
