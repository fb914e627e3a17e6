//! Raw maps of YOLO: at anchors (version 2 to 5 and 7), or with distributions (6, 8 and newer).

use super::arguments::HeadKind;
use super::facts::{Facts, Output};
use super::guess::Guess;
use super::note::{Lines, Note, list};
use super::preprocess::Preprocess;
use super::yolo::classes_of;

/// Bins of a distribution, as usual first; one is a plain distance.
const BINS: [usize; 3] = [16, 17, 1];
/// Anchors of version 3 and 5 in pixels, by stride.
const ANCHORS: [(u32, &str); 3] = [
    (8, "[10, 13], [16, 30], [33, 23]"),
    (16, "[30, 61], [62, 45], [59, 119]"),
    (32, "[116, 90], [156, 198], [373, 326]"),
];
/// Anchors of version 3 tiny.
const TINY_ANCHORS: [(u32, &str); 2] = [
    (16, "[10, 14], [23, 27], [37, 58]"),
    (32, "[81, 82], [135, 169], [344, 319]"),
];
/// Anchors of version 2 in cells: of VOC and of COCO.
const REGION_ANCHORS: [&str; 2] = [
    "[1.3221, 1.73145], [3.19275, 4.00944], [5.05587, 8.09892], [9.47112, 4.84053], [11.2364, 10.0071]",
    "[0.57273, 0.677385], [1.87446, 2.06253], [3.33843, 5.47434], [7.88282, 3.52778], [9.77052, 9.16828]",
];

/// A map and its axes.
struct Map<'f> {
    output: &'f Output,
    stride: u32,
    layout: Layout,
    /// Values of a cell.
    channels: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    ChannelsFirst,
    ChannelsLast,
    AnchorsFirst,
}

impl Layout {
    fn key(self) -> &'static str {
        match self {
            Self::ChannelsFirst => "channels_first",
            Self::ChannelsLast => "channels_last",
            Self::AnchorsFirst => "anchors_first",
        }
    }
}

impl<'f> Map<'f> {
    fn of(facts: &Facts, output: &'f Output) -> Option<Self> {
        let of = |rows: usize, columns: usize, layout, channels| {
            let stride = facts
                .stride_of(rows, columns)
                .filter(|stride| *stride >= 8)?;
            Some(Self {
                output,
                stride,
                layout,
                channels,
            })
        };
        match output.shape[..] {
            [1, first, second, third] => of(second, third, Layout::ChannelsFirst, first)
                .or_else(|| of(first, second, Layout::ChannelsLast, third)),
            [1, first, second, third, last] => {
                of(second, third, Layout::AnchorsFirst, first * last)
                    .or_else(|| of(first, second, Layout::ChannelsLast, third * last))
            }
            _ => None,
        }
    }
}

/// Raw maps, if all outputs are such.
pub fn yolo_maps(facts: &Facts) -> Option<Guess> {
    let maps: Option<Vec<Map<'_>>> = facts.outputs.iter().map(|o| Map::of(facts, o)).collect();
    let maps = maps.filter(|maps| !maps.is_empty())?;
    let is_same = maps
        .iter()
        .all(|map| map.channels == maps[0].channels && map.layout == maps[0].layout);
    let is_distinct = maps.windows(2).all(|pair| pair[0].stride != pair[1].stride);
    if maps.len() >= 2 && is_same && is_distinct {
        joined_distributions(facts, &maps).or_else(|| anchors(facts, &maps))
    } else if let [map] = &maps[..] {
        region(map)
    } else {
        split_distributions(facts, &maps)
    }
}

/// The classes of boxes with so many bins a side, if that can be.
fn classes_beside(facts: &Facts, channels: usize, bins: usize) -> Option<usize> {
    let classes = channels
        .checked_sub(4 * bins)
        .filter(|classes| *classes > 0)?;
    let names = facts.names.as_ref().map(Vec::len);
    names
        .is_none_or(|names| names == classes)
        .then_some(classes)
}

fn joined_distributions(facts: &Facts, maps: &[Map<'_>]) -> Option<Guess> {
    let channels = maps[0].channels;
    // Three anchors of COCO's classes, or of others, are as many channels as distributions of odd numbers of classes.
    let as_anchors = channels.is_multiple_of(3) && channels / 3 > 5;
    let is_sure = |classes: usize| facts.names.is_some() || classes == 80 || !as_anchors;
    let mut all = BINS
        .iter()
        .filter_map(|bins| Some((*bins, classes_beside(facts, channels, *bins)?)));
    let (bins, classes) = all.find(|(_, classes)| is_sure(*classes))?;
    (maps[0].layout == Layout::ChannelsFirst).then(|| distributions(maps, bins, classes, false))
}

fn split_distributions(facts: &Facts, maps: &[Map<'_>]) -> Option<Guess> {
    let is_first = maps.iter().all(|map| map.layout == Layout::ChannelsFirst);
    if !is_first || !maps.len().is_multiple_of(2) {
        return None;
    }
    // Boxes and classes of each stride, or all boxes before all classes.
    let mut ordered = Vec::new();
    let mut strides: Vec<u32> = maps.iter().map(|map| map.stride).collect();
    strides.sort_unstable();
    strides.dedup();
    for stride in &strides {
        let of: Vec<&Map<'_>> = maps.iter().filter(|map| map.stride == *stride).collect();
        let [a, b] = of[..] else {
            return None;
        };
        ordered.push((a, b));
    }
    let fits = |boxes: usize, classes: usize| {
        let bins = BINS.into_iter().find(|bins| 4 * bins == boxes)?;
        let names = facts.names.as_ref().map(Vec::len);
        names.is_none_or(|names| names == classes).then_some(bins)
    };
    let (a, b) = ordered[0];
    let (bins, is_swapped) = match (fits(a.channels, b.channels), fits(b.channels, a.channels)) {
        (Some(bins), _) => (bins, false),
        (None, Some(bins)) => (bins, true),
        (None, None) => return None,
    };
    let ordered: Vec<Map<'_>> = ordered
        .into_iter()
        .flat_map(|(a, b)| if is_swapped { [b, a] } else { [a, b] })
        .map(|map| Map { ..*map })
        .collect();
    let (boxes, classes) = (ordered[0].channels, ordered[1].channels);
    let is_same = ordered.as_chunks::<2>().0;
    let is_same = is_same
        .iter()
        .all(|[a, b]| (a.channels, b.channels) == (boxes, classes));
    is_same.then(|| distributions(&ordered, bins, classes, true))
}

fn distributions(maps: &[Map<'_>], bins: usize, classes: usize, split: bool) -> Guess {
    let step = if split { 2 } else { 1 };
    let strides: Vec<u32> = maps.iter().step_by(step).map(|map| map.stride).collect();
    let of_classes = maps[step - 1].output;
    let why =
        format!("raw maps of strides {strides:?} with {bins} bins a side and {classes} classes");
    let mut head = Lines::default();
    head.put(1, "yolo:", Note::Known(why.clone()));
    head.plain(
        2,
        format_args!(
            "outputs: {}",
            list(maps.iter().map(|map| map.output.name.as_str()))
        ),
    );
    head.plain(2, "format:");
    head.put(
        3,
        "distribution_maps:",
        Note::Guess("as version 6, 8 and newer without their last layer".to_owned()),
    );
    head.plain(4, format_args!("strides: {strides:?}"));
    head.plain(4, format_args!("bins: {bins}"));
    if split {
        head.plain(4, "split: true");
    }
    let activation = if of_classes.ends_with("Sigmoid") {
        "none"
    } else {
        "sigmoid"
    };
    head.plain(4, format_args!("activation: {activation}"));
    head.put(
        2,
        "nms_iou: 0.7",
        Note::Guess("as its authors predict".to_owned()),
    );
    head.plain(2, "max_detections: 300");
    Guess {
        kind: HeadKind::Yolo,
        why,
        head,
        preprocess: Preprocess::yolo(),
        classes: classes_of(classes),
    }
}

/// The lines of maps at anchors, and the classes.
fn anchors(facts: &Facts, maps: &[Map<'_>]) -> Option<Guess> {
    let of_anchor = (maps[0].channels / 3).checked_sub(5)?;
    let is_named = facts
        .names
        .as_ref()
        .is_none_or(|names| names.len() == of_anchor);
    if !maps[0].channels.is_multiple_of(3) || !is_named || of_anchor == 0 {
        return None;
    }
    let layout = maps[0].layout;
    // The maps of PyTorch's training code have the anchors' axis first; Darknet's converters have channels.
    let is_v5 = layout == Layout::AnchorsFirst;
    let tables: &[(u32, &str)] = if maps.len() == 2 {
        &TINY_ANCHORS
    } else {
        &ANCHORS
    };
    let strides: Vec<u32> = maps.iter().map(|map| map.stride).collect();
    let why = format!("raw maps of strides {strides:?} with three anchors and {of_anchor} classes");
    let mut head = Lines::default();
    head.put(1, "yolo:", Note::Known(why.clone()));
    head.plain(
        2,
        format_args!(
            "outputs: {}",
            list(maps.iter().map(|map| map.output.name.as_str()))
        ),
    );
    head.plain(2, "format:");
    head.plain(3, "anchor_maps:");
    let what = "anchors, which training may change: these are those of version 3 and 5";
    head.put(4, "maps:", Note::Unknown(what.to_owned()));
    for map in maps {
        let (_, anchors) = tables.iter().find(|(stride, _)| *stride == map.stride)?;
        head.plain(
            5,
            format_args!("- {{ stride: {}, anchors: [{anchors}] }}", map.stride),
        );
    }
    let (coding, scale, reason) = if is_v5 {
        (
            "squared_sigmoid",
            "2",
            "an axis for the anchors, as version 5 and 7",
        )
    } else {
        (
            "exp",
            "1",
            "as version 3; version 4 has a scale_xy of 1.05 to 1.2, version 5 and 7 squared_sigmoid and 2",
        )
    };
    head.put(
        4,
        format_args!("size_coding: {coding}"),
        Note::Guess(reason.to_owned()),
    );
    head.plain(4, format_args!("scale_xy: {scale}"));
    let is_done = maps[0].output.ends_with("Sigmoid");
    head.plain(
        4,
        format_args!("activation: {}", if is_done { "none" } else { "sigmoid" }),
    );
    head.plain(4, format_args!("layout: {}", layout.key()));
    head.put(
        2,
        "nms_iou: 0.45",
        Note::Guess("as its authors predict".to_owned()),
    );
    head.plain(2, "max_detections: 300");
    Some(Guess {
        kind: HeadKind::Yolo,
        why,
        head,
        preprocess: if is_v5 {
            Preprocess::yolo()
        } else {
            Preprocess::darknet()
        },
        classes: classes_of(of_anchor),
    })
}

/// The region layer of version 2: five anchors in cells of 32 pixels.
fn region(map: &Map<'_>) -> Option<Guess> {
    let classes = (map.channels / 5).checked_sub(5)?;
    if !map.channels.is_multiple_of(5) || map.stride != 32 {
        return None;
    }
    let output = map.output;
    let why = format!(
        "{} {:?} is a map of stride 32 with five anchors and {classes} classes",
        output.name, output.shape
    );
    let mut head = Lines::default();
    head.put(1, "yolo:", Note::Known(why.clone()));
    head.plain(2, format_args!("outputs: {}", list([output.name.as_str()])));
    head.plain(2, "format:");
    head.plain(3, "anchor_maps:");
    let what = "anchors: these are those of version 2 for";
    let (set, anchors) = if classes == 20 {
        ("VOC", REGION_ANCHORS[0])
    } else {
        ("COCO", REGION_ANCHORS[1])
    };
    head.put(4, "maps:", Note::Unknown(format!("{what} {set}")));
    head.plain(5, format_args!("- {{ stride: 32, anchors: [{anchors}] }}"));
    head.plain(4, "anchor_unit: cells");
    head.put(
        4,
        "size_coding: exp",
        Note::Guess("as version 2".to_owned()),
    );
    head.plain(4, "scale_xy: 1");
    let activation = if classes == 0 { "sigmoid" } else { "softmax" };
    head.put(
        4,
        format_args!("activation: {activation}"),
        Note::Guess("as version 2".to_owned()),
    );
    head.plain(4, format_args!("layout: {}", map.layout.key()));
    head.put(2, "nms_iou: 0.45", Note::Guess("as Darknet".to_owned()));
    head.plain(2, "max_detections: 300");
    Some(Guess {
        kind: HeadKind::Yolo,
        why,
        head,
        preprocess: Preprocess::darknet(),
        classes: classes_of(classes),
    })
}
