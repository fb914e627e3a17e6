//! What every kind of model shares: how a picture is fitted, and what may be wrong with a card.

use crate::config::{CardConfig, ChannelOrder, FilterConfig, LetterboxAnchorConfig, ResizeConfig};
use mobilens_image::{LetterboxAnchor, PreprocessParams, ResizeFilter, ResizeMode};

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
                    LetterboxAnchorConfig::TopRight => LetterboxAnchor::TopRight,
                    LetterboxAnchorConfig::BottomLeft => LetterboxAnchor::BottomLeft,
                    LetterboxAnchorConfig::BottomRight => LetterboxAnchor::BottomRight,
                },
            },
            ResizeConfig::CenterCrop => ResizeMode::CenterCrop {
                shorter_px: input.center_crop_shorter_px(),
            },
        },
        half_pixel: input.half_pixel,
        filter: match input.filter {
            FilterConfig::Bilinear => ResizeFilter::Bilinear,
            FilterConfig::PilBilinear => ResizeFilter::PilBilinear,
            FilterConfig::PilBicubic => ResizeFilter::PilBicubic,
        },
    }
}
