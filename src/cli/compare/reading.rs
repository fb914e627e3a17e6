//! Saved records of a run, read for a comparison.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use mobilens::records::{DetectionRecord, Record, SourceRecord};

use super::Failure;

/// What is compared of a frame.
pub struct SavedFrame {
    /// File name of the picture, where it has one.
    pub name: Option<String>,
    /// Width and height, where not all frames have the same.
    size: Option<[u32; 2]>,
    /// What was detected.
    pub detections: Vec<DetectionRecord>,
}

/// The detections of a run.
pub struct SavedRun {
    /// The file of its records.
    pub file: PathBuf,
    source: SourceRecord,
    /// By their numbers.
    pub frames: BTreeMap<u64, SavedFrame>,
}

impl SavedRun {
    /// Reads the detections of at least `score` of one stream's records.
    ///
    /// # Errors
    /// When the file cannot be read, is no JSON lines of records, or has several runs.
    pub fn read(file: &Path, score: f64) -> Result<Self, Failure> {
        let shown = file.display();
        let opened = File::open(file).map_err(|e| Failure::Input(format!("{shown}: {e}")))?;
        let mut source = None;
        let mut frames = BTreeMap::new();
        for (i, line) in BufReader::new(opened).lines().enumerate() {
            let fault = |why: &str| Failure::Input(format!("{shown}: line {}: {why}", i + 1));
            let line = line.map_err(|e| fault(&e.to_string()))?;
            let record = serde_json::from_str(&line);
            match record.map_err(|e| fault(&format!("not a record: {e}")))? {
                Record::Run(run) => {
                    if source.replace(run.source).is_some() {
                        return Err(fault("a second run begins; compare one at a time"));
                    }
                }
                Record::Frame(_) if source.is_none() => {
                    return Err(fault("there is no run record before it"));
                }
                Record::Frame(frame) => {
                    let mut detections = frame.detections;
                    detections.retain(|detection| detection.score >= score);
                    let saved = SavedFrame {
                        name: frame.name,
                        size: frame.size,
                        detections,
                    };
                    frames.insert(frame.frame, saved);
                }
                Record::Event(_) | Record::End(_) => {}
            }
        }
        let source = source.ok_or_else(|| Failure::Input(format!("{shown}: it has no records")))?;
        Ok(Self {
            file: file.to_owned(),
            source,
            frames,
        })
    }

    /// Width and height of a frame, as far as its records say.
    pub fn size_of(&self, frame: &SavedFrame) -> Option<[u32; 2]> {
        let of_run = self.source.width.zip(self.source.height);
        frame.size.or(of_run.map(|(width, height)| [width, height]))
    }

    /// Whether both are of the same frames.
    ///
    /// # Errors
    /// When their sources have other names or sizes, or a frame has.
    pub fn ensure_comparable(&self, other: &Self) -> Result<(), Failure> {
        let (a, b) = (&self.source, &other.source);
        let fault = |what: &str, a: &str, b: &str| {
            let (first, second) = (self.file.display(), other.file.display());
            Failure::Input(format!(
                "{first} is of {what}{a}, {second} of {b}; compare runs on the same frames"
            ))
        };
        let name = |source: &SourceRecord| match (source.width, source.height) {
            (Some(width), Some(height)) => format!("{} ({width}x{height})", source.uri),
            _ => source.uri.clone(),
        };
        if (&a.uri, a.width, a.height) != (&b.uri, b.width, b.height) {
            return Err(fault("", &name(a), &name(b)));
        }
        for (number, first) in &self.frames {
            let Some(second) = other.frames.get(number) else {
                continue;
            };
            let frame = |saved: &SavedFrame| {
                let name = saved.name.clone().unwrap_or_default();
                let size = saved.size.map(|[w, h]| format!(" ({w}x{h})"));
                format!("{name}{}", size.unwrap_or_default())
            };
            if (&first.name, first.size) != (&second.name, second.size) {
                let what = format!("another frame {number}: ");
                return Err(fault(&what, &frame(first), &frame(second)));
            }
        }
        Ok(())
    }
}
