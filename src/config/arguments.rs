//! What the command line changes in a pipeline, besides `--set`.

use std::path::PathBuf;

use super::diagnostic::{ConfigError, Diagnostic};
use super::document::{Document, key_path};
use super::loaded::LoadedPipeline;
use super::schema::{CocoConfig, JsonlConfig, MotConfig, PaceConfig, PipelineConfig, SinkConfig};
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
    /// Replaces the source and its fallback; the `fps` of an images source stays.
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
    /// Errors for each `--set` whose value these arguments would replace. `config` is what the
    /// `document` says.
    pub(super) fn conflicts(
        &self,
        config: &PipelineConfig,
        document: &Document<'_>,
    ) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        let mut refuse = |set: &str, by: &str, what: &str| {
            let message = format!("has no effect: {by} {what}; leave out one of them");
            errors.extend(ConfigError::in_argument(set, message).0);
        };
        if self.pace.is_some() {
            for (block, kind) in [
                ("source", "video"),
                ("source", "images"),
                ("fallback", "video"),
                ("fallback", "images"),
            ] {
                if let Some(set) = document.set_argument(&key_path![block, kind, "pace"]) {
                    refuse(set, "--pace", "replaces it");
                }
            }
        }
        for (i, sink) in config.sinks.iter().enumerate() {
            if let Some(by) = self.removes(sink)
                && let Some(set) = document.set_argument(&key_path!["sinks", i])
            {
                refuse(set, by, "takes this sink away");
            }
        }
        errors
    }

    /// Which of the arguments takes a sink of the pipeline away.
    fn removes(&self, sink: &SinkConfig) -> Option<&'static str> {
        if self.headless && sink.window.is_some() {
            return Some("--headless");
        }
        self.replaces_json().filter(|_| is_json(sink))
    }

    /// Which of the arguments replaces the pipeline's JSON sinks.
    fn replaces_json(&self) -> Option<&'static str> {
        let format = self.format.map(|_| "--format");
        self.output.as_ref().map(|_| "--output").or(format)
    }

    /// Changes `config`, and tells where its sinks come from now.
    pub(super) fn apply(&self, config: &mut PipelineConfig) -> SinkOrigins {
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
        let mut origins = Vec::new();
        let mut index = 0;
        config.sinks.retain(|sink| {
            let stays = self.removes(sink).is_none();
            if stays {
                origins.push(Ok(index));
            }
            index += 1;
            stays
        });
        if let Some(argument) = self.replaces_json() {
            let path = self.output.clone().unwrap_or_else(|| PathBuf::from("-"));
            let format = self.format.unwrap_or_default();
            config.sinks.push(json_sink(path, format));
            origins.push(Err(argument));
        } else if self.headless && add_json(config) {
            origins.push(Err("--headless"));
        }
        origins
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

#[cfg(test)]
mod tests {
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
        let origins = headless.apply(&mut alone);
        assert_eq!(kinds(&alone), ["jsonl"]);
        assert_eq!(origins, [Err("--headless")]);
        let mut two = with_sinks("[window: {}, coco: {path: r.json}]");
        let origins = headless.apply(&mut two);
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
        let origins = arguments.apply(&mut changed);
        assert_eq!(kinds(&changed), ["window", "coco"]);
        assert_eq!(origins, [Ok(1), Err("--output")]);
    }

    #[test]
    fn pace_reaches_source_and_fallback() {
        let arguments = RunArguments {
            pace: Some(PaceConfig::Realtime),
            ..RunArguments::default()
        };
        let mut changed = with_sinks("[window: {}]");
        arguments.apply(&mut changed);
        let fallback = changed.fallback.and_then(|f| f.video).expect("a clip");
        assert_eq!(fallback.pace, PaceConfig::Realtime);
    }
}
