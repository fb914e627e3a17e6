//! `overlay`: how results are drawn.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Overlay settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OverlayConfig {
    /// Draw the label of each box.
    pub labels: bool,
    /// Draw the score behind the label.
    pub scores: bool,
    /// Length of a track's trail; 0: no trail.
    #[schemars(range(max = 600_000))]
    pub trail_ms: u64,
    /// Line width of boxes. Default: from the picture's size.
    #[schemars(range(min = 1, max = 64))]
    pub line_px: Option<u32>,
    /// Text height. Default: from the picture's size.
    #[schemars(range(min = 6, max = 200))]
    pub text_px: Option<u32>,
    /// Opacity of segmentation masks, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f32,
    /// Draw the outlines of segmentation masks.
    pub edges: bool,
    /// Draw a legend with each segmented class's share of the picture.
    pub legend: bool,
    /// Colours by label, as `"#rrggbb"`; labels without one have a colour of the built-in palette.
    pub colours: BTreeMap<String, ColourConfig>,
}

impl Default for OverlayConfig {
    fn default() -> Self {
        Self {
            labels: true,
            scores: true,
            trail_ms: 2000,
            line_px: None,
            text_px: None,
            alpha: 0.5,
            edges: true,
            legend: true,
            colours: BTreeMap::new(),
        }
    }
}

/// A colour as `"#rrggbb"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ColourConfig(
    #[schemars(
        regex(pattern = "^#[0-9a-fA-F]{6}$"),
        extend("x-expected" = "a colour like \"#e6194b\", in quotes")
    )]
    pub String,
);

impl ColourConfig {
    /// Red, green, blue; black if the text is no colour (which the schema excludes).
    pub fn rgb(&self) -> [u8; 3] {
        let part = |i: usize| {
            self.0
                .get(i..i + 2)
                .and_then(|hex| u8::from_str_radix(hex, 16).ok())
                .unwrap_or(0)
        };
        [part(1), part(3), part(5)]
    }
}
