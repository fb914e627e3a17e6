//! `mobilens compare`: what one run saw and another did not.

mod drawing;
mod reading;

use std::path::PathBuf;

use mobilens::config::ConfigError;
use mobilens::eval::{ClassComparison, FrameComparison, RunComparison};
use serde_json::json;

use super::arguments::CompareArgs;
use super::{DONE, FAILED, USAGE, print, print_error};
use drawing::draw_frames;
use reading::SavedRun;

/// Most pictures that are drawn unless the command line says otherwise.
const MAX_IMAGES: u32 = 20;

/// Why a comparison failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Of the command line or of a file that is read.
    #[error("{0}")]
    Input(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot write {}: {why}", .path.display())]
    Output { path: PathBuf, why: String },
}

/// A frame that both runs have, and how they differ in it.
struct ComparedFrame {
    number: u64,
    compared: FrameComparison,
    /// See [`FrameComparison::difference`].
    difference: f64,
}

/// Compares two runs; exit code 2 for errors of the command line or of a file that is read.
pub fn compare(arguments: &CompareArgs) -> u8 {
    let Err(failure) = run(arguments) else {
        return DONE;
    };
    print_error(&failure.to_string());
    match failure {
        Failure::Input(_) | Failure::Config(_) => USAGE,
        Failure::Output { .. } => FAILED,
    }
}

fn run(arguments: &CompareArgs) -> Result<(), Failure> {
    let first = SavedRun::read(&arguments.first, arguments.score)?;
    let second = SavedRun::read(&arguments.second, arguments.score)?;
    first.ensure_comparable(&second)?;
    let mut run = RunComparison::default();
    let mut frames = Vec::new();
    for (number, a) in &first.frames {
        let Some(b) = second.frames.get(number) else {
            continue;
        };
        let (a, b) = (&a.detections, &b.detections);
        let compared = FrameComparison::of(a, b, arguments.iou);
        run.add(a, b, &compared);
        if !compared.is_same() {
            frames.push(ComparedFrame {
                number: *number,
                difference: compared.difference(a, b),
                compared,
            });
        }
    }
    if run.frames == 0 {
        let (a, b) = (first.file.display(), second.file.display());
        return Err(Failure::Input(format!(
            "{a} and {b} have no frame in common"
        )));
    }
    if arguments.json {
        print(&as_json(&run, &first, &second, arguments).to_string());
    } else {
        print(&as_table(&run, &first, &second));
    }
    if let (Some(dir), Some(input)) = (&arguments.images, &arguments.input) {
        // Stable: of equal ones the earlier frames.
        frames.sort_by(|a, b| b.difference.total_cmp(&a.difference));
        frames.truncate(arguments.max_images.unwrap_or(MAX_IMAGES) as usize);
        let drawn = draw_frames(&first, &second, &frames, input, dir)?;
        if !arguments.json {
            print(&format!("{drawn} pictures in {}", dir.display()));
        }
    }
    Ok(())
}

/// Frames that only the first and only the second run have.
fn frames_of_one(run: &RunComparison, first: &SavedRun, second: &SavedRun) -> [u64; 2] {
    [first, second].map(|saved| saved.frames.len() as u64 - run.frames)
}

fn as_table(run: &RunComparison, first: &SavedRun, second: &SavedRun) -> String {
    let mut lines = vec![
        format!("A: {}", first.file.display()),
        format!("B: {}", second.file.display()),
        format!(
            "{:<18} {:>9} {:>9} {:>9} {:>10} {:>9}",
            "", "in both", "only A", "only B", "score B-A", "mean IoU"
        ),
    ];
    let row = |name: &str, class: &ClassComparison| {
        let score = class.mean_score_difference();
        let score = score.map_or_else(|| "-".to_owned(), |score| format!("{score:+.4}"));
        let iou = class.mean_iou();
        let iou = iou.map_or_else(|| "-".to_owned(), |iou| format!("{iou:.3}"));
        let ClassComparison {
            both,
            only_first,
            only_second,
            ..
        } = class;
        format!("{name:<18} {both:>9} {only_first:>9} {only_second:>9} {score:>10} {iou:>9}")
    };
    lines.extend(run.classes.iter().map(|(name, class)| row(name, class)));
    lines.push(row("all", &run.total()));
    let [only_first, only_second] = frames_of_one(run, first, second);
    lines.push(format!(
        "frames: {} in both, {only_first} only in A, {only_second} only in B; {} differ",
        run.frames, run.differing
    ));
    lines.join("\n")
}

fn as_json(
    run: &RunComparison,
    first: &SavedRun,
    second: &SavedRun,
    arguments: &CompareArgs,
) -> serde_json::Value {
    let of_class = |class: &ClassComparison| {
        json!({
            "both": class.both, "only_a": class.only_first, "only_b": class.only_second,
            "score_difference": class.mean_score_difference(), "iou": class.mean_iou(),
        })
    };
    let classes = run.classes.iter();
    let classes: serde_json::Map<_, _> = classes
        .map(|(name, class)| (name.clone(), of_class(class)))
        .collect();
    let [only_first, only_second] = frames_of_one(run, first, second);
    json!({
        "a": first.file.display().to_string(), "b": second.file.display().to_string(),
        "iou": arguments.iou, "score": arguments.score,
        "frames": {
            "both": run.frames, "only_a": only_first, "only_b": only_second,
            "differing": run.differing,
        },
        "all": of_class(&run.total()),
        "classes": classes,
    })
}
