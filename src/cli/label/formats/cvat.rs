//! CVAT's own format "CVAT for images 1.1", and the labels of a task for its raw label editor.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::json;

use super::{Labels, xml};

pub fn files(labels: &Labels<'_>) -> Vec<(PathBuf, String)> {
    let names = labels.classes.iter();
    let names: Vec<_> = names
        .map(|name| json!({"name": name, "type": "rectangle", "attributes": []}))
        .collect();
    vec![
        ("annotations.xml".into(), annotations(labels)),
        ("labels.json".into(), format!("{:#}\n", json!(names))),
    ]
}

fn annotations(labels: &Labels<'_>) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n",
    );
    let _ = writeln!(text, "      <size>{}</size>", labels.pictures.len());
    text.push_str("      <mode>annotation</mode>\n      <labels>\n");
    for name in labels.classes {
        let name = xml(name);
        let _ = writeln!(
            text,
            "        <label><name>{name}</name><type>rectangle</type><attributes></attributes></label>"
        );
    }
    text.push_str("      </labels>\n    </task>\n  </meta>\n");
    for (id, picture) in labels.pictures.iter().enumerate() {
        let (name, width, height) = (xml(&picture.image), picture.width, picture.height);
        let _ = writeln!(
            text,
            "  <image id=\"{id}\" name=\"{name}\" width=\"{width}\" height=\"{height}\">"
        );
        for object in &picture.objects {
            let (label, bbox) = (xml(&object.label), &object.bbox);
            let (right, bottom) = (bbox.x + bbox.width, bbox.y + bbox.height);
            let _ = writeln!(
                text,
                "    <box label=\"{label}\" source=\"auto\" occluded=\"0\" xtl=\"{:.2}\" ytl=\"{:.2}\" \
                 xbr=\"{right:.2}\" ybr=\"{bottom:.2}\" z_order=\"0\"></box>",
                bbox.x, bbox.y
            );
        }
        text.push_str("  </image>\n");
    }
    text + "</annotations>\n"
}
