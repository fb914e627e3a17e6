//! COCO instances (cocodataset.org, "Data format", object detection).

use std::path::PathBuf;

use mobilens::records::{RecordBox, Rle};
use serde::Serialize;

use super::{LabelledObject, Labels, json};

#[derive(Serialize)]
struct Instances<'a> {
    info: Info,
    licenses: [(); 0],
    images: Vec<ImageEntry<'a>>,
    annotations: Vec<Annotation<'a>>,
    categories: Vec<Category<'a>>,
}

#[derive(Serialize)]
struct Info {
    description: &'static str,
    contributor: &'static str,
}

#[derive(Serialize)]
struct ImageEntry<'a> {
    id: u64,
    file_name: &'a str,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct Annotation<'a> {
    id: u64,
    image_id: u64,
    category_id: u64,
    bbox: RecordBox,
    area: f64,
    iscrowd: u8,
    segmentation: Shape<'a>,
}

/// The pixels of an object; without any, the empty list of polygons, which readers take for "a box alone".
#[derive(Serialize)]
#[serde(untagged)]
enum Shape<'a> {
    Packed(&'a Rle),
    None([(); 0]),
}

#[derive(Serialize)]
struct Category<'a> {
    id: u64,
    name: &'a str,
    supercategory: &'static str,
}

pub fn files(labels: &Labels<'_>) -> Vec<(PathBuf, String)> {
    let mut annotations = Vec::new();
    for (image_id, picture) in (1..).zip(labels.pictures) {
        for object in &picture.objects {
            annotations.push(Annotation {
                id: annotations.len() as u64 + 1,
                image_id,
                category_id: labels.class_of(object) as u64 + 1,
                bbox: object.bbox,
                area: area_of(object),
                iscrowd: 0,
                segmentation: match &object.segmentation {
                    Some(rle) => Shape::Packed(rle),
                    None => Shape::None([]),
                },
            });
        }
    }
    let instances = Instances {
        info: Info {
            description: "First labels from detections, to be corrected by hand",
            contributor: concat!("mobilens ", env!("CARGO_PKG_VERSION")),
        },
        licenses: [],
        images: (1..)
            .zip(labels.pictures)
            .map(|(id, picture)| ImageEntry {
                id,
                file_name: &picture.image,
                width: picture.width,
                height: picture.height,
            })
            .collect(),
        annotations,
        categories: (1..)
            .zip(labels.classes)
            .map(|(id, name)| Category {
                id,
                name,
                supercategory: "",
            })
            .collect(),
    };
    vec![("instances.json".into(), json(&instances) + "\n")]
}

/// Square pixels of an object: of its mask, else of its box, to two decimals.
fn area_of(object: &LabelledObject) -> f64 {
    let runs = object.segmentation.as_ref().and_then(|rle| rle.runs().ok());
    match runs {
        Some(runs) => runs.iter().skip(1).step_by(2).sum::<u64>() as f64,
        None => (object.bbox.width * object.bbox.height * 100.0).round() / 100.0,
    }
}
