//! `mobilens run`: a model on a clip, pictures or a camera, without a pipeline's file.

use std::path::Path;

use mobilens::config::{
    self, CardConfig, CocoConfig, InputSource, JsonlConfig, LoadedPipeline, PaceConfig, SinkConfig,
    WindowConfig,
};
use mobilens::pipeline::RunOptions;

use super::arguments::RunModelArgs;
use super::made_card::MadeCard;
use super::try_picture::SCORE;
use crate::cli::arguments::{CliPace, Format};
use crate::cli::{USAGE, data_dir, print_error, run_pipelines};

/// Runs it; the exit code is that of a pipeline.
pub fn run_model(arguments: &RunModelArgs) -> u8 {
    match loaded(arguments) {
        Ok(pipeline) => run_pipelines(
            vec![pipeline],
            None,
            &RunOptions {
                frames: arguments.frames,
                progress: true,
                ..RunOptions::default()
            },
        ),
        Err(message) => {
            print_error(&message);
            USAGE
        }
    }
}

/// The card, the input and the usual sinks.
fn loaded(arguments: &RunModelArgs) -> Result<LoadedPipeline, String> {
    if matches!(arguments.format, Some(Format::Mot)) {
        return Err("--format mot needs a pipeline that tracks".to_owned());
    }
    let input = InputSource::of(&arguments.input).map_err(|error| error.to_string())?;
    let (card, sha256) = card_of(arguments)?;
    let is_classifier = card.head.classify.is_some();
    let mut pipeline = LoadedPipeline::of_card(card, sha256, arguments.score.unwrap_or(SCORE));
    let config = &mut pipeline.config;
    if let Some(score) = arguments.score.filter(|_| is_classifier) {
        config.classify.score_threshold = score;
    }
    config.source = input.source();
    let is_clip = config.source.images.is_none();
    let is_shown = is_clip
        && !arguments.headless
        && arguments.output.is_none()
        && arguments.format.is_none()
        && has_display();
    let pace = match arguments.pace {
        Some(CliPace::Fast) => PaceConfig::Fast,
        Some(CliPace::Realtime) => PaceConfig::Realtime,
        None if is_shown => PaceConfig::Realtime,
        None => PaceConfig::Fast,
    };
    if let Some(video) = &mut config.source.video {
        video.pace = pace;
    }
    if let Some(images) = &mut config.source.images {
        images.pace = pace;
    }
    config.sinks.push(sink(arguments, is_shown));
    pipeline.shared.push(true);
    Ok(pipeline)
}

/// The card beside the model, or one that is made; what is not known is said.
fn card_of(arguments: &RunModelArgs) -> Result<(CardConfig, String), String> {
    let model = data_dir::find(&arguments.model).map_err(|error| error.to_string())?;
    let is_yaml = |path: &Path| path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    if is_yaml(&model) {
        let name = model.display();
        return Err(format!(
            "{name}: expected an ONNX model; a pipeline is run by `mobilens {name}`"
        ));
    }
    let beside = model.with_extension("yaml");
    if !beside.is_file() {
        let made = MadeCard::of_model(&model, &beside, &arguments.options);
        let made = made.map_err(|error| error.to_string())?;
        tracing::info!(
            "{}: head `{}`, as `mobilens card` says",
            model.display(),
            made.head
        );
        for unknown in &made.unknowns {
            print_error(&format!("{}: UNKNOWN: {unknown}", model.display()));
        }
        return Ok(made.into_card());
    }
    if let Some(option) = arguments.options.given() {
        let beside = beside.display();
        return Err(format!(
            "{option} has no effect: {beside} is the model's card, and says it"
        ));
    }
    let card = config::load_card(&beside).map_err(|error| error.to_string())?;
    let (of_card, of_model) = (card.0.file.canonicalize(), model.canonicalize());
    if of_card.is_ok() && of_card.ok() != of_model.ok() {
        return Err(format!(
            "{}: is the card of {}, not of {}",
            beside.display(),
            card.0.file.display(),
            model.display()
        ));
    }
    Ok(card)
}

fn sink(arguments: &RunModelArgs, is_shown: bool) -> SinkConfig {
    if is_shown {
        return SinkConfig {
            window: Some(WindowConfig::default()),
            ..SinkConfig::default()
        };
    }
    let path = arguments
        .output
        .clone()
        .filter(|path| !path.as_os_str().is_empty());
    let path = path.unwrap_or_else(|| "-".into());
    match arguments.format {
        Some(Format::Coco) => SinkConfig {
            coco: Some(CocoConfig {
                path,
                on_error: None,
            }),
            ..SinkConfig::default()
        },
        _ => SinkConfig {
            jsonl: Some(JsonlConfig::new(path)),
            ..SinkConfig::default()
        },
    }
}

/// Whether a window can be shown.
fn has_display() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(feature = "window") && (cfg!(windows) || cfg!(target_os = "macos") || is_set("DISPLAY"))
}
