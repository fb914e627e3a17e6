//! `mobilens eval`: how good a pipeline's results are on pictures whose truth is known.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

use mobilens::app::{Chain, ChainLatency, Model, ModelError, Progress};
use mobilens::capture::{CaptureError, Captured, ImagesSource, Source};
use mobilens::config::{self, ConfigFaults, Override};
use mobilens::eval::{Confusion, EvalError, Instances, MaskFolder, Truth};
use mobilens::flow::StopSignal;
use mobilens::frame::{FrameMeta, Packet};
use mobilens::nn::NnError;
use serde_json::json;

use crate::cli::{EvalCommand, EvalSegmentationArgs};

use super::{DONE, FAILED, USAGE, print, say};

/// Why an evaluation did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigFaults),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Network(#[from] NnError),
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    Truth(#[from] EvalError),
    #[error("{0}")]
    Other(String),
    #[error("{0}")]
    Run(String),
}

/// Evaluates; 2 for what the command or a file is to blame for.
pub fn eval(command: &EvalCommand) -> u8 {
    let EvalCommand::Segmentation(arguments) = command;
    match segmentation(arguments) {
        Ok(()) => DONE,
        Err(failure) => {
            say(&failure.to_string());
            match failure {
                Failure::Run(_) => FAILED,
                _ => USAGE,
            }
        }
    }
}

fn segmentation(arguments: &EvalSegmentationArgs) -> Result<(), Failure> {
    let overrides = arguments.overrides.iter().map(|o| Override::parse(o));
    let overrides = overrides.collect::<Result<Vec<_>, _>>()?;
    let config = config::load(&arguments.pipeline, &overrides)?;
    let labels = config.card.labels();
    let model = Model::load(&config)?;
    if !matches!(model, Model::Segmenter(_)) {
        let why = format!("{} does not segment", config.card.name);
        return Err(Failure::Other(why));
    }
    let truth: Box<dyn Truth> = match &arguments.masks {
        Some(dir) => Box::new(MaskFolder::open(dir)?),
        None => {
            let files = arguments.instances.iter().map(PathBuf::as_path);
            Box::new(Instances::open(files, &labels)?)
        }
    };
    let threads = available_parallelism().map_or(1, usize::from);
    let mut chain = model.chain(threads, &ChainLatency::default())?;
    let mut confusion = Confusion::new(config.card.labels.len());
    let (mut pictures, mut unknown) = (0_u64, 0_u64);
    for folder in &arguments.images {
        let (seen, without) = evaluate(folder, &*truth, &mut *chain, &mut confusion)?;
        pictures += seen;
        unknown += without;
    }
    let Some(mean) = confusion.mean_iou() else {
        let why = "none of the pictures has a truth; masks and annotations go by file name";
        return Err(Failure::Other(why.to_owned()));
    };
    let accuracy = confusion.pixel_accuracy().unwrap_or(0.0);
    let iou = confusion.iou();
    let named = || (0_u32..).map(|id| labels.name(id).to_owned()).zip(&iou);
    if arguments.json {
        let classes: serde_json::Map<_, _> = named()
            .map(|(name, iou)| (name, iou.map_or(serde_json::Value::Null, |iou| json!(iou))))
            .collect();
        let line = json!({
            "model": config.card.name, "pictures": pictures, "without_truth": unknown,
            "mean_iou": mean, "pixel_accuracy": accuracy, "iou": classes,
        });
        print(&line.to_string());
        return Ok(());
    }
    for (name, iou) in named() {
        match iou {
            Some(iou) => print(&format!("{name:<16} {iou:.3}")),
            None => print(&format!("{name:<16} -")),
        }
    }
    print(&format!(
        "mean IoU {mean:.3}, pixel accuracy {accuracy:.3}, {pictures} pictures{}",
        if unknown > 0 {
            format!(" ({unknown} more have no truth)")
        } else {
            String::new()
        }
    ));
    Ok(())
}

/// The pictures of a folder: how many had a truth, and how many had none.
fn evaluate(
    folder: &Path,
    truth: &dyn Truth,
    chain: &mut dyn Chain,
    confusion: &mut Confusion,
) -> Result<(u64, u64), Failure> {
    let mut source = ImagesSource::open(folder, 1.0)?;
    let progress = Progress::on_terminal(source.info().frames, true);
    let stop = StopSignal::new();
    let (mut seen, mut without) = (0, 0);
    loop {
        let (image, pts, name) = match source.next(&stop)? {
            Captured::Frame { image, pts, name } => (image, pts, name),
            Captured::Undecodable { why, .. } => {
                say(&why);
                continue;
            }
            Captured::End => return Ok((seen, without)),
        };
        progress.frame_done();
        let size = image.size();
        let Some(true_mask) = truth.of(name.as_deref().unwrap_or_default(), size)? else {
            without += 1;
            continue;
        };
        let meta = FrameMeta {
            stream: "eval".into(),
            frame: seen,
            pts,
            captured_at: Instant::now(),
            name,
            telemetry: None,
        };
        let packet = Packet {
            meta,
            image: Arc::new(image),
            payload: (),
        };
        let packet = chain.run(packet).map_err(Failure::Run)?;
        if let Some(segmentation) = &packet.payload.segmentation {
            confusion.add(&true_mask, &segmentation.mask);
        }
        seen += 1;
    }
}
