//! What is printed of a quantised model.

use std::fmt::Write;
use std::path::Path;

use mobilens::config::CardConfig;
use mobilens_nn::{QuantizeReport, TensorSqnr};
use serde_json::{Value, json};

use super::Accuracy;

/// How many of the worst layers are shown.
const WORST: usize = 8;

/// The layers that have lost most, worst first.
fn worst(report: &QuantizeReport) -> Vec<&TensorSqnr> {
    let mut tensors: Vec<_> = report.tensors.iter().collect();
    tensors.sort_by(|a, b| a.db.total_cmp(&b.db));
    tensors.truncate(WORST);
    tensors
}

/// Lines for a reader.
pub fn as_text(
    card: &CardConfig,
    report: &QuantizeReport,
    accuracies: Option<&(Accuracy, Accuracy)>,
    files: [&Path; 2],
) -> String {
    let mut text = format!(
        "{}: {} convolutions in int8, calibrated with {} pictures\n",
        card.name, report.convolutions, report.pictures
    );
    for (name, why) in &report.float_convolutions {
        let _ = writeln!(text, "in float32: {name}: {why}");
    }
    let mut lines = |title: &str, tensors: &[&TensorSqnr]| {
        let _ = writeln!(text, "\n{title}");
        for TensorSqnr { name, db } in tensors {
            let _ = writeln!(text, "{db:>8.1}  {name}");
        }
    };
    let outputs: Vec<_> = report.outputs.iter().collect();
    lines("SQNR in dB of the outputs", &outputs);
    lines("SQNR in dB of the worst layers", &worst(report));
    let (before, after) = report.bytes;
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    let _ = writeln!(
        text,
        "\nsize {:.1} MB, before {:.1} MB",
        megabytes(after),
        megabytes(before)
    );
    if let Some((before, after)) = accuracies {
        let (name, value) = (after.name, after.value);
        let _ = writeln!(text, "{name} {value:.4}, before {:.4}", before.value);
    }
    let [model, card] = files;
    let _ = write!(text, "written: {} and {}", model.display(), card.display());
    text
}

/// The same as JSON.
pub fn as_json(
    card: &CardConfig,
    report: &QuantizeReport,
    accuracies: Option<&(Accuracy, Accuracy)>,
    files: [&Path; 2],
) -> Value {
    let list = |tensors: &[&TensorSqnr]| -> Vec<Value> {
        let tensors = tensors.iter();
        // JSON has no infinity: null where nothing differs.
        tensors
            .map(|t| json!({ "name": t.name, "sqnr_db": t.db }))
            .collect()
    };
    let outputs: Vec<_> = report.outputs.iter().collect();
    let accuracy = accuracies.map(|(before, after)| {
        json!({ "metric": after.name, "before": before.value, "after": after.value })
    });
    json!({
        "model": card.name,
        "convolutions": report.convolutions,
        "float_convolutions": report.float_convolutions.iter().map(|(n, _)| n).collect::<Vec<_>>(),
        "pictures": report.pictures,
        "outputs": list(&outputs),
        "worst": list(&worst(report)),
        "bytes": { "before": report.bytes.0, "after": report.bytes.1 },
        "accuracy": accuracy,
        "files": files.map(|file| file.display().to_string()),
    })
}
