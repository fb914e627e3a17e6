//! Detectors: holds a network against its card, and sets up the decoding of its head.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{
    ActivationConfig, CardConfig, DetectConfig, FitConfig, LoadedPipeline, PipelineConfig,
    SsdInputSizes, SsdNmsConfig, TileMergeConfig,
};
use crate::gating::{InputScale, InputSizes, look_scales};
use crate::pipeline::options::ModelError;
use crate::pipeline::stages::detect::{DetectorModel, ScaleLoader, ScaleModel};
use crate::postprocess::{HeadParams, JoinParams, TileMerge, WantedClass};
use mobilens_image::{PreprocessParams, SizePx};
use mobilens_nn::{KeptClasses, Network, PrunedClasses};

use super::heads::HeadSource;
use super::model::Networks;
use super::preprocess::preprocess_params;
use super::ssd::SsdLayout;

/// Intersection over the smaller area above which boxes are one object.
const SMALLER_OVERLAP: f32 = 0.7;
/// Lowest score of what is decoded where tiles are joined.
const FLOOR_WITH_TILES: f32 = 0.1;

/// The detector that `pipeline` names, its network held against its card.
///
/// # Errors
/// When it cannot be loaded or does not do what the card says.
pub fn detector_model(
    pipeline: &LoadedPipeline,
    networks: &Arc<Networks>,
) -> Result<DetectorModel, ModelError> {
    let sizes = input_sizes(pipeline);
    let (card, detect) = (pipeline.card.clone(), pipeline.config.detect.clone());
    let floor = score_floor(&pipeline.config);
    let (networks, scales) = (Arc::clone(networks), sizes.scales.clone());
    let load = move |size: SizePx, scale: usize| {
        let scale = scales.get(scale);
        let beside = scale.and_then(|scale| Some((scale.beside?, scale.px)));
        scale_model(&card, &detect, floor, &networks, size, beside)
    };
    let first_size = sizes.scales[0].px;
    let first = Arc::new(load(first_size, 0)?);
    let made = Mutex::new(HashMap::from([(first_size, Arc::clone(&first))]));
    let load: Box<ScaleLoader> = Box::new(move |size, scale| {
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        match made.entry(size) {
            Entry::Occupied(entry) => Ok(Arc::clone(entry.get())),
            Entry::Vacant(entry) => {
                let model = load(size, scale).map_err(|e| e.to_string())?;
                Ok(Arc::clone(entry.insert(Arc::new(model))))
            }
        }
    });
    let gating = &pipeline.config.gating;
    let is_planned = gating.looks.is_some() || gating.plan.is_some();
    if !sizes.rectangle {
        // Of sizes that may never be used the first shows whether the network can have others.
        let count = if is_planned { 1 } else { usize::MAX };
        for (scale, size) in sizes.scales.iter().enumerate().skip(1).take(count) {
            load(size.px, scale).map_err(|why| ModelError::Card {
                card: pipeline.card.name.clone(),
                why,
            })?;
        }
    }
    let budget_ms = gating.budget_ms.unwrap_or(f64::INFINITY);
    Ok(DetectorModel {
        name: pipeline.card.name.clone(),
        calibrate_ms: (gating.looks.is_some() && !sizes.rectangle).then_some(budget_ms),
        is_planned,
        join: join_params(pipeline, &first.head),
        first,
        sizes,
        load,
    })
}

/// How detections of tiles and other parts of a picture are joined.
fn join_params(pipeline: &LoadedPipeline, head: &HeadParams) -> JoinParams {
    let tiles = pipeline.config.gating.tiles.as_ref();
    let merge = match tiles.map(|tiles| tiles.merge) {
        Some(TileMergeConfig::Fusion) => TileMerge::Fusion,
        Some(TileMergeConfig::Smaller) => TileMerge::Smaller,
        Some(TileMergeConfig::Nms) | None => TileMerge::Nms,
    };
    let default = match merge {
        TileMerge::Smaller => SMALLER_OVERLAP,
        TileMerge::Nms | TileMerge::Fusion => head.nms_iou(),
    };
    JoinParams {
        merge,
        overlap: tiles
            .and_then(|tiles| tiles.merge_overlap)
            .unwrap_or(default),
        limit: head.max_detections(),
    }
}

/// The sizes of the network's input, from the pipeline and the card.
pub fn input_sizes(pipeline: &LoadedPipeline) -> InputSizes {
    let (config, input) = (&pipeline.config, &pipeline.card.input);
    let possible = SsdInputSizes::of(&pipeline.card);
    let (width, height) = possible.trained_px;
    let gating = &config.gating;
    let sides = if gating.looks.is_some() || gating.plan.is_some() {
        look_scales(width, possible.step_px)
    } else {
        let mut sides = gating.scales.clone();
        sides.sort_unstable();
        sides.dedup();
        let smaller = std::iter::once(None).chain(sides.iter().copied().map(Some));
        sides.iter().copied().zip(smaller).collect()
    };
    let square = |px: u32| SizePx {
        width: px,
        height: px,
    };
    let scale = |(px, beside): &(u32, Option<u32>)| InputScale {
        px: square(*px),
        beside: beside.map(square),
    };
    let mut scales: Vec<InputScale> = sides.iter().map(scale).collect();
    if scales.is_empty() {
        scales.push(InputScale {
            px: SizePx {
                width: input.width_px,
                height: input.height_px,
            },
            beside: None,
        });
    }
    InputSizes {
        scales,
        rectangle: config.model.fit == Some(FitConfig::Rectangle),
        trained: SizePx { width, height },
        step_px: possible.step_px,
    }
}

/// The network at an input size, held against the card. `beside` is the next smaller scale, and this one.
fn scale_model(
    card: &CardConfig,
    detect: &DetectConfig,
    floor: f32,
    networks: &Networks,
    size: SizePx,
    beside: Option<(SizePx, SizePx)>,
) -> Result<ScaleModel, ModelError> {
    let ssd = card.head.ssd.as_ref();
    let layout = ssd.map(|head| SsdLayout::new(card, head, size, beside));
    let layout = layout.transpose()?;
    let network = networks.at(size, layout.as_ref().and_then(SsdLayout::maps))?;
    let expected = [1, 3, size.height as usize, size.width as usize];
    if network.input().shape != expected {
        let why = format!(
            "the card says that the input is {expected:?}, the network's is {:?}",
            network.input().shape
        );
        return Err(fault(card, why));
    }
    let (head, outputs) = match layout {
        Some(layout) => layout.head_params(detect, floor, &network)?,
        None => HeadSource {
            card,
            detect,
            floor,
            network: &network,
        }
        .head_params()?,
    };
    Ok(ScaleModel {
        preprocess: PreprocessParams {
            width_px: size.width,
            height_px: size.height,
            ..preprocess_params(card)
        },
        network,
        head,
        outputs,
    })
}

/// A contradiction between a card and its network.
pub fn fault(card: &CardConfig, why: String) -> ModelError {
    ModelError::Card {
        card: card.name.clone(),
        why,
    }
}

/// The number of the output that the card calls `name`.
///
/// # Errors
/// Names the network's outputs if it is none of them.
pub fn output_index(card: &CardConfig, network: &Network, name: &str) -> Result<usize, ModelError> {
    let outputs = network.outputs();
    outputs.iter().position(|o| o.name == name).ok_or_else(|| {
        let known: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
        let known = known.join(", ");
        let why = format!("the network has no output \"{name}\"; it has {known}");
        fault(card, why)
    })
}

/// The classes that are wanted, each with its channel of `channels` and the score below which no later stage
/// uses it.
///
/// # Errors
/// When a label has no channel.
pub fn wanted_classes(
    card: &CardConfig,
    detect: &DetectConfig,
    floor: f32,
    background: bool,
    channels: usize,
    pruned: Option<&PrunedClasses>,
) -> Result<Vec<WantedClass>, ModelError> {
    if let Some(label) = card.labels.iter().find(|l| l.id as usize >= channels) {
        let why = format!(
            "the label {} (\"{}\") has no channel; the scores have {channels}",
            label.id, label.name
        );
        return Err(fault(card, why));
    }
    let labels = card.labels.iter();
    let labels = labels.filter(|label| !(background && label.id == 0));
    let wanted = labels.filter_map(|label| {
        if !detect.is_wanted(&label.name) {
            return None;
        }
        let class_id = label.id as usize;
        let channel = match pruned {
            Some(pruned) => pruned.classes.binary_search(&class_id).ok()?,
            None => class_id,
        };
        Some(WantedClass {
            channel,
            category_id: label.id,
            score_threshold: detect.score_threshold_of(&label.name).min(floor),
        })
    });
    Ok(wanted.collect())
}

/// The scores that are worth computing when only some of the card's labels are wanted; `None`
/// where all are, or where each score depends on all of them.
pub fn classes_to_keep(card: &CardConfig, is_wanted: &dyn Fn(&str) -> bool) -> Option<KeptClasses> {
    let head = card.head.ssd.as_ref()?;
    // Of several outputs one alone would be pruned; other classes may be a box's best one.
    if head.activation != ActivationConfig::Sigmoid
        || !head.further_maps.is_empty()
        || head.nms == SsdNmsConfig::ClassAgnostic
    {
        return None;
    }
    let wanted = card.labels.iter().filter(|label| is_wanted(&label.name));
    let mut classes: Vec<usize> = wanted.map(|label| label.id as usize).collect();
    classes.sort_unstable();
    classes.dedup();
    (!classes.is_empty()).then(|| KeptClasses {
        output: head.scores.clone(),
        classes,
    })
}

/// Tracking also uses detections below the score threshold.
fn score_floor(config: &PipelineConfig) -> f32 {
    let track = config.track.as_ref();
    let of_track = track.map_or(f32::INFINITY, |track| track.score_low as f32);
    // What the whole frame shows faintly bears out what a tile shows.
    if config.gating.tiles.is_some() {
        of_track.min(FLOOR_WITH_TILES)
    } else {
        of_track
    }
}
