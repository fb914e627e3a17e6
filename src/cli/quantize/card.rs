//! The card of a quantised model: the card of the float32 model with what is different.

use std::fs;
use std::path::{Path, PathBuf};

use mobilens::config::CardConfig;
use mobilens_nn::QuantizeReport;

use super::{Accuracy, Failure};

/// What is put behind a name for the quantised model.
pub const SUFFIX: &str = "_int8";

/// How a model was made.
pub struct Made<'a> {
    /// The quantised ONNX file.
    pub model: &'a Path,
    /// Its SHA-256.
    pub sha256: String,
    /// The card of the float32 model.
    pub from: &'a Path,
    /// SHA-256 of the float32 ONNX file.
    pub from_sha256: &'a str,
    /// The folder of the pictures.
    pub images: &'a Path,
    /// What the model is worth.
    pub report: &'a QuantizeReport,
    /// Accuracy before and after.
    pub accuracies: Option<&'a (Accuracy, Accuracy)>,
}

/// Text of the card of the model that was made from that of `card`, the content of `card_file`.
/// Comments and order stay as they are where the card is written plainly.
///
/// # Errors
/// When the card cannot be read again.
pub fn card_of(card_file: &Path, card: &CardConfig, made: &Made<'_>) -> Result<String, Failure> {
    let fault = |why: String| Failure::Other(format!("{}: {why}", card_file.display()));
    let original = fs::read_to_string(card_file).map_err(|e| fault(e.to_string()))?;
    let wanted = changed(card, made);
    let comment = format!(
        "# Quantised to int8 by `mobilens quantize`; the float32 model is {}.\n",
        name_of(made.from)
    );
    let edited = comment + &edit(&original, card, &wanted);
    let read: Option<CardConfig> = serde_yaml::from_str(&edited).ok();
    if read.as_ref() == Some(&wanted) {
        return Ok(edited);
    }
    serde_yaml::to_string(&wanted).map_err(|e| fault(e.to_string()))
}

/// The card as it should be, with paths relative to it.
fn changed(card: &CardConfig, made: &Made<'_>) -> CardConfig {
    let mut wanted = card.clone();
    wanted.name = format!("{}{SUFFIX}", card.name);
    wanted.file = PathBuf::from(name_of(made.model));
    wanted.sha256 = Some(made.sha256.clone());
    let outputs = made.report.outputs.iter();
    let outputs = outputs.map(|output| format!("{} {:.1} dB", output.name, output.db));
    let mut accuracy = format!(
        "SQNR against float32 on the calibration pictures: {}",
        outputs.collect::<Vec<_>>().join(", ")
    );
    if let Some((before, after)) = made.accuracies {
        let (name, value) = (after.name, after.value);
        accuracy += &format!("; {name} {value:.4}, in float32 {:.4}", before.value);
    }
    wanted.accuracy = Some(accuracy);
    wanted.converted = Some(format!(
        "mobilens quantize {} --images {} --limit {}; SHA-256 of the float32 file {}",
        name_of(made.from),
        name_of(made.images),
        made.report.pictures,
        made.from_sha256
    ));
    if let Some(deeplab) = &mut wanted.head.deeplab {
        // The siblings of a quantised model are quantised, under names of the same kind.
        for sibling in &mut deeplab.siblings {
            *sibling = with_suffix(sibling);
        }
    }
    wanted
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The text with the values of `wanted` on the lines of their keys; a key that the text does not
/// have is put behind `file`.
fn edit(original: &str, card: &CardConfig, wanted: &CardConfig) -> String {
    let quoted = |value: &str| serde_json::to_string(value).unwrap_or_default();
    let mut values = vec![
        ("name", wanted.name.clone()),
        ("file", quoted(&wanted.file.to_string_lossy())),
    ];
    let more = [
        ("sha256", wanted.sha256.clone()),
        ("converted", wanted.converted.as_deref().map(quoted)),
        ("accuracy", wanted.accuracy.as_deref().map(quoted)),
    ];
    values.extend(more.into_iter().filter_map(|(k, v)| Some((k, v?))));
    let has = |key: &str| {
        let mut lines = original.lines();
        lines.any(|line| {
            line.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(':'))
        })
    };
    let mut text = String::new();
    for line in original.lines() {
        let key = line.split_once(':').map(|(key, _)| key);
        match values.iter().find(|(wanted, _)| Some(*wanted) == key) {
            Some((key, value)) => text += &format!("{key}: {value}\n"),
            None if key.is_some_and(|key| key.trim_start() == "siblings") => {
                text += &siblings(line, card);
                text.push('\n');
            }
            None => {
                text += line;
                text.push('\n');
            }
        }
        if key == Some("file") {
            for (key, value) in values.iter().filter(|(key, _)| !has(key)) {
                text += &format!("{key}: {value}\n");
            }
        }
    }
    text
}

fn siblings(line: &str, card: &CardConfig) -> String {
    let siblings = card.head.deeplab.iter().flat_map(|head| &head.siblings);
    siblings.fold(line.to_owned(), |line, sibling| {
        let new = with_suffix(sibling);
        line.replace(&*sibling.to_string_lossy(), &new.to_string_lossy())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made<'a>(report: &'a QuantizeReport, from: &'a Path) -> Made<'a> {
        Made {
            model: Path::new("out/net_int8.onnx"),
            sha256: "1".repeat(64),
            from,
            from_sha256: "0",
            images: Path::new("/data/pictures"),
            report,
            accuracies: None,
        }
    }

    fn shipped(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("models")
            .join(name)
    }

    #[test]
    fn comments_and_labels_of_a_shipped_card_stay() {
        let report = QuantizeReport::default();
        for name in [
            "ssdlite_mobilenet_v2_coco.yaml",
            "deeplabv3_mobilenet_v2_voc_os16.yaml",
        ] {
            let file = shipped(name);
            let (card, _) = mobilens::config::load_card(&file).expect("a good card");
            let made = made(&report, &file);
            let text = card_of(&file, &card, &made).expect("a card");
            let read: CardConfig = serde_yaml::from_str(&text).expect("YAML");
            assert_eq!(read, changed(&card, &made));
            assert_eq!(read.labels, card.labels);
            let original = fs::read_to_string(&file).expect("text");
            let first = original.lines().next().expect("a comment");
            assert!(first.starts_with('#') && text.contains(first));
            assert!(text.lines().count() > 20 && !text.contains("/data"));
        }
    }

    #[test]
    fn a_card_in_another_style_is_written_anew() {
        let dir = tempfile::tempdir().expect("a folder");
        let (card, _) =
            mobilens::config::load_card(&shipped("ssdlite_mobilenet_v2_coco.yaml")).expect("good");
        let file = dir.path().join("card.yaml");
        fs::write(&file, serde_json::to_string(&card).expect("JSON")).expect("room");
        let report = QuantizeReport::default();
        let made = made(&report, &file);
        let text = card_of(&file, &card, &made).expect("a card");
        let read: CardConfig = serde_yaml::from_str(&text).expect("YAML");
        assert_eq!(read, changed(&card, &made));
        assert_eq!(read.file, Path::new("net_int8.onnx"));
    }

    #[test]
    fn siblings_are_quantised_too() {
        let report = QuantizeReport::default();
        let file = shipped("deeplabv3_mobilenet_v2_voc_os16.yaml");
        let (card, _) = mobilens::config::load_card(&file).expect("a good card");
        let wanted = changed(&card, &made(&report, &file));
        let deeplab = wanted.head.deeplab.expect("a DeepLab");
        let sibling = "deeplabv3_mobilenet_v2_voc_os8_int8.yaml";
        assert_eq!(deeplab.siblings, [Path::new(sibling)]);
    }
}
