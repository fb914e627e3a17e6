//! Classifiers: holds a network against its card, and sets up the decoding of its output.

use crate::config::{CardConfig, ClassifyActivationConfig, ClassifyConfig, LoadedPipeline};
use crate::pipeline::options::ModelError;
use crate::pipeline::stages::classify::ClassifierModel;
use crate::postprocess::{ClassActivation, ClassifyParams};
use mobilens_nn::Network;

use super::preprocess::preprocess_params;

/// Holds the network that `pipeline` names against its card.
///
/// # Errors
/// When it does not do what the card says.
pub fn classifier_model(
    pipeline: &LoadedPipeline,
    network: Network,
) -> Result<ClassifierModel, ModelError> {
    classifier_of_card(&pipeline.card, &pipeline.config.classify, network)
}

/// Holds `network` against `card`, which is that of a classifier, under the settings `config`.
///
/// # Errors
/// When it does not do what the card says.
pub fn classifier_of_card(
    card: &CardConfig,
    config: &ClassifyConfig,
    network: Network,
) -> Result<ClassifierModel, ModelError> {
    let fault = |why: String| ModelError::Card {
        card: card.name.clone(),
        why,
    };
    let Some(head) = &card.head.classify else {
        return Err(fault("it has no `classify` head".to_owned()));
    };
    let outputs = network.outputs();
    let Some(output) = outputs.iter().position(|o| o.name == head.output) else {
        let known: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
        let (wanted, known) = (&head.output, known.join(", "));
        return Err(fault(format!(
            "the network has no output \"{wanted}\"; it has {known}"
        )));
    };
    let shape = &outputs[output].shape;
    let mut others = shape.iter().skip(1).filter(|length| **length != 1);
    let classes = others.next().copied().unwrap_or(1);
    if shape.first() != Some(&1) || others.next().is_some() {
        return Err(fault(format!(
            "the output's shape is {shape:?}; expected [1, classes]"
        )));
    }
    if let Some(label) = card.labels.iter().find(|l| l.id as usize >= classes) {
        return Err(fault(format!(
            "the label {} (\"{}\") has no channel; the output has {classes}",
            label.id, label.name
        )));
    }
    let mut channels: Vec<u32> = card.labels.iter().map(|label| label.id).collect();
    channels.sort_unstable();
    Ok(ClassifierModel {
        preprocess: preprocess_params(card),
        classify: ClassifyParams {
            channels,
            activation: match head.activation {
                ClassifyActivationConfig::Softmax => ClassActivation::Softmax,
                ClassifyActivationConfig::Sigmoid => ClassActivation::Sigmoid,
                ClassifyActivationConfig::None => ClassActivation::Identity,
            },
            top: config.top.unwrap_or(head.top) as usize,
            score_threshold: config.score_threshold,
        },
        output,
        network,
    })
}
