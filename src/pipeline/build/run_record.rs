//! The record with which the results of a stream begin.

use std::collections::BTreeMap;

use crate::capture::SourceInfo;
use crate::config::{CardConfig, LoadedPipeline};
use crate::postprocess::Labels;
use crate::records::{LabelRecord, ModelRecord, RunRecord, SCHEMA_VERSION, SourceRecord};
use mobilens_nn::Network;

use super::models::StreamModels;
use super::track_classifiers::track_model_records;

/// The first record of a stream.
pub fn run_record(
    pipeline: &LoadedPipeline,
    info: &SourceInfo,
    models: &StreamModels,
    labels: &Labels,
) -> RunRecord {
    RunRecord {
        schema: SCHEMA_VERSION,
        tool: format!("mobilens {}", env!("CARGO_PKG_VERSION")),
        stream: pipeline.stream.clone(),
        source: SourceRecord {
            kind: info.kind.to_owned(),
            uri: info.uri.clone(),
            width: info.size.map(|s| s.width),
            height: info.size.map(|s| s.height),
            fps: info.fps,
        },
        model: model_record(
            &pipeline.card,
            &pipeline.model_sha256,
            models.first.network(),
        ),
        models: model_records(pipeline, models),
        labels: labels
            .iter()
            .map(|(id, name)| LabelRecord {
                id,
                name: name.to_owned(),
                model: labels.model(id).map(str::to_owned),
            })
            .collect(),
        classify_tracks: track_model_records(pipeline).collect(),
        config_sha256: pipeline.sha256(),
        analysis_sha256: pipeline.analysis_sha256(),
    }
}

fn model_record(card: &CardConfig, sha256: &str, network: &Network) -> ModelRecord {
    ModelRecord {
        name: card.name.clone(),
        sha256: sha256.to_owned(),
        input: [card.input.width_px, card.input.height_px],
        precision: Some(network.precision().to_owned()),
        instruction_set: Some(network.instruction_set().to_owned()),
    }
}

/// All models by name, where several run on the stream.
fn model_records(
    pipeline: &LoadedPipeline,
    models: &StreamModels,
) -> BTreeMap<String, ModelRecord> {
    let Some(first) = &pipeline.model_name else {
        return BTreeMap::new();
    };
    let network = models.first.network();
    let first_record = model_record(&pipeline.card, &pipeline.model_sha256, network);
    let others = pipeline.others.iter().zip(&models.others);
    let others = others.map(|(other, (name, model))| {
        let record = model_record(&other.card, &other.model_sha256, model.network());
        (name.clone(), record)
    });
    std::iter::once((first.clone(), first_record))
        .chain(others)
        .collect()
}
