//! Runs a pipeline on the frames of MOTChallenge sequences and keeps its tracks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mobilens::config::{
    self, ConfigError, LoadedPipeline, Location, Override, PaceConfig, RunArguments,
};
use mobilens::eval::{EvalError, MotFrames, MotSequence};
use mobilens::flow::StopSignal;
use mobilens::pipeline::{self, RunOptions};
use mobilens::records::{EndRecord, FrameRecord, TrackStateRecord};
use mobilens::sink::{RecordSink, SinkError};

use super::Failure;
use crate::cli::data_dir;

/// What an evaluation of tracks does not use of a pipeline.
const UNUSED: [&str; 4] = ["stream", "fallback", "overlay", "sinks"];
/// The key of the frame rate.
const FPS: &str = "source.images.fps";

/// Runs a pipeline on sequences.
pub struct SequenceRunner {
    pipeline: PathBuf,
    overrides: Vec<Override>,
    has_own_fps: bool,
}

impl SequenceRunner {
    /// Of `pipeline` under `--set` arguments.
    ///
    /// # Errors
    /// When there is no such file, or an override is invalid or has no effect.
    pub fn new(pipeline: &Path, overrides: &[String]) -> Result<Self, Failure> {
        let fps = format!("{FPS}=");
        let has_own_fps = overrides.iter().any(|text| text.starts_with(&fps));
        let overrides = overrides.iter().map(|text| Override::parse(text));
        let overrides = overrides.collect::<Result<Vec<_>, _>>()?;
        config::ensure_used(&overrides, &UNUSED, "eval tracking")?;
        Ok(Self {
            pipeline: data_dir::find(pipeline)?,
            overrides,
            has_own_fps,
        })
    }

    /// The pipeline with the frames of `sequence` as its source, at their rate.
    ///
    /// # Errors
    /// When the sequence has no frames or no known rate, the pipeline is invalid or does not track.
    pub fn prepare(&self, sequence: &MotSequence) -> Result<LoadedPipeline, Failure> {
        let (frames, fps) = sequence.frames()?;
        let mut overrides = Vec::new();
        match fps {
            _ if self.has_own_fps => {}
            Some(fps) => overrides.push(Override::parse(&format!("{FPS}={fps}"))?),
            None => {
                let why = format!(
                    "there is no seqinfo.ini with the frame rate (`frameRate=30`); give it with \
                     --set {FPS}=FPS"
                );
                return Err(EvalError::file(&sequence.dir, why).into());
            }
        }
        overrides.extend(self.overrides.iter().cloned());
        let arguments = RunArguments {
            input: Some(frames.display().to_string()),
            pace: Some(PaceConfig::Fast),
            ..RunArguments::default()
        };
        let loaded = config::load_all(&self.pipeline, &overrides, &arguments);
        let mut streams = loaded.map_err(of_frames)?;
        let mut loaded = streams.remove(0);
        if loaded.config.track.is_none() {
            let file = self.pipeline.display();
            let why = format!("{file}: it does not track; add `track: {{}}` or --set track={{}}");
            return Err(Failure::Other(why));
        }
        loaded.clear_sinks();
        loaded.stream.clone_from(&sequence.name);
        Ok(loaded)
    }

    /// Runs a prepared pipeline; its tracks by the frames' numbers.
    ///
    /// # Errors
    /// When the run fails.
    pub fn run(&self, loaded: LoadedPipeline) -> Result<MotFrames, Failure> {
        let tracks = Arc::<Mutex<MotFrames>>::default();
        let collector = TrackCollector(Arc::clone(&tracks));
        let sinks = vec![("tracks".to_owned(), Box::new(collector) as _)];
        let options = RunOptions {
            progress: true,
            ..RunOptions::default()
        };
        let stream = loaded.stream.clone();
        let report = pipeline::run_with_sinks(loaded, sinks, &options, &StopSignal::new())
            .map_err(|error| Failure::Run(format!("{stream}: {error}")))?;
        if let Some(failure) = report.failures.into_iter().next() {
            return Err(Failure::Run(format!("{stream}: {failure}")));
        }
        let mut tracks = tracks.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *tracks))
    }
}

/// An error of the input with the name of the argument that gave it.
fn of_frames(ConfigError(mut errors): ConfigError) -> ConfigError {
    for error in &mut errors {
        error.message = error.message.replace("--input", "--frames");
        if let Location::Argument(argument) = &mut error.location
            && argument.starts_with("--input")
        {
            *argument = argument.replacen("--input", "--frames", 1).into();
        }
    }
    ConfigError(errors)
}

/// Keeps the tracks of each frame, as the `mot` sink writes them.
struct TrackCollector(Arc<Mutex<MotFrames>>);

impl RecordSink for TrackCollector {
    fn frame(&mut self, record: &FrameRecord) -> Result<(), SinkError> {
        let tracks = record.tracks.iter().flatten();
        let tracks = tracks.filter(|track| track.state != TrackStateRecord::Lost);
        let tracks: Vec<_> = tracks
            .map(|track| (track.track_id, track.bbox.into()))
            .collect();
        if !tracks.is_empty() {
            let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            frames.insert(number_of(record), tracks);
        }
        Ok(())
    }

    fn finish(&mut self, _: &EndRecord) -> Result<(), SinkError> {
        Ok(())
    }
}

/// The number of a frame: that of its file, `000001.jpg`, or its place, from 1.
fn number_of(record: &FrameRecord) -> u64 {
    let name = record.name.as_deref().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    stem.parse().unwrap_or(record.frame + 1)
}
