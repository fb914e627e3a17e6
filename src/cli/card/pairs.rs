//! Heads with an output for boxes and one for scores: SSD, RetinaFace, DETR.

use super::arguments::HeadKind;
use super::facts::{Facts, Output};
use super::guess::{Classes, Guess, LabelSet};
use super::note::{Lines, Note, quoted};
use super::preprocess::Preprocess;

/// Where SSD heads of this kind come from.
const AS_TENSORFLOW: &str = "as in the TensorFlow Object Detection API";
/// Most queries of a DETR.
const MAX_QUERIES: usize = 1000;
/// Strides of RetinaFace's maps.
const FACE_STRIDES: [u32; 3] = [8, 16, 32];

/// `[1, N, 4]` and `[1, N, C]`.
struct Pair<'f> {
    boxes: &'f Output,
    scores: &'f Output,
    rows: usize,
    channels: usize,
}

impl<'f> Pair<'f> {
    fn of(facts: &'f Facts) -> Option<Self> {
        let all = facts.of_rank(3);
        // Where both have four channels, their names or their order tell.
        let is_boxes = |o: &&&Output| o.shape[2] == 4;
        let named = all.iter().filter(is_boxes).find(|o| {
            let name = o.name.to_ascii_lowercase();
            ["box", "loc", "reg"].iter().any(|word| name.contains(word))
        });
        let boxes = named.or_else(|| all.iter().find(is_boxes))?;
        let rows = boxes.shape[1];
        let is_scores = |o: &&&Output| o.shape[1] == rows && o.name != boxes.name;
        let mut others: Vec<_> = all.iter().filter(is_scores).collect();
        // Landmarks have even more channels, but no class.
        others.sort_by_key(|o| (o.shape[2] == 10 && !o.ends_with("Softmax"), o.shape[2] != 2));
        let scores = others.first()?;
        Some(Self {
            boxes,
            scores,
            rows,
            channels: scores.shape[2],
        })
    }

    fn why(&self, what: &str) -> String {
        format!(
            "{} {:?} and {} {:?}: {what}",
            self.boxes.name, self.boxes.shape, self.scores.name, self.scores.shape
        )
    }

    fn is_faces(&self, facts: &Facts) -> bool {
        self.channels == 2 && self.rows == 2 * facts.cells(&FACE_STRIDES)
    }

    /// Activation of the scores.
    fn activation(&self, default: &'static str, why: &str) -> (&'static str, Note) {
        for op in ["Softmax", "Sigmoid"] {
            if self.scores.ends_with(op) {
                return ("none", Note::Known(format!("the scores end with {op}")));
            }
        }
        (default, Note::Guess(why.to_owned()))
    }
}

/// Feature maps that are halved from one to the next, from every 16th pixel to one.
fn halved_maps(side: u32) -> Vec<u32> {
    let mut maps = vec![side.div_ceil(16)];
    while let Some(last) = maps.last().copied().filter(|last| *last > 1) {
        maps.push(last.div_ceil(2));
    }
    maps
}

/// SSD: as many boxes as anchors of a layout that is known.
pub fn ssd(facts: &Facts) -> Option<Guess> {
    let pair = Pair::of(facts)?;
    if facts.width != facts.height || pair.is_faces(facts) || pair.channels < 2 {
        return None;
    }
    let maps = halved_maps(facts.width);
    let cells = |maps: &[u32]| {
        maps.iter()
            .map(|side| (side * side) as usize)
            .sum::<usize>()
    };
    let first = (maps[0] * maps[0]) as usize;
    let is_tensorflow = pair.rows + 3 * first == 6 * cells(&maps);
    if !is_tensorflow || maps.len() < 2 {
        return None;
    }
    let why = pair.why("as many as anchors of an SSD whose maps halve");
    let mut head = Lines::default();
    head.put(1, "ssd:", Note::Known(why.clone()));
    head.plain(2, format_args!("boxes: {}", quoted(&pair.boxes.name)));
    head.plain(2, format_args!("scores: {}", quoted(&pair.scores.name)));
    let layout = format!(
        "{} anchors are 3 a cell of the first map and 6 of the others",
        pair.rows
    );
    head.put(
        2,
        "anchors:",
        Note::Guess(format!("{layout}, {AS_TENSORFLOW}")),
    );
    head.plain(3, format_args!("feature_maps: {maps:?}"));
    let last = (maps.len() - 1) as f32;
    let scales: Vec<String> = (0..maps.len())
        .map(|i| format!("{:.4}", 0.2 + 0.75 * i as f32 / last))
        .map(|scale| scale.trim_end_matches('0').to_owned())
        .collect();
    head.plain(3, format_args!("scales: [{}]", scales.join(", ")));
    head.plain(3, "aspect_ratios: [1.0, 2.0, 0.5, 3.0, 0.3333]");
    head.plain(3, "interpolated_scale_aspect_ratio: 1.0");
    head.plain(3, "reduce_boxes_in_lowest_layer: true");
    head.put(
        2,
        "box_coding: { y: 10.0, x: 10.0, h: 5.0, w: 5.0 }",
        Note::Guess(AS_TENSORFLOW.to_owned()),
    );
    let (activation, note) = pair.activation("sigmoid", AS_TENSORFLOW);
    head.put(2, format_args!("activation: {activation}"), note);
    head.put(
        2,
        "background: true",
        Note::Guess(format!("{AS_TENSORFLOW}, channel 0")),
    );
    head.put(2, "nms_iou: 0.6", Note::Guess(AS_TENSORFLOW.to_owned()));
    head.plain(2, "max_detections: 100");
    Some(Guess {
        kind: HeadKind::Ssd,
        why,
        head,
        preprocess: Preprocess::tensorflow_ssd(),
        classes: Classes {
            channels: Some(pair.channels),
            background: true,
            set: LabelSet::Coco,
        },
    })
}

/// RetinaFace: two priors in each cell of strides 8, 16 and 32.
pub fn retinaface(facts: &Facts) -> Option<Guess> {
    let pair = Pair::of(facts).filter(|pair| pair.is_faces(facts))?;
    let why = pair.why("two priors for each cell of strides 8, 16 and 32");
    let all = facts.of_rank(3);
    let landmarks = all
        .iter()
        .find(|o| o.shape[1] == pair.rows && o.shape[2] != 2 && o.name != pair.boxes.name);
    let mut head = Lines::default();
    head.put(1, "retinaface:", Note::Known(why.clone()));
    head.plain(2, format_args!("boxes: {}", quoted(&pair.boxes.name)));
    head.plain(2, format_args!("scores: {}", quoted(&pair.scores.name)));
    let is_face = landmarks.is_none_or(|landmarks| landmarks.shape[2] == 10);
    if let Some(landmarks) = landmarks.filter(|_| is_face) {
        head.plain(2, format_args!("landmarks: {}", quoted(&landmarks.name)));
    }
    head.plain(2, "strides: [8, 16, 32]");
    let sizes = "prior_sizes_px: [[16, 32], [64, 128], [256, 512]]";
    let note = if is_face {
        Note::Guess("as RetinaFace".to_owned())
    } else {
        Note::Unknown("sizes of the priors (\"min_sizes\"): these are RetinaFace's, which has other landmarks".to_owned())
    };
    head.put(2, sizes, note);
    head.put(
        2,
        "variances: [0.1, 0.2]",
        Note::Guess("as RetinaFace".to_owned()),
    );
    let (activation, note) = pair.activation("softmax", "the graph ends without one");
    head.put(2, format_args!("activation: {activation}"), note);
    head.put(2, "nms_iou: 0.4", Note::Guess("as RetinaFace".to_owned()));
    head.plain(2, "max_detections: 300");
    Some(Guess {
        kind: HeadKind::Retinaface,
        why,
        head,
        preprocess: Preprocess::retinaface(),
        classes: Classes {
            channels: Some(pair.channels),
            background: true,
            set: LabelSet::Face,
        },
    })
}

/// DETR: logits and boxes of some hundred queries.
pub fn detr(facts: &Facts) -> Option<Guess> {
    let pair = Pair::of(facts)?;
    let is_square = facts.width == facts.height;
    let is_anchors = pair.is_faces(facts) || is_square && ssd(facts).is_some();
    if pair.rows > MAX_QUERIES || is_anchors {
        return None;
    }
    let why = pair.why("boxes and logits of queries");
    let is_softmax = pair.scores.ends_with("Softmax") || pair.rows == 100 && pair.channels == 92;
    let mut head = Lines::default();
    head.put(1, "detr:", Note::Known(why.clone()));
    head.plain(2, format_args!("logits: {}", quoted(&pair.scores.name)));
    head.plain(2, format_args!("boxes: {}", quoted(&pair.boxes.name)));
    let (activation, note) = if is_softmax {
        (
            "softmax",
            Note::Guess("100 queries and 92 channels, as DETR".to_owned()),
        )
    } else {
        pair.activation("sigmoid", "as RT-DETR and D-FINE; DETR has softmax")
    };
    head.put(2, format_args!("activation: {activation}"), note);
    head.plain(2, "max_detections: 300");
    let (preprocess, channels) = if is_softmax {
        (Preprocess::detr(), pair.channels - 1)
    } else {
        (Preprocess::rtdetr(), pair.channels)
    };
    Some(Guess {
        kind: HeadKind::Detr,
        why,
        head,
        preprocess,
        classes: Classes::of(channels, LabelSet::Coco),
    })
}
