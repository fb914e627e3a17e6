//! Label Studio's tasks with predictions (labelstud.io, "Import pre-annotated data"), and the labeling
//! configuration of a project for them.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{LabelledObject, LabelledPicture, Labels, xml};

/// Name of the tag that draws boxes.
const CONTROL: &str = "label";
/// Name of the tag that shows the picture.
const PICTURE: &str = "image";

pub fn files(labels: &Labels<'_>) -> Vec<(PathBuf, String)> {
    let tasks: Vec<_> = labels.pictures.iter().map(|p| task(p, labels)).collect();
    vec![
        ("tasks.json".into(), format!("{:#}\n", json!(tasks))),
        ("label_config.xml".into(), config(labels)),
    ]
}

fn task(picture: &LabelledPicture, labels: &Labels<'_>) -> Value {
    let regions = (1..).zip(&picture.objects);
    let regions: Vec<_> = regions.map(|(n, o)| region(n, o, picture)).collect();
    let data = json!({
        "image": format!("{}{}", labels.image_url, url_part(&picture.image)),
        "clip": picture.clip, "stream": picture.stream,
        "frame": picture.frame, "pts_ms": picture.pts_ms,
    });
    let mut prediction = json!({"model_version": picture.model, "result": regions});
    if let Some(margin) = picture.margin {
        // Its sampling by uncertainty takes low scores first.
        prediction["score"] = json!(margin);
    }
    json!({"data": data, "predictions": [prediction]})
}

/// A box; its place is in percent of the picture.
fn region(number: usize, object: &LabelledObject, picture: &LabelledPicture) -> Value {
    let share = |pixels: f64, of: u32| (pixels / f64::from(of) * 1e8).round() / 1e6;
    let (width, height, bbox) = (picture.width, picture.height, &object.bbox);
    json!({
        "id": format!("box{number}"), "type": "rectanglelabels",
        "from_name": CONTROL, "to_name": PICTURE,
        "original_width": width, "original_height": height, "image_rotation": 0,
        "score": object.score,
        "value": {
            "x": share(bbox.x, width), "y": share(bbox.y, height),
            "width": share(bbox.width, width), "height": share(bbox.height, height),
            "rotation": 0, "rectanglelabels": [object.label],
        },
    })
}

fn config(labels: &Labels<'_>) -> String {
    let mut text = format!(
        "<View>\n  <Image name=\"{PICTURE}\" value=\"${PICTURE}\"/>\n  <RectangleLabels name=\"{CONTROL}\" toName=\"{PICTURE}\">\n"
    );
    for name in labels.classes {
        let _ = writeln!(text, "    <Label value=\"{}\"/>", xml(name));
    }
    text + "  </RectangleLabels>\n</View>\n"
}

/// A file name as a part of a URL.
pub fn url_part(name: &str) -> String {
    let mut part = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            part.push(byte.into());
        } else {
            let _ = write!(part, "%{byte:02X}");
        }
    }
    part
}
