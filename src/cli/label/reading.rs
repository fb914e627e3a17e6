//! Saved records of one stream, read to label its frames.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use mobilens::records::{DetectionRecord, FrameRecord, Record, RunRecord};

use super::Failure;

/// Reasons of an `end` record after which the run has seen the whole source.
const WHOLE: &str = "eof";

/// A frame on which the network ran.
pub struct RecordedFrame {
    /// Its number in the source, from 0.
    pub number: u64,
    /// Its presentation time.
    pub pts_ms: f64,
    /// File name of the picture, where it has one.
    pub name: Option<String>,
    /// Width and height, where not all frames have the same.
    pub size: Option<[u32; 2]>,
    /// What was detected.
    pub detections: Vec<DetectionRecord>,
    /// Scores of detections below their threshold, by label.
    pub faint: Vec<(String, f64)>,
}

/// The detections of a run.
pub struct RecordedRun {
    /// The file of its records.
    pub file: PathBuf,
    /// Name of the stream.
    pub stream: String,
    /// Kind of the source: `camera`, `rtsp`, `video` or `images`.
    pub kind: String,
    /// Name of the clip or folder.
    pub uri: String,
    /// Width and height of all frames, where they have the same.
    pub size: Option<[u32; 2]>,
    /// Name of the model, or of all.
    pub model: String,
    /// Frames on which the network ran, in order.
    pub frames: Vec<RecordedFrame>,
    /// Frames of the whole source, where the run came to its end.
    pub captured: Option<u64>,
    /// Highest number of a frame with a record.
    pub last: Option<u64>,
}

impl RecordedRun {
    /// Reads the records of `stream`, or of the only one.
    ///
    /// # Errors
    /// When the file cannot be read, is no JSON lines of records, has no such stream, or several runs.
    pub fn read(file: &Path, stream: Option<&str>) -> Result<Self, Failure> {
        let shown = file.display();
        let opened = File::open(file).map_err(|e| Failure::Input(format!("{shown}: {e}")))?;
        let mut runs: Vec<Self> = Vec::new();
        for (i, line) in BufReader::new(opened).lines().enumerate() {
            let fault = |why: &str| Failure::Input(format!("{shown}: line {}: {why}", i + 1));
            let line = line.map_err(|e| fault(&e.to_string()))?;
            let record = serde_json::from_str(&line);
            match record.map_err(|e| fault(&format!("not a record: {e}")))? {
                Record::Run(run) => runs.push(Self::begun(file, run)),
                Record::Frame(frame) => {
                    // The run that began last, where a live stream's file has several.
                    let run = runs.iter_mut().rfind(|run| run.stream == frame.stream);
                    let run = run.ok_or_else(|| fault("there is no run record before it"))?;
                    run.add(frame);
                }
                Record::End(end) => {
                    let run = runs.iter_mut().rfind(|run| run.stream == end.stream);
                    if let Some(run) = run.filter(|_| end.reason == WHOLE) {
                        run.captured = Some(end.frames.captured);
                    }
                }
                Record::Event(_) => {}
            }
        }
        Self::only(runs, stream).map_err(|why| Failure::Input(format!("{shown}: {why}")))
    }

    fn begun(file: &Path, run: RunRecord) -> Self {
        let models = run.models.values().map(|model| model.name.as_str());
        let models: Vec<&str> = models.collect();
        Self {
            file: file.to_owned(),
            stream: run.stream,
            kind: run.source.kind,
            uri: run.source.uri,
            size: run
                .source
                .width
                .zip(run.source.height)
                .map(|(width, height)| [width, height]),
            model: if models.is_empty() {
                run.model.name
            } else {
                models.join("+")
            },
            frames: Vec::new(),
            captured: None,
            last: None,
        }
    }

    fn add(&mut self, frame: FrameRecord) {
        self.last = self.last.max(Some(frame.frame));
        // Without inference there is nothing to say of a frame, not even that it is empty.
        let is_inferred = if frame.models.is_empty() {
            frame.inferred != Some(false)
        } else {
            frame.models.values().any(|model| model.inferred)
        };
        if !is_inferred {
            return;
        }
        let faint = frame.faint.into_iter();
        self.frames.push(RecordedFrame {
            number: frame.frame,
            pts_ms: frame.pts_ms,
            name: frame.name,
            size: frame.size,
            detections: frame.detections,
            faint: faint.map(|faint| (faint.label, faint.score)).collect(),
        });
    }

    /// The run of `stream` among those of a file.
    fn only(mut runs: Vec<Self>, stream: Option<&str>) -> Result<Self, String> {
        let mut streams: Vec<&str> = runs.iter().map(|run| run.stream.as_str()).collect();
        streams.sort_unstable();
        streams.dedup();
        let wanted = match (stream, streams.as_slice()) {
            (_, []) => return Err("it has no records".to_owned()),
            (None, [only]) => (*only).to_owned(),
            (None, several) => {
                let several = several.join(", ");
                return Err(format!(
                    "it has the streams {several}: choose one with --stream"
                ));
            }
            (Some(stream), _) if streams.contains(&stream) => stream.to_owned(),
            (Some(stream), known) => {
                let known = known.join(", ");
                return Err(format!("it has no stream {stream}, but {known}"));
            }
        };
        runs.retain(|run| run.stream == wanted);
        match runs.len() {
            1 => Ok(runs.remove(0)),
            n => Err(format!("it has {n} runs of {wanted}; label one at a time")),
        }
    }

    /// Whether the frames have names, and times that say nothing.
    pub fn is_of_pictures(&self) -> bool {
        self.kind == "images"
    }
}
