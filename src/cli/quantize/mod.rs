//! `mobilens quantize`: from a float32 model and pictures to an int8 model.

mod accuracy;
mod card;
mod pictures;
mod report;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use mobilens::config::{self, CardConfig, ConfigError, LoadedPipeline, hex_sha256};
use mobilens::flow::StopSignal;
use mobilens::pipeline::{Model, ModelError, Progress};
use mobilens_nn::{QuantizeError, QuantizeOptions, QuantizePhase, QuantizeProgress, quantize};

use super::arguments::QuantizeArgs;
use super::{DONE, FAILED, USAGE, data_dir, eval, print, print_error, stop_on_signals};
use accuracy::{Accuracy, Truth};
use pictures::FolderPictures;

/// Exit code after Ctrl-C (128 + SIGINT).
const INTERRUPTED: u8 = 130;

/// Why a model is not quantised.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{}: {error}", .file.display())]
    Quantize { file: PathBuf, error: QuantizeError },
    #[error(transparent)]
    Eval(#[from] eval::Failure),
    #[error("cannot write {}: {error}", .file.display())]
    Write {
        file: PathBuf,
        error: std::io::Error,
    },
    #[error("{0}")]
    Other(String),
    #[error("interrupted; nothing was written")]
    Interrupted,
}

/// Quantises a model; exit code 1 when the loss is over the limit or a file cannot be written.
pub fn quantize_model(arguments: &QuantizeArgs) -> u8 {
    let stop = StopSignal::new();
    stop_on_signals(&stop, None);
    match run(arguments, &stop) {
        Ok(true) => DONE,
        Ok(false) => FAILED,
        Err(failure) => {
            print_error(&failure.to_string());
            match failure {
                Failure::Interrupted => INTERRUPTED,
                Failure::Write { .. } | Failure::Eval(eval::Failure::Run(_)) => FAILED,
                _ => USAGE,
            }
        }
    }
}

/// Whether the loss is within the limit.
fn run(arguments: &QuantizeArgs, stop: &StopSignal) -> Result<bool, Failure> {
    let card_file = data_dir::find(&arguments.model)?;
    let (card, sha256) = config::load_card(&card_file)?;
    let targets = Targets::of(&card_file, &card, arguments.output.as_deref())?;
    let truth = Truth::open(arguments, &card)?;
    // The model does what the card says.
    let float = LoadedPipeline::of_card(card.clone(), sha256.clone(), accuracy::SCORE_THRESHOLD);
    drop(Model::load(&float)?);
    let mut pictures = FolderPictures::open(&arguments.images, arguments.limit.into(), &card)?;
    let bytes = fs::read(&card.file).map_err(|e| {
        let file = card.file.display();
        Failure::Other(format!("cannot read {file}: {e}"))
    })?;
    let before = match &truth {
        Some(truth) => Some(truth.accuracy_of(&float, arguments, stop)?),
        None => None,
    };
    interrupted(stop)?;
    let quantized = {
        let options = QuantizeOptions {
            input: Some((card.input.height_px as usize, card.input.width_px as usize)),
            input_range: Some(input_range(&card)),
            threads: available_parallelism().map_or(1, usize::from),
            ..QuantizeOptions::default()
        };
        let progress = Progress::of_phases();
        quantize(&bytes, &mut pictures, &options, &mut |step| {
            show(&progress, step);
            if stop.is_stopped() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .map_err(|error| match error {
            QuantizeError::Interrupted => Failure::Interrupted,
            QuantizeError::Pictures(why) => Failure::Other(why),
            error => Failure::Quantize {
                file: card.file.clone(),
                error,
            },
        })?
    };
    let part = PartFile::write(&targets.model, &quantized.onnx)?;
    let after = match &truth {
        Some(truth) => {
            let mut int8 = float.clone();
            int8.card.file.clone_from(&part.path);
            Some(truth.accuracy_of(&int8, arguments, stop)?)
        }
        None => None,
    };
    interrupted(stop)?;
    let accuracies = before.zip(after);
    let made = card::Made {
        model: &targets.model,
        sha256: hex_sha256(&quantized.onnx),
        from: &card_file,
        from_sha256: &sha256,
        images: &arguments.images,
        report: &quantized.report,
        accuracies: accuracies.as_ref(),
    };
    let text = card::card_of(&card_file, &card, &made)?;
    let card_part = PartFile::write(&targets.card, text.as_bytes())?;
    part.rename(&targets.model)?;
    card_part.rename(&targets.card)?;
    let files = [targets.model.as_path(), targets.card.as_path()];
    if arguments.json {
        print(&report::as_json(&card, &quantized.report, accuracies.as_ref(), files).to_string());
    } else {
        print(&report::as_text(
            &card,
            &quantized.report,
            accuracies.as_ref(),
            files,
        ));
    }
    let (Some(limit), Some((before, after))) = (arguments.max_loss, accuracies) else {
        return Ok(true);
    };
    let loss = before.value - after.value;
    if loss <= limit {
        return Ok(true);
    }
    let name = before.name;
    print_error(&format!(
        "{name} fell by {loss:.4}, more than --max-loss {limit}; the files are written all the same"
    ));
    Ok(false)
}

fn interrupted(stop: &StopSignal) -> Result<(), Failure> {
    if stop.is_stopped() {
        return Err(Failure::Interrupted);
    }
    Ok(())
}

fn show(progress: &Progress, step: QuantizeProgress) {
    let name = match step.phase {
        QuantizePhase::Observe => "observing",
        QuantizePhase::Correct => "correcting",
        QuantizePhase::Measure => "measuring",
    };
    progress.at(name, step.done, step.total);
}

/// What the input can be, for pixels from 0 to 255.
fn input_range(card: &CardConfig) -> (f32, f32) {
    let channels = card.input.mean.iter().zip(card.input.std);
    let ends = channels.flat_map(|(mean, std)| [0.0, 255.0].map(|pixel| (pixel - mean) / std));
    ends.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), end| {
        (low.min(end), high.max(end))
    })
}

/// Where the model and its card go.
struct Targets {
    model: PathBuf,
    card: PathBuf,
}

impl Targets {
    fn of(card_file: &Path, card: &CardConfig, output: Option<&Path>) -> Result<Self, Failure> {
        let model = match output {
            Some(output) if output.extension().is_some_and(|e| e == "onnx") => output.to_owned(),
            Some(output) => {
                let why = format!("{}: expected a name that ends with .onnx", output.display());
                return Err(Failure::Other(why));
            }
            None => {
                let mut name = card.file.file_stem().unwrap_or_default().to_owned();
                name.push(card::SUFFIX);
                name.push(".onnx");
                card.file.with_file_name(name)
            }
        };
        let targets = Self {
            card: model.with_extension("yaml"),
            model,
        };
        let folder = targets.model.parent().unwrap_or(Path::new(""));
        // Said now, not after all the work.
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            let (model, folder) = (targets.model.display(), folder.display());
            let why = format!("cannot write {model}: there is no folder {folder}");
            return Err(Failure::Other(why));
        }
        for (target, source) in [(&targets.model, &*card.file), (&targets.card, card_file)] {
            let same = match (target.canonicalize(), source.canonicalize()) {
                (Ok(target), Ok(source)) => target == source,
                _ => target == source,
            };
            if same {
                let why = format!(
                    "{} would be overwritten: choose another -o",
                    target.display()
                );
                return Err(Failure::Other(why));
            }
        }
        Ok(targets)
    }
}

/// A file under a temporary name, which is removed unless it gets its own.
struct PartFile {
    path: PathBuf,
    is_named: bool,
}

impl PartFile {
    fn write(target: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let mut path = target.as_os_str().to_owned();
        path.push(".part");
        let part = Self {
            path: path.into(),
            is_named: false,
        };
        fs::write(&part.path, bytes).map_err(|error| Failure::Write {
            file: target.to_owned(),
            error,
        })?;
        Ok(part)
    }

    fn rename(mut self, target: &Path) -> Result<(), Failure> {
        fs::rename(&self.path, target).map_err(|error| Failure::Write {
            file: target.to_owned(),
            error,
        })?;
        self.is_named = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.is_named {
            let _ = fs::remove_file(&self.path);
        }
    }
}
