//! Names of the classes: from a file of the user, the metadata, or a set that has as many.

use std::collections::HashSet;
use std::path::Path;

use mobilens::config::CardConfig;

use super::guess::{Classes, LabelSet};
use super::note::{Lines, Note, quoted};

/// Cards whose labels are those of a data set.
const COCO_CARD: &str = include_str!("../../../models/ssdlite_mobilenet_v2_coco.yaml");
const VOC_CARD: &str = include_str!("../../../models/deeplabv3_mobilenet_v2_voc_os16.yaml");
const IMAGENET_CARD: &str = include_str!("../../../models/efficientnet_lite0_imagenet_int8.yaml");

/// Longest file of labels, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Labels with their ids.
type Labels = Vec<(u32, String)>;

/// The block `labels`.
///
/// # Errors
/// When the file of labels cannot be read, or has another number of names than the head has classes.
pub fn label_lines(
    classes: &Classes,
    metadata: Option<&[String]>,
    file: Option<&Path>,
) -> Result<Lines, String> {
    let (labels, note) = match (file, metadata) {
        (Some(file), _) => {
            let names = read_names(file)?;
            let count = names.len();
            let labels = numbered(names, classes).ok_or_else(|| {
                let channels = classes.channels.unwrap_or_default();
                let wanted = channels - usize::from(classes.background);
                format!(
                    "{}: {count} names; the model has {wanted} classes",
                    file.display()
                )
            })?;
            (labels, Note::Known("--labels".to_owned()))
        }
        (None, Some(names)) if let Some(labels) = numbered(names.to_vec(), classes) => {
            let note = Note::Known("`names` of the file's metadata".to_owned());
            (labels, note)
        }
        _ => usual(classes),
    };
    let mut lines = Lines::default();
    lines.put(0, "labels:", note);
    for (id, name) in distinct(labels) {
        lines.plain(1, format_args!("- {{ id: {id}, name: {} }}", quoted(&name)));
    }
    Ok(lines)
}

fn read_names(file: &Path) -> Result<Vec<String>, String> {
    let failed = |why: String| format!("cannot read {}: {why}", file.display());
    let meta = std::fs::metadata(file).map_err(|e| failed(e.to_string()))?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(failed(
            "expected a text file with a name on each line".to_owned(),
        ));
    }
    let text = std::fs::read_to_string(file).map_err(|e| failed(e.to_string()))?;
    let names = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let names: Vec<String> = names
        .filter(|n| !n.is_empty())
        .map(ToOwned::to_owned)
        .collect();
    if names.is_empty() {
        return Err(failed("it has no names".to_owned()));
    }
    Ok(names)
}

/// The names with the ids of their channels, if they are as many as the classes, with or without the background.
fn numbered(names: Vec<String>, classes: &Classes) -> Option<Labels> {
    let first = u32::from(classes.background);
    let skipped = match classes.channels {
        Some(channels) if names.len() == channels => first as usize,
        Some(channels) if classes.background && names.len() + 1 == channels => 0,
        Some(_) => return None,
        None => 0,
    };
    let names = names.into_iter().skip(skipped);
    Some((first..).zip(names).collect())
}

/// The labels of a data set with as many classes, or numbers.
fn usual(classes: &Classes) -> (Labels, Note) {
    let Classes {
        channels,
        background,
        set,
    } = *classes;
    let guess = |what: &str| Note::Guess(format!("{}, by the number of classes", what));
    match (set, channels, background) {
        (LabelSet::Face, Some(1), false) | (LabelSet::Face, Some(2), true) => (
            vec![(u32::from(background), "face".to_owned())],
            Note::none(),
        ),
        (LabelSet::Foreground, ..) => {
            let names = ["background", "foreground"].map(str::to_owned);
            let what = "name of what is segmented: give it by --labels, behind the background";
            ((0..).zip(names).collect(), Note::Unknown(what.to_owned()))
        }
        (LabelSet::Coco, Some(80), false) | (LabelSet::Coco, Some(81), true) => {
            let first = u32::from(background);
            let names = of_card(COCO_CARD).into_iter().map(|(_, name)| name);
            ((first..).zip(names).collect(), guess("COCO's 80 classes"))
        }
        (LabelSet::Coco, Some(90 | 91), _) => (
            of_card(COCO_CARD),
            guess("COCO's classes by their category ids"),
        ),
        (LabelSet::Voc, Some(21), false) => (of_card(VOC_CARD), guess("Pascal VOC's classes")),
        (LabelSet::Coco, Some(20), false) | (LabelSet::Coco, Some(21), true) => {
            let names = of_card(VOC_CARD).into_iter().skip(1);
            let first = u32::from(background);
            (
                (first..).zip(names.map(|(_, name)| name)).collect(),
                guess("Pascal VOC's classes"),
            )
        }
        (LabelSet::ImageNet, Some(1000), _) => {
            (of_card(IMAGENET_CARD), guess("ImageNet's classes"))
        }
        (LabelSet::ImageNet, Some(1001), _) => {
            let names = of_card(IMAGENET_CARD)
                .into_iter()
                .map(|(id, name)| (id + 1, name));
            let all = std::iter::once((0, "background".to_owned())).chain(names);
            (
                all.collect(),
                guess("ImageNet's classes behind the background"),
            )
        }
        (_, channels, _) => {
            let first = usize::from(background);
            let numbers = first..channels.unwrap_or(80);
            let what = match channels.map(|channels| channels - first) {
                Some(1) => "name of the class: give it by --labels".to_owned(),
                Some(count) => format!("names of the {count} classes: give them by --labels"),
                None => "names of the classes: give them by --labels".to_owned(),
            };
            let labels = numbers.map(|id| (id as u32, format!("class_{id}")));
            (labels.collect(), Note::Unknown(what))
        }
    }
}

fn of_card(text: &str) -> Labels {
    let card = serde_yaml::from_str::<CardConfig>(text);
    let labels = card.map(|card| card.labels).unwrap_or_default();
    labels
        .into_iter()
        .map(|label| (label.id, label.name))
        .collect()
}

/// Names that occur again get a number.
fn distinct(labels: Labels) -> Labels {
    let mut seen = HashSet::new();
    let all = labels.into_iter().map(|(id, name)| {
        let mut distinct = name.clone();
        let mut count = 1;
        while !seen.insert(distinct.clone()) {
            count += 1;
            distinct = format!("{name} {count}");
        }
        (id, distinct)
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(channels: usize, background: bool, set: LabelSet) -> String {
        let classes = Classes {
            channels: Some(channels),
            background,
            set,
        };
        label_lines(&classes, None, None)
            .expect("labels")
            .to_string()
    }

    #[test]
    fn sets_are_known_by_their_size() {
        let coco = text(80, false, LabelSet::Coco);
        assert!(
            coco.contains("{ id: 0, name: person }")
                && coco.contains("{ id: 79, name: toothbrush }")
        );
        let by_id = text(91, true, LabelSet::Coco);
        assert!(
            by_id.contains("{ id: 1, name: person }")
                && by_id.contains("{ id: 90, name: toothbrush }")
        );
        let imagenet = text(1001, false, LabelSet::ImageNet);
        assert!(
            imagenet.contains("{ id: 0, name: background }")
                && imagenet.contains("{ id: 1, name: tench }")
        );
        assert!(text(21, false, LabelSet::Voc).contains("{ id: 15, name: person }"));
        assert!(text(2, true, LabelSet::Face).contains("{ id: 1, name: face }"));
        let other = text(7, true, LabelSet::Coco);
        assert!(
            other.contains("# UNKNOWN: names of the 6 classes")
                && other.contains("{ id: 6, name: class_6 }")
        );
    }

    #[test]
    fn names_that_occur_again_are_told_apart() {
        let names = ["a", "b", "a"].map(str::to_owned);
        let classes = Classes::of(3, LabelSet::Coco);
        let text = label_lines(&classes, Some(&names), None)
            .expect("labels")
            .to_string();
        assert!(text.contains("{ id: 2, name: a 2 }"), "{text}");
    }

    #[test]
    fn a_file_must_have_as_many_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("names.txt");
        std::fs::write(&file, "background\ncat\n\ndog\n").expect("room");
        let of = |channels: usize| {
            let classes = Classes {
                channels: Some(channels),
                background: true,
                set: LabelSet::Coco,
            };
            label_lines(&classes, None, Some(&file))
        };
        assert!(
            of(3)
                .expect("labels")
                .to_string()
                .contains("{ id: 2, name: dog }")
        );
        assert!(
            of(4)
                .expect("labels")
                .to_string()
                .contains("{ id: 3, name: dog }")
        );
        assert!(
            of(9)
                .expect_err("other")
                .contains("3 names; the model has 8 classes")
        );
    }
}
