//! What every kind of model shares: how a picture is fitted, and what may be wrong with a card.

use crate::config::{CardConfig, ChannelOrder, LetterboxAnchorConfig, ResizeConfig};
use mobilens_image::{LetterboxAnchor, PreprocessParams, ResizeMode};

/// What the network wants to be fed.
pub fn preprocess_params(card: &CardConfig) -> PreprocessParams {
    let input = &card.input;
    PreprocessParams {
        width_px: input.width_px,
        height_px: input.height_px,
        bgr: input.colour == ChannelOrder::Bgr,
        mean: input.mean,
        std: input.std,
        resize: match input.resize {
            ResizeConfig::Stretch => ResizeMode::Stretch,
            ResizeConfig::Letterbox => ResizeMode::Letterbox {
                pad_value: input.letterbox_pad_value(),
                anchor: match input.letterbox_anchor() {
                    LetterboxAnchorConfig::TopLeft => LetterboxAnchor::TopLeft,
                    LetterboxAnchorConfig::Center => LetterboxAnchor::Center,
                },
            },
        },
        half_pixel: input.half_pixel,
    }
}
