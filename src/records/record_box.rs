//! The box of a detection or a track, as records hold it.

use std::borrow::Cow;

use mobilens_image::RectPx;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::rounding::rounded;

/// An axis-aligned box in pixels of the original frame, to two decimals; in JSON the array
/// `[x, y, width, height]`, as COCO has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 4]", into = "[f64; 4]")]
pub struct RecordBox {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl From<&RectPx> for RecordBox {
    /// Rounds to two decimals.
    fn from(rect: &RectPx) -> Self {
        let values = [rect.x, rect.y, rect.width, rect.height];
        values.map(|v| rounded(v.into(), 100.0)).into()
    }
}

impl From<RecordBox> for RectPx {
    /// To the nearest `f32`, in which tracking, counting and drawing compute.
    fn from(bbox: RecordBox) -> Self {
        Self {
            x: bbox.x as f32,
            y: bbox.y as f32,
            width: bbox.width as f32,
            height: bbox.height as f32,
        }
    }
}

impl From<[f64; 4]> for RecordBox {
    /// From `[x, y, width, height]`, taken as they are.
    fn from([x, y, width, height]: [f64; 4]) -> Self {
        Self {
            x,
            y,
            width,
            height,
        }
    }
}

impl From<RecordBox> for [f64; 4] {
    /// `[x, y, width, height]`.
    fn from(bbox: RecordBox) -> Self {
        [bbox.x, bbox.y, bbox.width, bbox.height]
    }
}

impl JsonSchema for RecordBox {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RecordBox".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <[f64; 4]>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_an_array_in_json() {
        let rect = RectPx {
            x: 412.0,
            y: 133.504,
            width: 58.126,
            height: 101.0,
        };
        let json = serde_json::to_string(&RecordBox::from(&rect)).expect("plain data");
        assert_eq!(json, "[412.0,133.5,58.13,101.0]");
        for wrong in ["[1,2,3]", "[1,2,3,4,5]", "{\"x\":1}"] {
            assert!(serde_json::from_str::<RecordBox>(wrong).is_err(), "{wrong}");
        }
        let schema = schemars::schema_for!(RecordBox);
        assert_eq!(schema.get("minItems"), Some(&4.into()), "{schema:?}");
    }

    proptest! {
        /// The numbers and the bytes are those of an array of rounded numbers, and reading them back
        /// changes nothing: an analysis of saved records starts from the live run's boxes.
        #[test]
        fn it_rounds_to_two_decimals_and_reads_back(
            values in prop::array::uniform4(-1e4_f32..1e4),
        ) {
            let [x, y, width, height] = values;
            let rect = RectPx { x, y, width, height };
            let array = values.map(|v| (f64::from(v) * 100.0).round() / 100.0);
            let bbox = RecordBox::from(&rect);
            prop_assert_eq!(<[f64; 4]>::from(bbox), array);
            let json = serde_json::to_string(&bbox).expect("plain data");
            prop_assert_eq!(&json, &serde_json::to_string(&array).expect("plain data"));
            let back: RecordBox = serde_json::from_str(&json).expect("own box");
            prop_assert_eq!(back, bbox);
            let as_f32 = array.map(|v| v as f32);
            let rect = RectPx::from(back);
            prop_assert_eq!([rect.x, rect.y, rect.width, rect.height], as_f32);
            // A box that went through f32 once more rounds to itself.
            prop_assert_eq!(RecordBox::from(&rect), bbox);
        }
    }
}
