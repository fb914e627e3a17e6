//! Heads with an output for boxes and one for scores: RetinaFace, DETR; SSD is in `ssd`.

use super::arguments::HeadKind;
use super::facts::{Facts, Output};
use super::guess::{Classes, Guess, LabelSet};
use super::note::{Lines, Note, quoted};
use super::preprocess::Preprocess;
use super::ssd::ssd;

/// Most queries of a DETR.
const MAX_QUERIES: usize = 1000;
/// Strides of RetinaFace's maps.
const FACE_STRIDES: [u32; 3] = [8, 16, 32];

/// `[1, N, 4]` and `[1, N, C]`.
pub struct Pair<'f> {
    /// The boxes.
    pub boxes: &'f Output,
    /// The scores.
    pub scores: &'f Output,
    /// N.
    pub rows: usize,
    /// C.
    pub channels: usize,
}

impl<'f> Pair<'f> {
    /// The outputs that are such.
    pub fn of(facts: &'f Facts) -> Option<Self> {
        let mut all = facts.of_rank(3);
        // Anchors that are an output, too.
        all.retain(|o| o.constant.is_none());
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

    /// What the outputs show.
    pub fn why(&self, what: &str) -> String {
        format!(
            "{} {:?} and {} {:?}: {what}",
            self.boxes.name, self.boxes.shape, self.scores.name, self.scores.shape
        )
    }

    /// Whether they are RetinaFace's.
    pub fn is_faces(&self, facts: &Facts) -> bool {
        self.channels == 2 && self.rows == 2 * facts.cells(&FACE_STRIDES)
    }

    /// Activation of the scores.
    pub fn activation(&self, default: &'static str, why: &str) -> (&'static str, Note) {
        for op in ["Softmax", "Sigmoid"] {
            if self.scores.ends_with(op) {
                return ("none", Note::Known(format!("the scores end with {op}")));
            }
        }
        (default, Note::Guess(why.to_owned()))
    }
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
    if let Some(landmarks) = landmarks.filter(|o| o.shape[2].is_multiple_of(2)) {
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
    let is_anchors = pair.is_faces(facts) || ssd(facts).is_some();
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
