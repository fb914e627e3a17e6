//! What every kind of model shares: how a picture is fitted, and what may be wrong with a card.

use crate::config::{CardSpec, ChannelOrder, LetterboxAnchor as AnchorSetting, ResizeSpec};
use crate::nn::NnError;
use crate::preprocess::{LetterboxAnchor, PreprocessSpec, Resize};

/// Grey around a letterboxed picture, where the card does not say.
const PAD_VALUE: f32 = 127.5;

/// Why a model cannot serve a pipeline.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The network cannot be loaded.
    #[error(transparent)]
    Network(#[from] NnError),
    /// Card and network contradict each other, or the pipeline cannot use the head.
    #[error("{card}: {why}")]
    Card {
        /// Name of the card.
        card: String,
        /// What is wrong.
        why: String,
    },
}

/// What the network wants to be fed.
pub fn preprocess_spec(card: &CardSpec) -> PreprocessSpec {
    let input = &card.input;
    PreprocessSpec {
        width_px: input.width_px,
        height_px: input.height_px,
        bgr: input.colour == ChannelOrder::Bgr,
        mean: input.mean,
        std: input.std,
        resize: match input.resize {
            ResizeSpec::Stretch => Resize::Stretch,
            ResizeSpec::Letterbox => Resize::Letterbox {
                pad_value: input.pad_value.unwrap_or(PAD_VALUE),
                anchor: match input.anchor.unwrap_or_default() {
                    AnchorSetting::TopLeft => LetterboxAnchor::TopLeft,
                    AnchorSetting::Center => LetterboxAnchor::Center,
                },
            },
        },
        half_pixel: input.half_pixel,
    }
}
