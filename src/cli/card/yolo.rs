//! YOLO: decoded rows, and detections that need no further selection. Raw maps are in `yolo_maps`.

use super::arguments::HeadKind;
use super::facts::{Facts, Output};
use super::guess::{Classes, Guess, LabelSet};
use super::note::{Lines, Note, list, quoted};
use super::preprocess::Preprocess;
use super::yolo_maps::yolo_maps;

/// Strides of a network's maps: the usual three, four of the large models, two of the tiny ones.
const STRIDES: [&[u32]; 3] = [&[8, 16, 32], &[8, 16, 32, 64], &[16, 32]];
/// Most detections of a network that selects them without NMS.
const MAX_END_TO_END: usize = 1000;
/// Columns of such a detection: x1, y1, x2, y2, score, class.
const END_TO_END: usize = 6;

/// YOLO of any version.
///
/// # Errors
/// When it is an export of a kind that is not supported.
pub fn yolo(facts: &Facts) -> Result<Option<Guess>, String> {
    if facts.metadata("task") == Some("obb") {
        return Err(
            "its boxes are rotated (`task: obb`), which no head decodes; export a `detect` model"
                .to_owned(),
        );
    }
    let rows = facts.of_rank(3);
    let Some(output) = rows.first() else {
        return Ok(yolo_maps(facts));
    };
    if rows.len() > 1 && !facts.is_yolo_export() {
        return Ok(None);
    }
    if facts.metadata("head") == Some("RTDETRDecoder") {
        return rtdetr_rows(facts, output).map(Some);
    }
    Ok(end_to_end(facts, output).or_else(|| {
        let rows = Rows::of(facts, output)?;
        Some(rows.guess(facts))
    }))
}

/// RT-DETR as Ultralytics exports it: `[1, queries, 4+C]`, or in newer versions `[1, queries, 6]`.
fn rtdetr_rows(facts: &Facts, output: &Output) -> Result<Guess, String> {
    let classes = facts.names.as_ref().map(Vec::len);
    if Some(output.shape[2]) != classes.map(|classes| classes + 4) {
        return Err(format!(
            "its output {} {:?} is RT-DETR's with one class in each row (cx, cy, w, h, score, class), which no head \
             decodes; export it with the scores of all classes, [1, queries, 4 + classes]",
            output.name, output.shape
        ));
    }
    let why = format!(
        "{} {:?} has the boxes and scores of queries",
        output.name, output.shape
    );
    let mut head = Lines::default();
    head.put(1, "yolo:", Note::Known(why.clone()));
    head.plain(2, format_args!("outputs: {}", list([output.name.as_str()])));
    head.plain(2, "format:");
    head.plain(3, "rows:");
    head.plain(4, "objectness: false");
    head.plain(4, "layout: rows_first");
    head.put(
        4,
        "box_unit: normalized",
        Note::Known("`head: RTDETRDecoder` in the metadata".to_owned()),
    );
    head.put(
        2,
        "nms_iou: 1.0",
        Note::Known("RT-DETR needs no NMS".to_owned()),
    );
    head.plain(2, "max_detections: 300");
    Ok(Guess {
        kind: HeadKind::Yolo,
        why,
        head,
        preprocess: Preprocess::rtdetr(),
        classes: classes_of(classes.unwrap_or(output.shape[2] - 4)),
    })
}

/// Version 10 and newer.
fn end_to_end(facts: &Facts, output: &Output) -> Option<Guess> {
    let extra = output.shape[2].checked_sub(END_TO_END)?;
    let is_said = facts.metadata("end2end") == Some("True");
    let is_seen = facts.file.operators.contains("TopK")
        && output.shape[1] <= MAX_END_TO_END
        && extra == 0
        && !facts.is_yolo_export();
    if !is_said && !is_seen {
        return None;
    }
    let task = Task::of(facts, extra);
    let why = format!("{} {:?} has selected detections", output.name, output.shape);
    let mut head = Lines::default();
    head.put(1, "yolo:", Note::Known(why.clone()));
    head.plain(2, format_args!("outputs: {}", list([output.name.as_str()])));
    task.put(&mut head);
    let note = if is_said {
        Note::Known("`end2end: True` in the metadata".to_owned())
    } else {
        Note::Guess("rows of six values behind TopK".to_owned())
    };
    head.put(2, "format:", note);
    head.plain(3, "end_to_end: {}");
    head.plain(2, "max_detections: 300");
    Some(Guess {
        kind: HeadKind::Yolo,
        why,
        head,
        preprocess: Preprocess::yolo(),
        classes: Classes {
            channels: facts.names.as_ref().map(Vec::len),
            background: false,
            set: LabelSet::Coco,
        },
    })
}

/// What follows the classes of a box.
enum Task {
    Detect,
    /// Number of keypoints, and values of each.
    Pose(usize, usize),
    /// Name of the output with the prototypes, and their number.
    Segment(String, usize),
}

impl Task {
    /// `most` is how many values there can be.
    fn of(facts: &Facts, most: usize) -> Self {
        let shape = facts.metadata("kpt_shape");
        let shape = shape.and_then(super::python_dict::parse_list);
        if let Some(&[count, values]) = shape.as_deref()
            && count * values <= most
        {
            return Self::Pose(count, values);
        }
        let (rows, columns) = facts.grid(4);
        let maps = facts.of_rank(4);
        let prototypes = maps
            .iter()
            .find(|o| o.shape[2..] == [rows, columns] && o.shape[1] <= most);
        match prototypes {
            Some(o) => Self::Segment(o.name.clone(), o.shape[1]),
            None => Self::Detect,
        }
    }

    fn values(&self) -> usize {
        match self {
            Self::Detect => 0,
            Self::Pose(count, values) => count * values,
            Self::Segment(_, values) => *values,
        }
    }

    fn put(&self, head: &mut Lines) {
        match self {
            Self::Detect => {}
            Self::Pose(count, values) => {
                let note = Note::Known("`kpt_shape` of the metadata".to_owned());
                head.put(2, format_args!("kpt_shape: [{count}, {values}]"), note);
            }
            Self::Segment(name, values) => {
                let note = Note::Known(format!("{values} masks at a quarter of the size"));
                head.put(2, format_args!("prototypes: {}", quoted(name)), note);
            }
        }
    }
}

/// Rows of all boxes.
struct Rows<'f> {
    output: &'f Output,
    is_rows_first: bool,
    /// Values of a row.
    channels: usize,
    /// Boxes of a cell, if the number of rows shows it, and the strides.
    per_cell: Option<(usize, &'static [u32])>,
    task: Task,
    objectness: bool,
    reason: Note,
}

impl<'f> Rows<'f> {
    fn of(facts: &Facts, output: &'f Output) -> Option<Self> {
        let (first, second) = (output.shape[1], output.shape[2]);
        let layouts = STRIDES
            .iter()
            .flat_map(|strides| [1, 3].map(|boxes| (boxes, *strides)));
        let fits = |count: usize| {
            layouts
                .clone()
                .find(|(boxes, strides)| boxes * facts.cells(strides) == count)
        };
        let (is_rows_first, per_cell) = match (fits(first), fits(second)) {
            (Some(found), _) => (true, Some(found)),
            (None, Some(found)) => (false, Some(found)),
            (None, None) if facts.is_yolo_export() => (first > second, None),
            (None, None) => return None,
        };
        let channels = if is_rows_first { second } else { first };
        // NanoDet-Plus has such rows, too.
        let is_distribution = per_cell
            .is_some_and(|(boxes, strides)| boxes == 1 && strides.len() == 4)
            && is_rows_first
            && !facts.is_yolo_export()
            && output.ends.iter().all(|op| op == "Conv" || op == "Sigmoid");
        let after_box = channels.checked_sub(5).filter(|_| !is_distribution)?;
        let task = Task::of(facts, after_box);
        let scores = channels - 4 - task.values();
        let (objectness, reason) = match facts.names.as_ref().map(Vec::len) {
            Some(classes) if classes == scores || classes + 1 == scores => (
                classes + 1 == scores,
                Note::Known(format!(
                    "{channels} values are 4 of the box, {scores} scores; the metadata has {classes} names"
                )),
            ),
            _ if per_cell.is_some_and(|(boxes, _)| boxes == 3) => (
                true,
                Note::Guess("three boxes a cell, as version 5 and 7".to_owned()),
            ),
            _ if is_rows_first => (
                true,
                Note::Guess("a row for each box, as version 6 and YOLOX".to_owned()),
            ),
            _ => (
                false,
                Note::Guess("a column for each box, as version 8 and newer".to_owned()),
            ),
        };
        Some(Self {
            output,
            is_rows_first,
            channels,
            per_cell,
            task,
            objectness,
            reason,
        })
    }

    fn guess(self, facts: &Facts) -> Guess {
        let Self { output, .. } = &self;
        let is_raw = output.ends.iter().all(|op| op == "Conv" || op == "Sigmoid");
        let is_grid = self.is_rows_first && self.objectness && is_raw && !facts.is_yolo_export();
        let grid = self.per_cell.filter(|(boxes, _)| is_grid && *boxes == 1);
        let why = format!("{} {:?} has all boxes", output.name, output.shape);
        let mut head = Lines::default();
        head.put(1, "yolo:", Note::Known(why.clone()));
        head.plain(2, format_args!("outputs: {}", list([output.name.as_str()])));
        self.task.put(&mut head);
        head.plain(2, "format:");
        let activation = |default: &str| {
            if output.ends_with("Sigmoid") || !is_raw {
                (default.to_owned(), Note::none())
            } else {
                (
                    "sigmoid".to_owned(),
                    Note::Guess("the graph ends with a convolution".to_owned()),
                )
            }
        };
        let (nms_iou, preprocess) = if let Some((_, strides)) = grid {
            head.put(
                3,
                "grid_rows:",
                Note::Guess("boxes come from convolutions alone, as YOLOX".to_owned()),
            );
            head.plain(4, format_args!("strides: {strides:?}"));
            let (activation, note) = activation("none");
            head.put(4, format_args!("activation: {activation}"), note);
            ("0.45", Preprocess::yolox())
        } else {
            head.plain(3, "rows:");
            head.put(
                4,
                format_args!("objectness: {}", self.objectness),
                self.reason.clone(),
            );
            let layout = if self.is_rows_first {
                "rows_first"
            } else {
                "channels_first"
            };
            head.plain(4, format_args!("layout: {layout}"));
            let (activation, note) = activation("none");
            head.put(4, format_args!("activation: {activation}"), note);
            (
                if self.objectness { "0.45" } else { "0.7" },
                Preprocess::yolo(),
            )
        };
        head.put(
            2,
            format_args!("nms_iou: {nms_iou}"),
            Note::Guess("as its authors predict".to_owned()),
        );
        head.plain(2, "max_detections: 300");
        let classes = self.channels - 4 - usize::from(self.objectness) - self.task.values();
        Guess {
            kind: HeadKind::Yolo,
            why,
            head,
            preprocess,
            classes: classes_of(classes),
        }
    }
}

/// Classes of a YOLO; without class channels the objectness is the score of the only one.
pub fn classes_of(channels: usize) -> Classes {
    Classes::of(channels.max(1), LabelSet::Coco)
}
