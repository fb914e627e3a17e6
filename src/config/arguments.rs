//! What the command line changes in a pipeline, beside `--set`.

use std::path::{Path, PathBuf};

use super::fault::ConfigFaults;
use super::load::PipelineConfig;
use super::spec::{CocoSpec, ImagesSpec, JsonlSpec, PaceSpec, SinkSpec, SourceSpec, VideoSpec};

/// What the JSON is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonFormat {
    /// A line for each record.
    #[default]
    Jsonl,
    /// One COCO results array.
    Coco,
}

/// The arguments of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunArguments {
    /// Replaces the source.
    pub input: Option<String>,
    /// No window; JSON lines to standard output unless a sink says otherwise.
    pub headless: bool,
    /// Where the JSON goes, instead of the pipeline's own JSON sinks.
    pub output: Option<PathBuf>,
    /// What the JSON is.
    pub format: Option<JsonFormat>,
    /// When recorded frames are due.
    pub pace: Option<PaceSpec>,
}

impl RunArguments {
    /// Changes `config`.
    ///
    /// # Errors
    /// When the input is not there or cannot be told apart.
    pub fn apply(&self, config: &mut PipelineConfig) -> Result<(), ConfigFaults> {
        let spec = &mut config.spec;
        if let Some(input) = &self.input {
            spec.source = source_of(input)?;
            spec.fallback = None;
        }
        if let Some(pace) = self.pace {
            for source in [Some(&mut spec.source), spec.fallback.as_mut()]
                .into_iter()
                .flatten()
            {
                if let Some(video) = &mut source.video {
                    video.pace = pace;
                }
                if let Some(images) = &mut source.images {
                    images.pace = pace;
                }
            }
        }
        if self.headless {
            spec.sinks.retain(|sink| sink.window.is_none());
        }
        if self.output.is_some() || self.format.is_some() {
            spec.sinks
                .retain(|sink| sink.jsonl.is_none() && sink.coco.is_none());
            let path = self.output.clone().unwrap_or_else(|| PathBuf::from("-"));
            spec.sinks
                .push(json_sink(path, self.format.unwrap_or_default()));
        } else if self.headless {
            ensure_json(config);
        }
        Ok(())
    }
}

/// A run without a window says what it sees on standard output, unless another sink says it.
pub fn ensure_json(config: &mut PipelineConfig) {
    let sinks = &mut config.spec.sinks;
    if !sinks
        .iter()
        .any(|sink| sink.jsonl.is_some() || sink.coco.is_some())
    {
        sinks.push(json_sink(PathBuf::from("-"), JsonFormat::Jsonl));
    }
}

fn json_sink(path: PathBuf, format: JsonFormat) -> SinkSpec {
    match format {
        JsonFormat::Jsonl => SinkSpec {
            jsonl: Some(JsonlSpec {
                path,
                timings: false,
            }),
            ..SinkSpec::default()
        },
        JsonFormat::Coco => SinkSpec {
            coco: Some(CocoSpec { path }),
            ..SinkSpec::default()
        },
    }
}

/// A folder or a picture's ending means pictures, everything else a clip.
fn source_of(input: &str) -> Result<SourceSpec, ConfigFaults> {
    let fault = |what: String| ConfigFaults::of_argument(&format!("--input {input}"), what);
    if let Some((scheme, _)) = input.split_once("://") {
        return Err(fault(format!(
            "{scheme}:// sources are not supported; give a file, or a camera in the YAML"
        )));
    }
    let path = PathBuf::from(input);
    let meta = std::fs::metadata(&path).map_err(|e| fault(format!("cannot read it: {e}")))?;
    Ok(if meta.is_dir() || has_picture_ending(&path) {
        SourceSpec {
            images: Some(ImagesSpec {
                path,
                looping: false,
                fps: None,
                pace: PaceSpec::Fast,
            }),
            ..SourceSpec::default()
        }
    } else {
        SourceSpec {
            video: Some(VideoSpec {
                path,
                looping: false,
                pace: PaceSpec::Fast,
            }),
            ..SourceSpec::default()
        }
    })
}

fn has_picture_ending(path: &Path) -> bool {
    path.extension().is_some_and(|ending| {
        ["jpg", "jpeg", "png", "bmp", "webp"]
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known))
    })
}
