//! What the command line changes in a pipeline, besides `--set`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::diagnostic::{ConfigError, io_reason};
use super::environment::is_url;
use super::loaded::LoadedPipeline;
use super::schema::{
    CocoConfig, ImagesConfig, JsonlConfig, MotConfig, PaceConfig, PipelineConfig, RtspConfig,
    SinkConfig, SourceConfig, VideoConfig,
};
use super::validate::SinkOrigins;

/// Format of the results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonFormat {
    /// A line for each record.
    #[default]
    Jsonl,
    /// One COCO results array.
    Coco,
    /// MOTChallenge's lines.
    Mot,
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
    /// Format of the results.
    pub format: Option<JsonFormat>,
    /// Pacing of recorded frames.
    pub pace: Option<PaceConfig>,
}

impl RunArguments {
    /// Changes `config`, and tells where its sinks come from now.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub(super) fn apply(&self, config: &mut PipelineConfig) -> Result<SinkOrigins, ConfigError> {
        if let Some(input) = &self.input {
            config.source = source_of(input)?;
            config.fallback = None;
        }
        if let Some(pace) = self.pace {
            for source in [Some(&mut config.source), config.fallback.as_mut()]
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
        let replaces_json = self.output.is_some() || self.format.is_some();
        let mut origins = Vec::new();
        let mut index = 0;
        config.sinks.retain(|sink| {
            let goes = self.headless && sink.window.is_some() || replaces_json && is_json(sink);
            if !goes {
                origins.push(Ok(index));
            }
            index += 1;
            !goes
        });
        if replaces_json {
            let path = self.output.clone().unwrap_or_else(|| PathBuf::from("-"));
            let format = self.format.unwrap_or_default();
            config.sinks.push(json_sink(path, format));
            let argument = if self.output.is_some() {
                "--output"
            } else {
                "--format"
            };
            origins.push(Err(argument));
        } else if self.headless && add_json(config) {
            origins.push(Err("--headless"));
        }
        Ok(origins)
    }
}

fn is_json(sink: &SinkConfig) -> bool {
    sink.jsonl.is_some() || sink.coco.is_some() || sink.mot.is_some()
}

/// Adds JSON lines on standard output unless another sink writes JSON; whether it did.
fn add_json(config: &mut PipelineConfig) -> bool {
    let is_missing = !config.sinks.iter().any(is_json);
    if is_missing {
        config
            .sinks
            .push(json_sink(PathBuf::from("-"), JsonFormat::Jsonl));
    }
    is_missing
}

/// Replaces the window by JSON lines on standard output, unless another sink writes JSON.
pub fn ensure_json(config: &mut LoadedPipeline) {
    let (sinks, shared) = (&mut config.config.sinks, &mut config.shared);
    let mut at = 0;
    shared.retain(|_| {
        at += 1;
        sinks[at - 1].window.is_none()
    });
    sinks.retain(|sink| sink.window.is_none());
    if add_json(&mut config.config) {
        config.shared.push(true);
    }
}

fn json_sink(path: PathBuf, format: JsonFormat) -> SinkConfig {
    match format {
        JsonFormat::Jsonl => SinkConfig {
            jsonl: Some(JsonlConfig::new(path)),
            ..SinkConfig::default()
        },
        JsonFormat::Coco => SinkConfig {
            coco: Some(CocoConfig {
                path,
                on_error: None,
            }),
            ..SinkConfig::default()
        },
        JsonFormat::Mot => SinkConfig {
            mot: Some(MotConfig {
                path,
                on_error: None,
            }),
            ..SinkConfig::default()
        },
    }
}

/// A directory, an image's file extension or an image's signature mean images, everything else a
/// video.
fn source_of(input: &str) -> Result<SourceConfig, ConfigError> {
    if input.starts_with("rtsp://") {
        return Ok(SourceConfig {
            rtsp: Some(RtspConfig::new(input)),
            ..SourceConfig::default()
        });
    }
    let error = |message: String| ConfigError::in_argument(&format!("--input {input}"), message);
    let path = PathBuf::from(input);
    let is_dir = if input == "-" || is_url(&path) {
        false
    } else {
        let meta = std::fs::metadata(&path)
            .map_err(|e| error(format!("cannot read it: {}", io_reason(&e))))?;
        meta.is_dir()
    };
    let is_image =
        is_dir || !is_url(&path) && has_image_extension(&path) || has_image_signature(&path);
    Ok(SourceConfig {
        images: is_image.then(|| ImagesConfig::new(input)),
        video: (!is_image).then(|| VideoConfig::new(input)),
        ..SourceConfig::default()
    })
}

fn has_image_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["jpg", "jpeg", "png", "bmp", "webp"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

fn has_image_signature(path: &Path) -> bool {
    // The longest signature of an image format is shorter; a pipe must not be read.
    let mut head = Vec::new();
    let is_file = path.is_file();
    is_file
        && File::open(path).is_ok_and(|file| file.take(32).read_to_end(&mut head).is_ok())
        && image::guess_format(&head).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with_sinks(sinks: &str) -> PipelineConfig {
        serde_yaml::from_str(&format!(
            "{{source: {{camera: {{}}}}, fallback: {{video: {{path: f.mp4}}}}, model: {{card: m.yaml}}, \
             sinks: {sinks}}}"
        ))
        .expect("a pipeline")
    }

    fn kinds(config: &PipelineConfig) -> Vec<&'static str> {
        let kind = |s: &SinkConfig| match s {
            s if s.window.is_some() => "window",
            s if s.jsonl.is_some() => "jsonl",
            s if s.coco.is_some() => "coco",
            _ => "images",
        };
        config.sinks.iter().map(kind).collect()
    }

    #[test]
    fn headless_says_what_it_sees_unless_another_sink_does() {
        let headless = RunArguments {
            headless: true,
            ..RunArguments::default()
        };
        let mut alone = with_sinks("[window: {}]");
        let origins = headless.apply(&mut alone).expect("applies");
        assert_eq!(kinds(&alone), ["jsonl"]);
        assert_eq!(origins, [Err("--headless")]);
        let mut two = with_sinks("[window: {}, coco: {path: r.json}]");
        let origins = headless.apply(&mut two).expect("applies");
        assert_eq!(kinds(&two), ["coco"]);
        assert_eq!(origins, [Ok(1)]);
    }

    #[test]
    fn output_takes_the_place_of_every_json_sink() {
        let arguments = RunArguments {
            output: Some("r.json".into()),
            format: Some(JsonFormat::Coco),
            ..RunArguments::default()
        };
        let mut changed = with_sinks("[jsonl: {path: a}, window: {}]");
        let origins = arguments.apply(&mut changed).expect("applies");
        assert_eq!(kinds(&changed), ["window", "coco"]);
        assert_eq!(origins, [Ok(1), Err("--output")]);
    }

    #[test]
    fn an_input_is_told_by_what_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).expect("room");
            path.display().to_string()
        };
        let is_images = |input: &str| source_of(input).expect("is there").images.is_some();
        assert!(is_images(&dir.path().display().to_string()));
        assert!(is_images(&path("a.JPG", b"")));
        assert!(is_images(&path("b", b"\x89PNG\r\n\x1a\n0000")));
        assert!(!is_images(&path("c.mp4", b"\0\0\0\x18ftypisom0000")));
        assert!(!is_images(&path("d", b"")));
        assert!(source_of("rtsp://user:secret@gate/1").is_ok_and(|s| s.rtsp.is_some()));
        assert!(!is_images("https://user:secret@gate/1.png"));
        assert!(source_of("nowhere").is_err());
    }

    #[test]
    fn pace_reaches_source_and_fallback() {
        let arguments = RunArguments {
            pace: Some(PaceConfig::Realtime),
            ..RunArguments::default()
        };
        let mut changed = with_sinks("[window: {}]");
        arguments.apply(&mut changed).expect("applies");
        let fallback = changed.fallback.and_then(|f| f.video).expect("a clip");
        assert_eq!(fallback.pace, PaceConfig::Realtime);
    }
}
