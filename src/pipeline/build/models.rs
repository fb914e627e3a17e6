//! The models of streams: each network is loaded once, whichever streams run it.

use std::sync::Arc;

use crate::config::{CardConfig, DetectConfig, InsideConfig, LoadedModel, LoadedPipeline};
use crate::flow::Latency;
use crate::gating::{Every, Feedback, Rhythm};
use crate::pipeline::options::ModelError;
use crate::pipeline::stages::detect::{Detector, DetectorModel};
use crate::pipeline::stages::infer::{InferenceLatency, InferenceWorker};
use crate::pipeline::stages::models::{InsideParams, LaterModel, Place, SeveralDetectors};
use mobilens_nn::{KernelChoice, Network};

use super::model::Model;
use super::zones::polygon;

/// The models of several streams.
#[derive(Clone, Debug)]
pub struct LoadedModels {
    /// Those of each stream.
    pub streams: Vec<StreamModels>,
    /// What was loaded: the name of each card and the network, once.
    pub networks: Vec<(String, Network)>,
}

/// The models of one stream.
#[derive(Clone, Debug)]
pub struct StreamModels {
    /// The one that runs first.
    pub first: Model,
    /// Those that run after it, with their names.
    pub others: Vec<(String, Model)>,
}

impl LoadedModels {
    /// Loads the networks that `configs` name, to run on `kernels`.
    ///
    /// # Errors
    /// When one cannot be loaded or does not do what its card says.
    pub fn load(configs: &[LoadedPipeline], kernels: KernelChoice) -> Result<Self, ModelError> {
        let mut uses: Vec<LoadedPipeline> = Vec::new();
        for pipeline in configs {
            uses.push(pipeline.clone());
            uses.extend(pipeline.others.iter().map(|other| other.alone(pipeline)));
        }
        let mut models: Vec<Option<Model>> = vec![None; uses.len()];
        let mut networks = Vec::new();
        for i in 0..uses.len() {
            if models[i].is_some() {
                continue;
            }
            let is_same = |at: &usize| is_one_network(&uses[i].card, &uses[*at].card);
            let places: Vec<usize> = (i..uses.len()).filter(is_same).collect();
            let sharing: Vec<LoadedPipeline> = places.iter().map(|at| uses[*at].clone()).collect();
            let loaded = Model::load_shared(&sharing, kernels)?;
            let network = loaded.first().map(|model| model.network().clone());
            networks.extend(network.map(|network| (uses[i].card.name.clone(), network)));
            for (at, model) in places.into_iter().zip(loaded) {
                models[at] = Some(model);
            }
        }
        let mut models = models.into_iter().flatten();
        let streams = configs.iter().map_while(|pipeline| {
            let first = models.next()?;
            let others = pipeline.others.iter();
            let others = others.map_while(|other| Some((other.name.clone(), models.next()?)));
            Some(StreamModels {
                first,
                others: others.collect(),
            })
        });
        Ok(Self {
            streams: streams.collect(),
            networks,
        })
    }
}

/// Whether two cards, each under its stream's options, are of one network, perhaps at several input sizes.
fn is_one_network(a: &CardConfig, b: &CardConfig) -> bool {
    a.file == b.file
        && a.head == b.head
        && a.labels == b.labels
        && a.input.trained_size_px() == b.input.trained_size_px()
}

impl StreamModels {
    /// What the first model runs on, or, of several, what each does, with its name.
    pub fn describe(&self, pipeline: &LoadedPipeline) -> String {
        let Some(name) = &pipeline.model_name else {
            return self.first.network().to_string();
        };
        let first = format!("{name}: {}", self.first.network());
        let others = self.others.iter();
        let others = others.map(|(name, model)| format!("{name}: {}", model.network()));
        let all: Vec<String> = std::iter::once(first).chain(others).collect();
        all.join("; ")
    }

    /// What runs after the first model, for a pipeline that was validated. Frames of the source may be
    /// dropped (`drops`), or not.
    pub fn later(&self, pipeline: &LoadedPipeline, drops: bool) -> Vec<LaterModel> {
        let loaded = pipeline.others.iter().zip(pipeline.first_ids());
        let models = self.others.iter().zip(loaded);
        let later = models.filter_map(|((name, model), (loaded, first_id))| {
            let Model::Detector(model) = model else {
                return None;
            };
            Some(LaterModel {
                model: Arc::clone(model),
                first_id,
                rhythm: every(loaded).map(|every| Arc::new(Rhythm::new(every, drops))),
                place: place(pipeline, loaded),
                steps: InferenceLatency {
                    infer: Latency::new(format!("infer {name}")),
                    ..InferenceLatency::default()
                },
                latency: Latency::new(format!("model {name}")),
            })
        });
        later.collect()
    }

    /// An inference worker for the first model and `later`, as [`Model::worker`]. `whole` is the latency of
    /// all that the first does on a frame, where there are several.
    ///
    /// # Errors
    /// When a network cannot be made ready to run.
    pub fn worker(
        &self,
        later: &[LaterModel],
        threads: usize,
        latency: &InferenceLatency,
        whole: &Latency,
        feedback: &Arc<Feedback>,
    ) -> Result<Box<dyn InferenceWorker>, ModelError> {
        let Model::Detector(first) = &self.first else {
            return self.first.worker(threads, latency, feedback);
        };
        if later.is_empty() {
            return self.first.worker(threads, latency, feedback);
        }
        let first: &Arc<DetectorModel> = first;
        let first = Detector::new(first, threads, latency, feedback)?;
        let several = SeveralDetectors::new(first, whole.clone(), later, threads)?;
        Ok(Box::new(several))
    }
}

fn every(loaded: &LoadedModel) -> Option<Every> {
    let frames = loaded.config.every.map(Every::Frames);
    frames.or(loaded.config.every_ms.map(Every::Millis))
}

fn place(pipeline: &LoadedPipeline, loaded: &LoadedModel) -> Place {
    let zone = loaded.config.zone.as_ref();
    if let Some(zone) = zone.and_then(|zone| polygon(pipeline, zone)) {
        return Place::Zone(zone);
    }
    let inside = loaded.config.inside.as_ref();
    match inside.and_then(|inside| inside_params(pipeline, inside)) {
        Some(inside) => Place::Inside(inside),
        None => Place::Whole,
    }
}

/// The detections that `inside` names; `None` if the stream has no such model.
fn inside_params(pipeline: &LoadedPipeline, inside: &InsideConfig) -> Option<InsideParams> {
    let first = (
        pipeline.model_name.as_ref()?,
        &pipeline.card,
        &pipeline.config.detect,
        0,
    );
    let others = pipeline.others.iter().zip(pipeline.first_ids());
    let others = others.map(|(other, id)| (&other.name, &other.card, &other.config.detect, id));
    let mut models = std::iter::once(first).chain(others).enumerate();
    let found = models.find(|(_, (name, ..))| **name == inside.model);
    let (model, (_, card, detect, first_id)): (usize, (_, &CardConfig, &DetectConfig, u32)) =
        found?;
    let labels = card.labels.iter();
    let counts = |name: &str| {
        let is_named =
            inside.classes.is_empty() || inside.classes.iter().any(|class| class == name);
        is_named && detect.is_wanted(name)
    };
    let classes = labels
        .filter(|label| counts(&label.name))
        .map(|label| (first_id + label.id, detect.score_threshold_of(&label.name)));
    Some(InsideParams {
        model,
        classes: classes.collect(),
        grow: inside.grow,
        max: inside.max as usize,
    })
}
