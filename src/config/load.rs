//! Loads a pipeline with its model card, and finds all errors before anything runs.
//!
//! The command line changes the pipeline before files are looked for: a source that `--input`
//! replaces need not exist.

use std::collections::BTreeMap;
use std::path::Path;

use super::arguments::RunArguments;
use super::diagnostic::{ConfigError, Diagnostic};
use super::document::{Document, MAX_VIOLATIONS, Override, PathSegment, key_path};
use super::environment::is_url;
use super::input::InputSource;
use super::load_card::{load_card, load_card_only, with_options};
use super::loaded::LoadedPipeline;
use super::loaded_model::LoadedModel;
use super::schema::{CardConfig, ModelConfig, PipelineConfig};
use super::track_cards::load_track_cards;
use super::validate::{Validator, typed, validate_streams};

/// Loads the pipeline `file` under `overrides`, with its card.
///
/// # Errors
/// All errors that were found; a file with several streams is one.
pub fn load(file: &Path, overrides: &[Override]) -> Result<LoadedPipeline, ConfigError> {
    only_one(file, load_all(file, overrides, &RunArguments::default())?)
}

/// Loads the streams of the pipeline `file`, under the command line's arguments. A key under a
/// deprecated name is warned of in the log.
///
/// # Errors
/// All errors that were found.
pub fn load_all(
    file: &Path,
    overrides: &[Override],
    arguments: &RunArguments,
) -> Result<Vec<LoadedPipeline>, ConfigError> {
    load_streams(file, overrides, arguments, Purpose::Run)
}

/// Loads the pipeline `file` under `overrides` for its labels and its analysis: neither its sources
/// and sinks nor its ONNX file need to exist.
///
/// # Errors
/// All errors that were found; a file with several streams is one.
pub fn load_for_analysis(
    file: &Path,
    overrides: &[Override],
) -> Result<LoadedPipeline, ConfigError> {
    let arguments = RunArguments::default();
    let streams = load_streams(file, overrides, &arguments, Purpose::Analysis)?;
    only_one(file, streams)
}

/// What a pipeline is loaded for.
#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    Run,
    Analysis,
}

fn only_one(
    file: &Path,
    mut pipelines: Vec<LoadedPipeline>,
) -> Result<LoadedPipeline, ConfigError> {
    match (pipelines.pop(), pipelines.is_empty()) {
        (Some(pipeline), true) => Ok(pipeline),
        _ => Err(ConfigError::in_file(
            file,
            "expected one stream; the file has several streams",
        )),
    }
}

fn load_streams(
    file: &Path,
    overrides: &[Override],
    arguments: &RunArguments,
    purpose: Purpose,
) -> Result<Vec<LoadedPipeline>, ConfigError> {
    let input = arguments.input.as_deref().map(InputSource::of);
    let input = input.transpose()?;
    let document = Document::read_pipeline(file, overrides, input.as_ref())?;
    // One line is enough to look for the others.
    if let Some(warning) = document.warnings.first() {
        tracing::warn!("{warning}");
    }
    let (mut pipelines, mut errors) = (Vec::new(), Vec::new());
    let mut documents = Vec::new();
    for stream in document.split()? {
        match stream.with_first_model() {
            Ok(document) => documents.push(document),
            Err(ConfigError(of_stream)) => add_new(&mut errors, of_stream),
        }
    }
    if !errors.is_empty() {
        return Err(ConfigError::sorted(errors));
    }
    for document in &documents {
        if errors.len() >= MAX_VIOLATIONS {
            break;
        }
        match load_stream(file, document, arguments, purpose) {
            Ok(pipeline) => pipelines.push(pipeline),
            Err(ConfigError(of_stream)) => add_new(&mut errors, of_stream),
        }
    }
    if errors.is_empty() && documents.iter().any(|d| d.shared_sinks().is_some()) {
        validate_streams(&documents, &pipelines, &mut errors);
        errors.dedup();
    }
    if errors.is_empty() {
        Ok(pipelines)
    } else {
        Err(ConfigError::sorted(errors))
    }
}

/// Adds those that are not there yet: an error of what streams share is found in each of them.
fn add_new(errors: &mut Vec<Diagnostic>, of_stream: Vec<Diagnostic>) {
    for error in of_stream {
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
}

fn load_stream(
    file: &Path,
    document: &Document<'_>,
    arguments: &RunArguments,
    purpose: Purpose,
) -> Result<LoadedPipeline, ConfigError> {
    let (mut config, given) = typed::<PipelineConfig>(document)?;
    let is_joined = arguments.input.is_none();
    join_paths(
        &mut config,
        file.parent().unwrap_or(Path::new("")),
        is_joined,
    );
    let shared_sinks = document.shared_sinks();
    let conflicts = arguments.conflicts(&config, document);
    let origins = arguments.apply(&mut config);
    let shared = origins
        .iter()
        .map(|origin| match (origin, shared_sinks) {
            (Ok(i), Some(shared)) => *i < shared,
            (Err(_), _) | (_, None) => true,
        })
        .collect();
    let mut validator = Validator::new(document, &config, &given, &origins);
    validator.errors.extend(conflicts);
    validator.validate_zones();
    validator.validate_lines();
    validator.validate_classify_tracks();
    if purpose == Purpose::Run {
        validator.validate_sources();
        validator.validate_telemetry();
        validator.validate_gating();
        validator.validate_workers();
        validator.validate_sinks();
        validator.validate_mot();
        validator.validate_web();
        validator.validate_servers();
    }
    let mut track_cards = BTreeMap::new();
    if purpose == Purpose::Run {
        match load_track_cards(document, &config) {
            Ok(cards) => track_cards = cards,
            Err(of_cards) => validator.errors.extend(of_cards),
        }
    }
    let model = &config.model;
    let card = card_at(document, &key_path!["model"], model, purpose);
    let card = card.map_err(|of_card| validator.errors.extend(of_card));
    let names = document.model_names();
    let others = load_others(
        document,
        &config,
        names.get(1..).unwrap_or_default(),
        purpose,
    );
    let others = others.map_err(|of_cards| validator.errors.extend(of_cards));
    if let (Ok((card, _)), Ok(others)) = (&card, &others) {
        validator.validate_labels(card, others);
        validator.validate_head(card);
        validator.validate_models(&names, card, others);
        validator.validate_classified_labels(card);
        if purpose == Purpose::Run {
            let mut read = vec![file, &model.card, &card.file];
            for other in others {
                read.extend([&*other.config.model.card, &*other.card.file]);
            }
            for (entry, of) in config.classify_tracks.values().zip(track_cards.values()) {
                read.extend([&*entry.model, &*of.card.file]);
            }
            validator.validate_overwritten_inputs(&read);
        }
    }
    let errors = validator.errors;
    let cards = card.ok().zip(others.ok());
    match cards {
        Some(((card, model_sha256), others)) if errors.is_empty() => Ok(LoadedPipeline {
            stream: config.stream.clone().unwrap_or_else(|| stem(file)),
            config,
            card,
            model_sha256,
            model_name: names.into_iter().next(),
            others,
            track_cards,
            shared,
            given,
        }),
        _ => Err(ConfigError::sorted(errors)),
    }
}

/// The card of the model at `place`, under its options, and the SHA-256 of its ONNX file.
fn card_at(
    document: &Document<'_>,
    place: &[PathSegment],
    model: &ModelConfig,
    purpose: Purpose,
) -> Result<(CardConfig, String), Vec<Diagnostic>> {
    let card = match purpose {
        Purpose::Run => {
            load_card(&model.card).and_then(|card| with_options(document, place, model, card))
        }
        Purpose::Analysis => load_card_only(&model.card).map(|card| (card, String::new())),
    };
    card.map_err(|ConfigError(of_card)| {
        if model.card.is_file() {
            return of_card;
        }
        let reason = of_card.first().map(|e| e.message.clone());
        let message = format!("{}: {}", model.card.display(), reason.unwrap_or_default());
        vec![document.error_at_value(place, message)]
    })
}

/// The models `names`, which stand after the first.
fn load_others(
    document: &Document<'_>,
    config: &PipelineConfig,
    names: &[String],
    purpose: Purpose,
) -> Result<Vec<LoadedModel>, Vec<Diagnostic>> {
    let (mut others, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        let Some(model) = config.models.get(name) else {
            continue;
        };
        let place = key_path!["models", name, "model"];
        match card_at(document, &place, &model.model, purpose) {
            Ok((card, model_sha256)) => others.push(LoadedModel {
                name: name.clone(),
                config: model.clone(),
                card,
                model_sha256,
            }),
            Err(of_card) => errors.extend(of_card),
        }
    }
    if errors.is_empty() {
        Ok(others)
    } else {
        Err(errors)
    }
}

/// Joins the paths of a pipeline to `base`, the directory of its file; that of the source only
/// `with_source`.
fn join_paths(config: &mut PipelineConfig, base: &Path, with_source: bool) {
    let source = Some(&mut config.source).filter(|_| with_source);
    let sources = [source, config.fallback.as_mut()];
    for source in sources.into_iter().flatten() {
        if let Some(video) = &mut source.video
            && video.path != Path::new("-")
            && !is_url(&video.path)
        {
            video.path = base.join(&video.path);
        }
        if let Some(images) = &mut source.images {
            images.path = base.join(&images.path);
        }
    }
    if let Some(srt) = config.telemetry.as_mut().and_then(|t| t.srt.as_mut()) {
        *srt = base.join(&*srt);
    }
    if let Some(plan) = &mut config.gating.plan {
        *plan = base.join(&*plan);
    }
    config.model.card = base.join(&config.model.card);
    for model in config.models.values_mut() {
        model.model.card = base.join(&model.model.card);
    }
    for entry in config.classify_tracks.values_mut() {
        entry.model = base.join(&entry.model);
    }
    for sink in &mut config.sinks {
        let paths = [
            sink.jsonl.as_mut().map(|s| &mut s.path),
            sink.coco.as_mut().map(|s| &mut s.path),
            sink.mot.as_mut().map(|s| &mut s.path),
            sink.store.as_mut().map(|s| &mut s.path),
            sink.images.as_mut().map(|s| &mut s.dir),
            sink.masks.as_mut().map(|s| &mut s.dir),
            sink.video.as_mut().map(|s| &mut s.dir),
            sink.clips.as_mut().map(|s| &mut s.dir),
            sink.mqtt.as_mut().and_then(|s| s.ca_file.as_mut()),
        ];
        for path in paths.into_iter().flatten() {
            if *path != Path::new("-") {
                *path = base.join(&*path);
            }
        }
    }
}

fn stem(file: &Path) -> String {
    file.file_stem()
        .map_or_else(|| "stream".to_owned(), |s| s.to_string_lossy().into_owned())
}
