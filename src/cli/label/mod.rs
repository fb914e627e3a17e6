//! `mobilens label`: pictures and first labels for training, cut from a clip by the records of a run.

pub mod arguments;
mod choice;
mod cutting;
mod folder;
mod formats;
mod reading;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use mobilens::flow::StopSignal;
use mobilens::records::{DetectionRecord, RecordBox};
use mobilens::sink::{PictureEncoding, SinkError};

use super::{DONE, FAILED, USAGE, print, print_error, stop_on_signals};
use arguments::{LabelArgs, PictureFormat};
use choice::{Candidate, Quota, choose};
use cutting::Clip;
use folder::LabelFolder;
use formats::{LabelledObject, LabelledPicture};
use reading::{RecordedFrame, RecordedRun};

/// Exit code of an interrupted command (128 + SIGINT).
const INTERRUPTED: u8 = 130;

/// Least time between two pictures of a clip unless the command line says otherwise.
const EVERY_S: f64 = 1.0;

/// Narrower or lower boxes are no labels: what is left of one that lies outside the picture.
const MIN_SIDE_PX: f64 = 1.0;

/// Why labelling failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Of the command line or of a file that is read.
    #[error("{0}")]
    Input(String),
    #[error(transparent)]
    Sink(SinkError),
    #[error("cannot write {}: {why}", .path.display())]
    Output { path: PathBuf, why: String },
    #[error("interrupted; nothing was written")]
    NothingDone,
    #[error(
        "interrupted: {done} of {chosen} pictures are written, with their labels; --append adds the others"
    )]
    Interrupted { done: usize, chosen: usize },
}

/// Cuts frames out and labels them; exit code 2 for errors of the command line or of a file that is
/// read.
pub fn label(arguments: &LabelArgs) -> u8 {
    let stop = StopSignal::new();
    stop_on_signals(&stop, None);
    let Err(failure) = run(arguments, &stop) else {
        return DONE;
    };
    print_error(&failure.to_string());
    match failure {
        Failure::Input(_) => USAGE,
        Failure::Sink(_) | Failure::Output { .. } => FAILED,
        Failure::NothingDone | Failure::Interrupted { .. } => INTERRUPTED,
    }
}

fn run(arguments: &LabelArgs, stop: &StopSignal) -> Result<(), Failure> {
    let mut folder = LabelFolder::open(arguments)?;
    let run = RecordedRun::read(&arguments.records, arguments.stream.as_deref())?;
    if !["video", "images"].contains(&run.kind.as_str()) {
        let (records, uri) = (run.file.display(), &run.uri);
        return Err(Failure::Input(format!(
            "{records} is of the camera {uri}, which cannot be read again; run the pipeline on a recording \
             of it (--input RECORDING.mp4) and label by those records"
        )));
    }
    if run.frames.is_empty() {
        let records = run.file.display();
        let why = format!(
            "{records}: the network ran on none of the frames of {}",
            run.stream
        );
        return Err(Failure::Input(why));
    }
    let classes = classes_of(arguments, &run)?;
    for class in &classes {
        folder.add_class(class);
    }
    let selection = Selection::of(arguments, &run, &classes, &folder)?;
    folder.ensure_unchanged()?;
    let clip = Clip::open(&arguments.clip, &run, stop)?;
    let ending = match arguments.format {
        PictureFormat::Jpeg => "jpg",
        PictureFormat::Png => "png",
    };
    let named: Vec<(String, &ChosenFrame<'_>)> = (folder.next_number()..)
        .zip(&selection.frames)
        .map(|(number, chosen)| (file_name(number, &run, chosen.frame, ending), chosen))
        .collect();
    let by_number = named.iter();
    let by_number: BTreeMap<_, _> = by_number
        .map(|(name, chosen)| (chosen.frame.number, (chosen.frame, name.as_str())))
        .collect();
    let encoding = match arguments.format {
        PictureFormat::Png => PictureEncoding::Png,
        PictureFormat::Jpeg => PictureEncoding::Jpeg {
            quality: arguments.quality,
        },
    };
    let mut sizes = HashMap::new();
    let cut = clip.cut(by_number, &folder.images(), encoding, stop, |name, size| {
        sizes.insert(name.to_owned(), size);
    });
    // Also what was done before an error of the clip.
    let (chosen, before) = (named.len(), folder.pictures.len());
    for (name, chosen) in named {
        if let Some([width, height]) = sizes.remove(&name) {
            let objects = objects_of(chosen.frame, &classes, arguments.score, [width, height]);
            folder.pictures.push(LabelledPicture {
                image: name,
                width,
                height,
                clip: run.uri.clone(),
                stream: run.stream.clone(),
                frame: chosen.frame.number,
                pts_ms: chosen.frame.pts_ms,
                model: run.model.clone(),
                margin: chosen.margin,
                objects,
            });
        }
    }
    let done = folder.pictures.len() - before;
    if done > 0 {
        folder.write()?;
    }
    cut?;
    if done == 0 {
        return Err(Failure::NothingDone);
    }
    if done < chosen {
        return Err(Failure::Interrupted { done, chosen });
    }
    print(&summary(
        &folder.pictures[before..],
        &selection,
        &arguments.output,
    ));
    Ok(())
}

/// The classes to label.
fn classes_of(arguments: &LabelArgs, run: &RecordedRun) -> Result<Vec<String>, Failure> {
    if !arguments.classes.is_empty() {
        let mut classes: Vec<String> = Vec::new();
        for name in &arguments.classes {
            if !classes.contains(name) {
                classes.push(name.clone());
            }
        }
        return Ok(classes);
    }
    let detections = run.frames.iter().flat_map(|frame| &frame.detections);
    let detected: BTreeSet<(u32, &str)> = detections
        .map(|detection| (detection.category_id, detection.label.as_str()))
        .collect();
    let mut classes: Vec<String> = Vec::new();
    for (_, name) in detected {
        // Two models may share a class.
        if !classes.iter().any(|known| known == name) {
            classes.push(name.to_owned());
        }
    }
    if classes.is_empty() {
        let (records, stream) = (run.file.display(), &run.stream);
        return Err(Failure::Input(format!(
            "{records}: no frame of {stream} has a detection; run again with a lower detect.score_threshold, \
             or name what you will label: --class NAME --empty 1"
        )));
    }
    Ok(classes)
}

/// A frame that was chosen.
struct ChosenFrame<'a> {
    frame: &'a RecordedFrame,
    margin: Option<f64>,
}

/// The frames to label, those to correct first at the beginning.
struct Selection<'a> {
    near: Option<f64>,
    frames: Vec<ChosenFrame<'a>>,
}

impl<'a> Selection<'a> {
    fn of(
        arguments: &LabelArgs,
        run: &'a RecordedRun,
        classes: &[String],
        folder: &LabelFolder,
    ) -> Result<Self, Failure> {
        let is_wanted = |label: &str| classes.iter().any(|class| class == label);
        let scores = |frame: &'a RecordedFrame| {
            let detections = frame.detections.iter();
            let detections = detections.filter(move |d| is_wanted(&d.label));
            detections.map(|detection| detection.score)
        };
        let lowest = run.frames.iter().flat_map(scores).reduce(f64::min);
        let near = arguments.near.or(lowest);
        let is_here = |picture: &&LabelledPicture| {
            (picture.clip.as_str(), picture.stream.as_str())
                == (run.uri.as_str(), run.stream.as_str())
        };
        let here: Vec<_> = folder.pictures.iter().filter(is_here).collect();
        let numbers: BTreeSet<u64> = here.iter().map(|picture| picture.frame).collect();
        let new = run
            .frames
            .iter()
            .filter(|frame| !numbers.contains(&frame.number));
        let new: Vec<&RecordedFrame> = new.collect();
        let candidates: Vec<Candidate> = new
            .iter()
            .map(|frame| {
                let faint = frame.faint.iter().filter(|(label, _)| is_wanted(label));
                let scores = scores(frame).chain(faint.map(|(_, score)| *score));
                let margin =
                    near.and_then(|near| scores.map(|score| (score - near).abs()).reduce(f64::min));
                Candidate {
                    pts_ms: frame.pts_ms,
                    margin: margin.map(|margin| (margin * 1e4).round() / 1e4),
                }
            })
            .collect();
        let every_s = arguments
            .every
            .unwrap_or(if run.is_of_pictures() { 0.0 } else { EVERY_S });
        let quota = Quota {
            frames: arguments.frames as usize,
            empty: arguments.empty,
            every_ms: every_s * 1000.0,
        };
        let taken: Vec<f64> = here.iter().map(|picture| picture.pts_ms).collect();
        let chosen = choose(&candidates, quota, &taken);
        if chosen.is_empty() {
            let records = run.file.display();
            let why = if !here.is_empty() {
                "it has no further frame to label; lower --every to take more"
            } else {
                "it has no frame with a detection of these classes; take frames without: --empty 1"
            };
            return Err(Failure::Input(format!("{records}: {why}")));
        }
        let frames = chosen.into_iter().map(|i| ChosenFrame {
            frame: new[i],
            margin: candidates[i].margin,
        });
        Ok(Self {
            near,
            frames: frames.collect(),
        })
    }
}

/// The labels of a frame of `size`: detections of `classes` of at least `score`, cut at the frame's
/// borders.
fn objects_of(
    frame: &RecordedFrame,
    classes: &[String],
    score: f64,
    size: [u32; 2],
) -> Vec<LabelledObject> {
    let is_wanted = |detection: &&DetectionRecord| {
        detection.score >= score && classes.contains(&detection.label)
    };
    let detections = frame.detections.iter().filter(is_wanted);
    detections
        .filter_map(|detection| {
            Some(LabelledObject {
                label: detection.label.clone(),
                score: detection.score,
                bbox: within(detection.bbox, size)?,
                segmentation: detection.segmentation.clone(),
            })
        })
        .collect()
}

/// The part of a box that lies in a picture of `size`; `None` if next to nothing does.
fn within(bbox: RecordBox, size: [u32; 2]) -> Option<RecordBox> {
    let [width, height] = size.map(f64::from);
    let hundredths = |value: f64| (value * 100.0).round() / 100.0;
    let (left, top) = (bbox.x.clamp(0.0, width), bbox.y.clamp(0.0, height));
    let right = (bbox.x + bbox.width).clamp(0.0, width);
    let bottom = (bbox.y + bbox.height).clamp(0.0, height);
    let (width, height) = (hundredths(right - left), hundredths(bottom - top));
    let is_box = width >= MIN_SIDE_PX && height >= MIN_SIDE_PX;
    is_box.then_some(RecordBox {
        x: left,
        y: top,
        width,
        height,
    })
}

/// The name of a picture: its place in the order, the clip, the number of the frame there.
fn file_name(number: u64, run: &RecordedRun, frame: &RecordedFrame, ending: &str) -> String {
    let stem = |name: &str| {
        name.rsplit_once('.')
            .map_or(name, |(stem, _)| stem)
            .to_owned()
    };
    let source = match &frame.name {
        Some(name) => stem(name),
        None => format!("{}_{:06}", stem(&run.uri), frame.number),
    };
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let source: String = source
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    format!("{number:04}_{source}.{ending}")
}

fn summary(pictures: &[LabelledPicture], selection: &Selection<'_>, dir: &Path) -> String {
    let empty = pictures.iter().filter(|picture| picture.margin.is_none());
    let (all, empty) = (pictures.len(), empty.count());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for object in pictures.iter().flat_map(|picture| &picture.objects) {
        *counts.entry(&object.label).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    let near = match selection.near {
        Some(near) => format!(" (scores near {near} first)"),
        None => String::new(),
    };
    let labels = if counts.is_empty() {
        "none".to_owned()
    } else {
        counts.join(", ")
    };
    format!(
        "{all} pictures in {}: {} with detections{near}, {empty} without\nlabels: {labels}",
        dir.display(),
        all - empty
    )
}
