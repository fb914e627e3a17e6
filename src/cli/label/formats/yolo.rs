//! YOLO's text files (Ultralytics, "Object detection datasets"): one for each picture, a line an object,
//! `class cx cy w h` in shares of the picture.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::{LabelledPicture, Labels, json};

pub fn files(labels: &Labels<'_>) -> Vec<(PathBuf, String)> {
    let pictures = labels.pictures.iter();
    let mut files: Vec<_> = pictures
        .map(|picture| {
            let name = Path::new(&picture.image).with_extension("txt");
            (Path::new("labels").join(name), lines(picture, labels))
        })
        .collect();
    files.push(("data.yaml".into(), data(labels)));
    files
}

fn lines(picture: &LabelledPicture, labels: &Labels<'_>) -> String {
    let (width, height) = (f64::from(picture.width), f64::from(picture.height));
    let mut text = String::new();
    for object in &picture.objects {
        let (class, bbox) = (labels.class_of(object), &object.bbox);
        let (x, y) = (bbox.x + bbox.width / 2.0, bbox.y + bbox.height / 2.0);
        let _ = writeln!(
            text,
            "{class} {:.6} {:.6} {:.6} {:.6}",
            x / width,
            y / height,
            bbox.width / width,
            bbox.height / height
        );
    }
    text
}

fn data(labels: &Labels<'_>) -> String {
    let mut text = String::from(
        "# Paths are relative to this file. Evaluate on pictures that were kept aside instead of the same ones.\n\
         train: images\nval: images\nnames:\n",
    );
    for (number, name) in labels.classes.iter().enumerate() {
        let _ = writeln!(text, "  {number}: {}", json(name));
    }
    text
}
