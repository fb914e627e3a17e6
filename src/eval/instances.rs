//! Ground truth of segmentation: COCO instance annotations.
//!
//! Polygons are filled by the largest object first, so that what lies in front stays whole; a
//! pixel belongs to a polygon if its centre does. Classes that the model does not know are
//! background; crowds are ignored.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;

use crate::postprocess::{ClassMask, Labels};
use crate::records::Rle;
use mobilens_image::{SizePx, fill_polygon};

use super::ground_truth::{EvalError, GroundTruth, IGNORED};

/// COCO's names of classes that Pascal VOC calls otherwise.
const VOC_NAMES: [(&str, &str); 6] = [
    ("airplane", "aeroplane"),
    ("motorcycle", "motorbike"),
    ("dining table", "diningtable"),
    ("potted plant", "pottedplant"),
    ("couch", "sofa"),
    ("tv", "tvmonitor"),
];

#[derive(Deserialize)]
struct AnnotationFile {
    images: Vec<ImageEntry>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct ImageEntry {
    id: u64,
    file_name: String,
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u64,
    area: f64,
    #[serde(default)]
    iscrowd: u8,
    segmentation: Shape,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Shape {
    Polygons(Vec<Vec<f64>>),
    Packed(Rle),
    Runs { size: [u32; 2], counts: Vec<u64> },
}

/// Annotations of many pictures, by file name.
#[derive(Debug)]
pub struct CocoInstances {
    pictures: HashMap<String, (SizePx, Vec<Instance>)>,
}

#[derive(Debug)]
struct Instance {
    class: u8,
    area: f64,
    shape: Shape,
}

impl CocoInstances {
    /// Reads annotation files; `labels` are the model's classes, by COCO's or VOC's names.
    ///
    /// # Errors
    /// When a file cannot be read or is invalid.
    pub fn open<'a>(
        files: impl IntoIterator<Item = &'a Path>,
        labels: &Labels,
    ) -> Result<Self, EvalError> {
        let mut pictures = HashMap::new();
        for path in files {
            let fault = |why: String| EvalError::File {
                path: path.to_owned(),
                why,
            };
            let file = File::open(path).map_err(|e| fault(e.to_string()))?;
            let file: AnnotationFile = serde_json::from_reader(BufReader::new(file))
                .map_err(|e| fault(format!("not a COCO instances file: {e}")))?;
            let class_of = |name: &str| {
                let voc = VOC_NAMES.iter().find(|(coco, _)| *coco == name);
                let id = labels.id(name).or_else(|| labels.id(voc?.1));
                id.and_then(|id| u8::try_from(id).ok()).unwrap_or(0)
            };
            let categories = file.categories.iter();
            let classes: HashMap<u64, u8> = categories.map(|c| (c.id, class_of(&c.name))).collect();
            let mut by_id: HashMap<u64, Vec<Instance>> = HashMap::new();
            for annotation in file.annotations {
                let class = classes.get(&annotation.category_id).copied().unwrap_or(0);
                by_id
                    .entry(annotation.image_id)
                    .or_default()
                    .push(Instance {
                        class: if annotation.iscrowd == 0 {
                            class
                        } else {
                            IGNORED
                        },
                        area: annotation.area,
                        shape: annotation.segmentation,
                    });
            }
            for image in file.images {
                let mut instances = by_id.remove(&image.id).unwrap_or_default();
                // Crowds last: they are ignored whatever lies in them.
                instances.sort_by(|a, b| {
                    let crowd = |instance: &Instance| instance.class == IGNORED;
                    crowd(a).cmp(&crowd(b)).then(b.area.total_cmp(&a.area))
                });
                let size = SizePx {
                    width: image.width,
                    height: image.height,
                };
                pictures.insert(image.file_name, (size, instances));
            }
        }
        Ok(Self { pictures })
    }

    /// Pictures that are annotated.
    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }
}

impl GroundTruth for CocoInstances {
    fn of(&self, name: &str, size: SizePx) -> Result<Option<ClassMask>, EvalError> {
        let Some((known, instances)) = self.pictures.get(name) else {
            return Ok(None);
        };
        if *known != size {
            return Err(EvalError::Size {
                name: name.to_owned(),
                mask: *known,
                picture: size,
            });
        }
        let mut classes = vec![0; size.width as usize * size.height as usize];
        for instance in instances {
            match &instance.shape {
                Shape::Polygons(polygons) => {
                    for polygon in polygons {
                        fill(polygon, instance.class, size, &mut classes);
                    }
                }
                Shape::Packed(rle) => {
                    let runs = rle.runs().unwrap_or_default();
                    fill_runs(&runs, rle.size, instance.class, size, &mut classes);
                }
                Shape::Runs { size: of, counts } => {
                    fill_runs(counts, *of, instance.class, size, &mut classes);
                }
            }
        }
        Ok(ClassMask::new(size, classes))
    }
}

/// Fills the pixels whose centres lie inside; corners as `x, y, x, y, ...`.
fn fill(polygon: &[f64], class: u8, size: SizePx, classes: &mut [u8]) {
    let width = size.width as usize;
    fill_polygon(polygon.as_chunks::<2>().0, size, |y, first, end| {
        classes[y * width..][first..end].fill(class);
    });
}

/// Fills every second run, down the columns.
fn fill_runs(runs: &[u64], of: [u32; 2], class: u8, size: SizePx, classes: &mut [u8]) {
    if of != [size.height, size.width] {
        return;
    }
    let (width, height) = (u64::from(size.width), u64::from(size.height));
    let mut at = 0_u64;
    for (i, run) in runs.iter().enumerate() {
        let end = at.saturating_add(*run).min(width * height);
        if i % 2 == 1 {
            for place in at..end {
                classes[(place % height * width + place / height) as usize] = class;
            }
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_becomes_classes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("instances.json");
        let text = r#"{
            "images": [{"id": 5, "file_name": "a.jpg", "width": 6, "height": 4}],
            "categories": [{"id": 1, "name": "tv"}, {"id": 2, "name": "fork"}, {"id": 3, "name": "car"}],
            "annotations": [
                {"image_id": 5, "category_id": 3, "area": 2, "segmentation": [[1, 1, 3, 1, 3, 2, 1, 2]]},
                {"image_id": 5, "category_id": 1, "area": 12, "segmentation": [[0, 0, 6, 0, 6, 2, 0, 2]]},
                {"image_id": 5, "category_id": 2, "area": 1, "segmentation": [[5, 0, 6, 0, 6, 1, 5, 1]]},
                {"image_id": 5, "category_id": 3, "area": 2, "iscrowd": 1,
                 "segmentation": {"size": [4, 6], "counts": [2, 2, 20]}}
            ]}"#;
        std::fs::write(&path, text).expect("room");
        let labels = [(7, "car"), (20, "tvmonitor")].map(|(id, name)| (id, name.to_owned()));
        let labels = Labels::new(labels.to_vec());
        let instances = CocoInstances::open([path.as_path()], &labels).expect("reads");
        let size = SizePx {
            width: 6,
            height: 4,
        };
        let mask = instances.of("a.jpg", size).expect("fits").expect("known");
        let expected = [
            [20, 20, 20, 20, 20, 0],
            [20, 7, 7, 20, 20, 20],
            [255, 0, 0, 0, 0, 0],
            [255, 0, 0, 0, 0, 0],
        ];
        assert_eq!(mask.classes(), expected.concat());
        assert!(instances.of("b.jpg", size).expect("fine").is_none());
        let other = SizePx {
            width: 4,
            height: 6,
        };
        let error = instances
            .of("a.jpg", other)
            .expect_err("refused")
            .to_string();
        assert_eq!(error, "a.jpg: the mask has 6x4 pixels, the picture 4x6");
    }

    #[test]
    fn what_is_no_such_file_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.json");
        std::fs::write(&path, "[]").expect("room");
        let error = CocoInstances::open([path.as_path()], &Labels::default()).expect_err("refused");
        assert!(
            error
                .to_string()
                .contains("x.json: not a COCO instances file"),
            "{error}"
        );
    }
}
