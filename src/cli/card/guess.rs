//! What a network can be: a head for its outputs, with the reason.

use super::arguments::HeadKind;
use super::facts::Facts;
use super::maps::{centernet, gfl};
use super::note::Lines;
use super::pairs::{detr, retinaface};
use super::preprocess::Preprocess;
use super::ssd::{blazeface, ssd};
use super::whole::{classify, segment};
use super::yolo::yolo;

/// A head that fits the outputs.
#[derive(Clone, Debug)]
pub struct Guess {
    /// Which.
    pub kind: HeadKind,
    /// What in the file shows it.
    pub why: String,
    /// The lines below `head`.
    pub head: Lines,
    /// Preprocessing of networks of this kind.
    pub preprocess: Preprocess,
    /// Its classes.
    pub classes: Classes,
}

/// The classes of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    /// Channels of the scores, with the background; `None` where an output holds the class.
    pub channels: Option<usize>,
    /// Whether channel 0 is the background, which has no label.
    pub background: bool,
    /// The sets of labels that are usual for so many channels.
    pub set: LabelSet,
}

/// Sets of labels, told apart by the number of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelSet {
    /// COCO's.
    Coco,
    /// ImageNet's.
    ImageNet,
    /// Pascal VOC's.
    Voc,
    /// A face.
    Face,
    /// The background and what is not.
    Foreground,
}

impl Classes {
    /// Of so many channels, none of which is the background.
    pub fn of(channels: usize, set: LabelSet) -> Self {
        Self {
            channels: Some(channels),
            background: false,
            set,
        }
    }
}

/// All heads that fit the outputs.
///
/// # Errors
/// When the file is of a kind that is known, and that no head supports.
pub fn guesses(facts: &Facts) -> Result<Vec<Guess>, String> {
    let all = [
        classify(facts),
        yolo(facts)?,
        ssd(facts),
        blazeface(facts),
        retinaface(facts),
        detr(facts),
        gfl(facts),
        centernet(facts),
        segment(facts),
    ];
    Ok(all.into_iter().flatten().collect())
}

/// The one head that fits, or the one of the kind that is `wanted`.
///
/// # Errors
/// When there are several or none; says which, and how to choose.
pub fn choose(facts: &Facts, wanted: Option<HeadKind>) -> Result<Guess, String> {
    let mut all = guesses(facts)?;
    if let Some(wanted) = wanted {
        let is_wanted = |guess: &Guess| guess.kind == wanted;
        return match all.iter().position(is_wanted) {
            Some(index) => Ok(all.swap_remove(index)),
            None => Err(format!(
                "its outputs do not fit the head `{}`: {}",
                wanted.key(),
                facts.outputs_text()
            )),
        };
    }
    match (all.pop(), &all[..]) {
        (Some(guess), []) => Ok(guess),
        (None, _) => Err(format!(
            "none of the heads of model cards fits its outputs: {}",
            facts.outputs_text()
        )),
        (Some(last), others) => {
            let all = others.iter().chain([&last]);
            let all: Vec<String> = all
                .map(|guess| format!("`{}` ({})", guess.kind.key(), guess.why))
                .collect();
            let key = others.first().map_or("", |guess| guess.kind.key());
            Err(format!(
                "it has {} candidate heads: {}; choose one, for instance by --head {key}",
                all.len(),
                all.join(" and ")
            ))
        }
    }
}
