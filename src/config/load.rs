//! Loads a pipeline with all that it names, and finds every fault before anything runs.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::card::CardSpec;
use super::check::did_you_mean;
use super::fault::{ConfigFaults, Fault};
use super::locate::Step;
use super::overrides::Override;
use super::spec::{PipelineSpec, SourceSpec};
use super::yaml::Document;

/// A pipeline and its model card, both without fault. Paths are joined to their files' folders.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineConfig {
    /// Name of the stream.
    pub stream: String,
    /// The pipeline.
    pub spec: PipelineSpec,
    /// The model's card.
    pub card: CardSpec,
    /// The ONNX file's own fingerprint.
    pub model_sha256: String,
}

impl PipelineConfig {
    /// Fingerprint of all that bears on what is seen: source, model and what to look for. How much
    /// of the machine is used, and where results go, are left out, so that runs compare.
    pub fn sha256(&self) -> String {
        let mut source = self.spec.source.clone();
        for path in [
            source.video.as_mut().map(|v| &mut v.path),
            source.images.as_mut().map(|i| &mut i.path),
        ]
        .into_iter()
        .flatten()
        {
            *path = path.file_name().map(PathBuf::from).unwrap_or_default();
        }
        let seen = serde_json::json!({
            "source": source,
            "detect": self.spec.detect,
            "card": self.card.name,
            "model_sha256": self.model_sha256,
        });
        hex(&Sha256::digest(seen.to_string()))
    }
}

/// Loads the pipeline `file` under `overrides`, its card, and checks that what they name exists.
///
/// # Errors
/// All faults that were found.
pub fn load(file: &Path, overrides: &[Override]) -> Result<PipelineConfig, ConfigFaults> {
    let document = Document::read(file, overrides)?;
    let mut spec: PipelineSpec = document.parse()?;
    let base = file.parent().unwrap_or(Path::new(""));
    join_paths(&mut spec, base);
    let mut faults = Vec::new();
    check_sources(&document, &spec, &mut faults);
    check_sinks(&document, &spec, &mut faults);
    let card = match load_card(&spec.model) {
        Ok(card) => {
            check_labels(&document, &spec, &card, &mut faults);
            Some(card)
        }
        Err(ConfigFaults(of_card)) if !spec.model.is_file() => {
            let why = of_card.first().map(|f| f.what.clone()).unwrap_or_default();
            let card = spec.model.display();
            faults.push(document.fault_at_value(&keys(&["model"]), format!("{card}: {why}")));
            None
        }
        Err(ConfigFaults(of_card)) => {
            faults.extend(of_card);
            None
        }
    };
    match card {
        Some((card, model_sha256)) if faults.is_empty() => Ok(PipelineConfig {
            stream: spec.stream.clone().unwrap_or_else(|| stem(file)),
            spec,
            card,
            model_sha256,
        }),
        _ => Err(ConfigFaults::in_order(faults)),
    }
}

/// Loads a model card and the fingerprint of its ONNX file.
///
/// # Errors
/// All faults of the card; a file that is missing or has another fingerprint.
pub fn load_card(file: &Path) -> Result<(CardSpec, String), ConfigFaults> {
    let document = Document::read(file, &[])?;
    let mut card: CardSpec = document.parse()?;
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
    if card.input.resize != super::card::ResizeSpec::Letterbox {
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
    let mut ids: Vec<u32> = card.labels.iter().map(|label| label.id).collect();
    ids.sort_unstable();
    if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        fault(&["labels"], format!("the id {} stands twice", pair[0]));
    }
    let sha256 = match fs::read(&card.file) {
        Err(e) => {
            fault(
                &["file"],
                format!("cannot read {}: {e}", card.file.display()),
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

fn join_paths(spec: &mut PipelineSpec, base: &Path) {
    let sources = [Some(&mut spec.source), spec.fallback.as_mut()];
    for source in sources.into_iter().flatten() {
        if let Some(video) = &mut source.video {
            video.path = base.join(&video.path);
        }
        if let Some(images) = &mut source.images {
            images.path = base.join(&images.path);
        }
    }
    spec.model = base.join(&spec.model);
    for sink in &mut spec.sinks {
        let paths = [
            sink.jsonl.as_mut().map(|s| &mut s.path),
            sink.coco.as_mut().map(|s| &mut s.path),
            sink.images.as_mut().map(|s| &mut s.dir),
        ];
        for path in paths.into_iter().flatten() {
            if *path != Path::new("-") {
                *path = base.join(&*path);
            }
        }
    }
}

fn check_sources(document: &Document<'_>, spec: &PipelineSpec, faults: &mut Vec<Fault>) {
    let named: [(&str, Option<&SourceSpec>); 2] = [
        ("source", Some(&spec.source)),
        ("fallback", spec.fallback.as_ref()),
    ];
    for (name, source) in named {
        let Some(source) = source else { continue };
        if source
            .camera
            .as_ref()
            .is_some_and(|c| c.index.is_some() && c.device.is_some())
        {
            faults.push(document.fault_at_key(
                &keys(&[name, "camera", "device"]),
                "got index and device; give one of them",
            ));
        }
        let paths = [
            ("video", source.video.as_ref().map(|v| &v.path)),
            ("images", source.images.as_ref().map(|i| &i.path)),
        ];
        for (kind, path) in paths {
            if let Some(path) = path
                && let Err(e) = fs::metadata(path)
            {
                faults.push(document.fault_at_value(
                    &keys(&[name, kind, "path"]),
                    format!("cannot read {}: {e}", path.display()),
                ));
            }
        }
    }
    if spec.fallback.is_some() && spec.source.camera.is_none() {
        faults.push(document.fault_at_key(
            &keys(&["fallback"]),
            "only a camera has a fallback; this source is a file",
        ));
    }
    if spec.fallback.as_ref().is_some_and(|f| f.camera.is_some()) {
        faults.push(document.fault_at_value(
            &keys(&["fallback"]),
            "a fallback must be a file: video or images",
        ));
    }
}

fn check_sinks(document: &Document<'_>, spec: &PipelineSpec, faults: &mut Vec<Fault>) {
    let mut windows = 0;
    let mut on_stdout = 0;
    for (i, sink) in spec.sinks.iter().enumerate() {
        let at = |rest: &[&str]| {
            let mut path = vec![Step::Key("sinks".to_owned()), Step::Index(i)];
            path.extend(keys(rest));
            path
        };
        if sink.window.is_some() {
            windows += 1;
            if windows == 2 {
                faults.push(document.fault_at_key(&at(&["window"]), "a second window"));
            }
        }
        let files = [
            ("jsonl", "path", sink.jsonl.as_ref().map(|s| &s.path)),
            ("coco", "path", sink.coco.as_ref().map(|s| &s.path)),
            ("images", "dir", sink.images.as_ref().map(|s| &s.dir)),
        ];
        for (kind, key, path) in files {
            let Some(path) = path else { continue };
            if path == Path::new("-") && kind != "images" {
                on_stdout += 1;
                if on_stdout == 2 {
                    faults.push(document.fault_at_value(
                        &at(&[kind, key]),
                        "standard output is taken by another sink",
                    ));
                }
                continue;
            }
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            if let Some(parent) = parent
                && !parent.is_dir()
            {
                faults.push(document.fault_at_value(
                    &at(&[kind, key]),
                    format!("the folder {} is not there", parent.display()),
                ));
            }
        }
    }
}

fn check_labels(
    document: &Document<'_>,
    spec: &PipelineSpec,
    (card, _): &(CardSpec, String),
    faults: &mut Vec<Fault>,
) {
    let known: Vec<&str> = card.labels.iter().map(|l| l.name.as_str()).collect();
    let given = [
        (
            ["detect", "classes"],
            spec.detect.classes.keys().collect::<Vec<_>>(),
        ),
        (
            ["overlay", "colours"],
            spec.overlay.colours.keys().collect(),
        ),
    ];
    for (place, names) in given {
        for name in names.into_iter().filter(|n| !known.contains(&n.as_str())) {
            let mut path = keys(&place);
            path.push(Step::Key(name.clone()));
            let hint = did_you_mean(name, &known);
            let what = format!("the model {} has no such label{hint}", card.name);
            faults.push(document.fault_at_key(&path, what));
        }
    }
}

fn keys(path: &[&str]) -> Vec<Step> {
    path.iter()
        .map(|key| Step::Key((*key).to_owned()))
        .collect()
}

fn stem(file: &Path) -> String {
    file.file_stem()
        .map_or_else(|| "stream".to_owned(), |s| s.to_string_lossy().into_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
