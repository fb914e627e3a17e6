//! Loads a pipeline with all that it names, and finds every fault before anything runs.
//!
//! The command line changes the description before its files are looked for: a clip that `--input`
//! replaces need not exist.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::arguments::RunArguments;
use super::card::{CardConfig, ResizeConfig};
use super::fault::{ConfigFaults, Fault, why};
use super::named::{Validator, keys};
use super::overrides::Override;
use super::secret::is_url;
use super::spec::{PipelineConfig, TelemetryConfig};
use super::streams::check_together;
use super::yaml::Document;

/// A pipeline and its model card, both without fault. Paths are joined to their files' folders.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedPipeline {
    /// Name of the stream.
    pub stream: String,
    /// What the YAML says of it.
    pub config: PipelineConfig,
    /// The model's card.
    pub card: CardConfig,
    /// The ONNX file's own fingerprint.
    pub model_sha256: String,
    /// Which of the sinks all streams of the file share.
    pub shared: Vec<bool>,
}

impl LoadedPipeline {
    /// Fingerprint of all that bears on what is seen: source, model and what to look for. How much
    /// of the machine is used, and where results go, are left out, so that runs compare.
    pub fn sha256(&self) -> String {
        let mut source = self.config.source.clone();
        for path in [
            source.video.as_mut().map(|v| &mut v.path),
            source.images.as_mut().map(|i| &mut i.path),
        ]
        .into_iter()
        .flatten()
        {
            *path = path.file_name().map(PathBuf::from).unwrap_or_default();
        }
        if let Some(rtsp) = &mut source.rtsp {
            // A password is nobody's business, not even as a fingerprint.
            rtsp.url = rtsp.url.rsplit('@').next().unwrap_or_default().to_owned();
        }
        let telemetry = self.config.telemetry.as_ref();
        let telemetry = telemetry.map(|telemetry| TelemetryConfig {
            srt: None,
            ..telemetry.clone()
        });
        let seen = serde_json::json!({
            "source": source,
            "telemetry": telemetry,
            "detect": self.config.detect,
            "segment": self.config.segment,
            "gating": self.config.gating,
            "zones": self.config.zones,
            "card": self.card.name,
            "input": [self.card.input.width_px, self.card.input.height_px],
            "model_sha256": self.model_sha256,
        });
        hex(&Sha256::digest(seen.to_string()))
    }

    /// Fingerprint of what is made of detections, where they are tracked.
    pub fn analysis_sha256(&self) -> Option<String> {
        let spec = &self.config;
        let track = spec.track.as_ref()?;
        let made = serde_json::json!({
            "detect": spec.detect, "track": track, "zones": spec.zones, "lines": spec.lines,
        });
        Some(hex(&Sha256::digest(made.to_string())))
    }
}

/// Loads the pipeline `file` under `overrides`, its card, and checks that what they name exists.
///
/// # Errors
/// All faults that were found; a file with several streams is one.
pub fn load(file: &Path, overrides: &[Override]) -> Result<LoadedPipeline, ConfigFaults> {
    only_one(file, load_all(file, overrides, &RunArguments::default())?)
}

/// Loads the streams of the pipeline `file`, changed by what a run was asked for.
///
/// # Errors
/// All faults that were found.
pub fn load_all(
    file: &Path,
    overrides: &[Override],
    arguments: &RunArguments,
) -> Result<Vec<LoadedPipeline>, ConfigFaults> {
    load_with(file, overrides, arguments, true)
}

/// Loads the pipeline `file` under `overrides` for its labels and what is made of detections:
/// neither its sources and sinks nor its network need to be there.
///
/// # Errors
/// All faults that were found; a file with several streams is one.
pub fn load_for_analysis(
    file: &Path,
    overrides: &[Override],
) -> Result<LoadedPipeline, ConfigFaults> {
    only_one(
        file,
        load_with(file, overrides, &RunArguments::default(), false)?,
    )
}

fn only_one(file: &Path, mut configs: Vec<LoadedPipeline>) -> Result<LoadedPipeline, ConfigFaults> {
    match (configs.pop(), configs.is_empty()) {
        (Some(config), true) => Ok(config),
        _ => Err(ConfigFaults::of_file(
            file,
            "has several streams; expected one",
        )),
    }
}

fn load_with(
    file: &Path,
    overrides: &[Override],
    arguments: &RunArguments,
    runs: bool,
) -> Result<Vec<LoadedPipeline>, ConfigFaults> {
    let documents = Document::read(file, overrides)?.split()?;
    let (mut configs, mut faults) = (Vec::new(), Vec::new());
    for document in &documents {
        match load_stream(file, document, arguments, runs) {
            Ok(config) => configs.push(config),
            // What streams share is wrong in each of them.
            Err(ConfigFaults(of_stream)) => {
                faults.extend(
                    of_stream
                        .into_iter()
                        .filter(|f| !faults.contains(f))
                        .collect::<Vec<_>>(),
                );
            }
        }
    }
    if faults.is_empty() && documents.iter().any(|d| d.shared_sinks().is_some()) {
        check_together(&documents, &configs, &mut faults);
        faults.dedup();
    }
    if faults.is_empty() {
        Ok(configs)
    } else {
        Err(ConfigFaults::in_order(faults))
    }
}

/// Loads one stream.
fn load_stream(
    file: &Path,
    document: &Document<'_>,
    arguments: &RunArguments,
    runs: bool,
) -> Result<LoadedPipeline, ConfigFaults> {
    let mut spec: PipelineConfig = document.parse()?;
    join_paths(&mut spec, file.parent().unwrap_or(Path::new("")));
    let shared_sinks = document.shared_sinks();
    if shared_sinks.is_some() && arguments.input.is_some() {
        let what = "which of the streams? Give --set streams.0.source=...";
        return Err(ConfigFaults::of_argument("--input", what));
    }
    let origins = arguments.apply(&mut spec)?;
    let shared = origins
        .iter()
        .map(|origin| match (origin, shared_sinks) {
            (Ok(i), Some(shared)) => *i < shared,
            (Err(_), _) | (_, None) => true,
        })
        .collect();
    let mut named = Validator::new(document, &spec, origins);
    named.check_zones();
    named.check_lines();
    if runs {
        named.check_sources();
        named.check_telemetry();
        named.check_gating();
        named.check_order();
        named.check_sinks();
        named.check_mot();
        named.check_web();
        named.check_servers();
    }
    let card = if runs {
        load_card(&spec.model.card).and_then(|card| variant(document, &spec, card))
    } else {
        load_card_alone(&spec.model.card).map(|card| (card, String::new()))
    };
    let card = match card {
        Ok((card, model_sha256)) => {
            named.check_labels(&card);
            named.check_head(&card);
            if runs {
                named.check_overwriting(&[file, &spec.model.card, &card.file]);
            }
            Some((card, model_sha256))
        }
        Err(ConfigFaults(of_card)) if !spec.model.card.is_file() => {
            let why = of_card.first().map(|f| f.what.clone()).unwrap_or_default();
            let what = format!("{}: {why}", spec.model.card.display());
            let fault = document.fault_at_value(&keys(&["model"]), what);
            named.faults.push(fault);
            None
        }
        Err(ConfigFaults(of_card)) => {
            named.faults.extend(of_card);
            None
        }
    };
    let faults = named.faults;
    match card {
        Some((card, model_sha256)) if faults.is_empty() => Ok(LoadedPipeline {
            stream: spec.stream.clone().unwrap_or_else(|| stem(file)),
            config: spec,
            card,
            model_sha256,
            shared,
        }),
        _ => Err(ConfigFaults::in_order(faults)),
    }
}

/// The card that the pipeline's choices lead to: another output stride, another input size.
fn variant(
    document: &Document<'_>,
    spec: &PipelineConfig,
    (mut card, mut sha256): (CardConfig, String),
) -> Result<(CardConfig, String), ConfigFaults> {
    let model = &spec.model;
    let fault = |key: &str, what: String| {
        Err(ConfigFaults(vec![
            document.fault_at_value(&keys(&["model", key]), what),
        ]))
    };
    let Some(head) = card.head.deeplab.clone() else {
        let given = [
            ("input_px", model.input_px),
            ("output_stride", model.output_stride),
        ];
        return match given.iter().find(|(_, value)| value.is_some()) {
            Some((key, _)) => fault(key, format!("{} runs as it is only", card.name)),
            None => Ok((card, sha256)),
        };
    };
    if let Some(wanted) = model.output_stride.filter(|s| *s != head.output_stride) {
        let folder = model.card.parent().unwrap_or(Path::new(""));
        let siblings = head.siblings.iter();
        let siblings: Vec<_> = siblings
            .map(|sibling| load_card(&folder.join(sibling)))
            .collect::<Result<_, _>>()?;
        let stride = |card: &CardConfig| card.head.deeplab.as_ref().map(|head| head.output_stride);
        let mut strides = vec![head.output_stride];
        strides.extend(siblings.iter().filter_map(|(card, _)| stride(card)));
        let found = siblings
            .into_iter()
            .find(|(card, _)| stride(card) == Some(wanted));
        let Some(found) = found else {
            let strides: Vec<_> = strides.iter().map(u32::to_string).collect();
            let what = format!("got {wanted}; the model has {}", strides.join(", "));
            return fault("output_stride", what);
        };
        (card, sha256) = found;
    }
    if let Some(px) = model.input_px {
        (card.input.width_px, card.input.height_px) = (px, px);
    }
    Ok((card, sha256))
}

/// Loads a model card and the fingerprint of its ONNX file.
///
/// # Errors
/// All faults of the card; a file that is missing or has another fingerprint.
pub fn load_card(file: &Path) -> Result<(CardConfig, String), ConfigFaults> {
    let document = Document::read(file, &[])?;
    let (card, mut faults) = parse_card(file, &document)?;
    let mut fault = |path: &[&str], what: String| {
        faults.push(document.fault_at_value(&keys(path), what));
    };
    let sha256 = match fs::read(&card.file) {
        Err(e) => {
            fault(
                &["file"],
                format!("cannot read {}: {}", card.file.display(), why(&e)),
            );
            String::new()
        }
        Ok(bytes) => {
            let got = hex(&Sha256::digest(&bytes));
            if card
                .sha256
                .as_ref()
                .is_some_and(|expected| *expected != got)
            {
                fault(
                    &["sha256"],
                    format!("{} has the sha256 {got}", card.file.display()),
                );
            }
            got
        }
    };
    if faults.is_empty() {
        Ok((card, sha256))
    } else {
        Err(ConfigFaults::in_order(faults))
    }
}

/// Loads a model card without looking at its ONNX file.
fn load_card_alone(file: &Path) -> Result<CardConfig, ConfigFaults> {
    let document = Document::read(file, &[])?;
    let (card, faults) = parse_card(file, &document)?;
    if faults.is_empty() {
        Ok(card)
    } else {
        Err(ConfigFaults::in_order(faults))
    }
}

/// A card and the faults of what it says by itself.
fn parse_card(
    file: &Path,
    document: &Document<'_>,
) -> Result<(CardConfig, Vec<Fault>), ConfigFaults> {
    let mut card: CardConfig = document.parse()?;
    card.file = file.parent().unwrap_or(Path::new("")).join(&card.file);
    let mut faults = Vec::new();
    let mut fault = |path: &[&str], what: String| {
        faults.push(document.fault_at_value(&keys(path), what));
    };
    if let Some(ssd) = &card.head.ssd {
        let (maps, scales) = (ssd.anchors.feature_maps.len(), ssd.anchors.scales.len());
        if maps != scales {
            fault(
                &["head", "ssd", "anchors", "scales"],
                format!("{scales} scales for {maps} feature maps; expected one for each"),
            );
        }
    }
    if card.input.std.contains(&0.0) {
        fault(&["input", "std"], "a divisor is 0".to_owned());
    }
    if card.input.resize != ResizeConfig::Letterbox {
        for (key, given) in [
            ("pad_value", card.input.pad_value.is_some()),
            ("anchor", card.input.anchor.is_some()),
        ] {
            if given {
                fault(
                    &["input", key],
                    "has a meaning only with `resize: letterbox`".to_owned(),
                );
            }
        }
    }
    let has_background = card.head.ssd.as_ref().is_some_and(|ssd| ssd.background);
    for (i, label) in card.labels.iter().enumerate() {
        let (index, before) = (i.to_string(), &card.labels[..i]);
        if before.iter().any(|other| other.id == label.id) {
            let what = format!("another label has the id {}", label.id);
            fault(&["labels", &index, "id"], what);
        }
        if before.iter().any(|other| other.name == label.name) {
            let what = format!("another label has the name {:?}", label.name);
            fault(&["labels", &index, "name"], what);
        }
        if has_background && label.id == 0 {
            let what = "channel 0 is the background; expected ids from 1";
            fault(&["labels", &index, "id"], what.to_owned());
        }
    }
    Ok((card, faults))
}

fn join_paths(spec: &mut PipelineConfig, base: &Path) {
    let sources = [Some(&mut spec.source), spec.fallback.as_mut()];
    for source in sources.into_iter().flatten() {
        if let Some(video) = &mut source.video
            && video.path != Path::new("-")
            && !is_url(&video.path)
        {
            video.path = base.join(&video.path);
        }
        if let Some(images) = &mut source.images {
            images.path = base.join(&images.path);
        }
    }
    if let Some(srt) = spec.telemetry.as_mut().and_then(|t| t.srt.as_mut()) {
        *srt = base.join(&*srt);
    }
    spec.model.card = base.join(&spec.model.card);
    for sink in &mut spec.sinks {
        let paths = [
            sink.jsonl.as_mut().map(|s| &mut s.path),
            sink.coco.as_mut().map(|s| &mut s.path),
            sink.mot.as_mut().map(|s| &mut s.path),
            sink.images.as_mut().map(|s| &mut s.dir),
            sink.masks.as_mut().map(|s| &mut s.dir),
            sink.video.as_mut().map(|s| &mut s.dir),
            sink.clips.as_mut().map(|s| &mut s.dir),
            sink.mqtt.as_mut().and_then(|s| s.ca_file.as_mut()),
        ];
        for path in paths.into_iter().flatten() {
            if *path != Path::new("-") {
                *path = base.join(&*path);
            }
        }
    }
}

fn stem(file: &Path) -> String {
    file.file_stem()
        .map_or_else(|| "stream".to_owned(), |s| s.to_string_lossy().into_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
