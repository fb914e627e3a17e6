//! What every kind of model shares: how a picture is fitted, and what may be wrong with a card.

use crate::config::{CardConfig, ChannelOrder, LetterboxAnchor as AnchorSetting, ResizeConfig};
use mobilens_image::{LetterboxAnchor, PreprocessParams, Resize};

/// Grey around a letterboxed picture, where the card does not say.
const PAD_VALUE: f32 = 127.5;

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
            ResizeConfig::Stretch => Resize::Stretch,
            ResizeConfig::Letterbox => Resize::Letterbox {
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
