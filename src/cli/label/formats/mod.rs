//! Labels in the formats of the programs that import them.

mod coco;
mod cvat;
mod label_studio;
mod yolo;

use std::path::PathBuf;

use mobilens::records::{RecordBox, Rle};
use serde::{Deserialize, Serialize};

use super::arguments::LabelTarget;
pub use label_studio::url_part;

/// A picture and its labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledPicture {
    /// File name in the folder `images`.
    pub image: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Name of the clip or folder that it was cut from.
    pub clip: String,
    /// Name of the stream.
    pub stream: String,
    /// Number of the frame.
    pub frame: u64,
    /// Its presentation time.
    pub pts_ms: f64,
    /// The model that labelled it.
    pub model: String,
    /// Distance of the least certain score from the threshold; absent where nothing was detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// The labels.
    pub objects: Vec<LabelledObject>,
}

/// A label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledObject {
    /// Name of its class.
    pub label: String,
    /// Confidence, 0 to 1.
    pub score: f64,
    /// Its box within the picture.
    pub bbox: RecordBox,
    /// Its pixels, from a network that segments instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<Rle>,
}

/// All that is labelled.
pub struct Labels<'a> {
    /// Names of the classes, in the order of their numbers.
    pub classes: &'a [String],
    /// The pictures, those to correct first at the beginning.
    pub pictures: &'a [LabelledPicture],
    /// What stands before a picture's name where Label Studio looks for it.
    pub image_url: &'a str,
}

impl Labels<'_> {
    /// The files for `target`, each with its path in the folder and its text.
    pub fn files(&self, target: LabelTarget) -> Vec<(PathBuf, String)> {
        match target {
            LabelTarget::Coco => coco::files(self),
            LabelTarget::Cvat => cvat::files(self),
            LabelTarget::LabelStudio => label_studio::files(self),
            LabelTarget::Yolo => yolo::files(self),
        }
    }

    /// Number of a class, from 0.
    fn class_of(&self, object: &LabelledObject) -> usize {
        let at = self.classes.iter().position(|name| *name == object.label);
        at.expect("objects of other classes are left out")
    }
}

/// Text for an attribute or element of XML. What XML cannot hold becomes a space.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// JSON of plain data.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data with string keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_for_xml() {
        assert_eq!(
            xml("a<b> & \"c\" 'd'\u{0}\n"),
            "a&lt;b&gt; &amp; &quot;c&quot; &apos;d&apos;  "
        );
        assert_eq!(xml("Straße 車"), "Straße 車");
    }
}
