//! The reference's cases, and what a decoder's result is held against.

use std::fs;

use serde_json::Value;

use crate::support::file;
use mobilens::postprocess::{Detection, WantedClass};
use mobilens::records::Rle;
use mobilens_image::{ImageFromModel, SizePx};

/// Largest difference of a box's edges, in pixels of the frame.
const BOX_PX: f64 = 0.01;
/// Largest difference of a score.
const SCORE: f64 = 1e-5;

/// The cases of `index.json`, and what they share.
pub struct Reference {
    pub input: SizePx,
    pub frame: SizePx,
    pub image_from_model: ImageFromModel,
    pub classes: usize,
    pub cases: Vec<Case>,
}

pub struct Case {
    pub name: String,
    pub shapes: Vec<Vec<usize>>,
    pub outputs: Vec<Vec<f32>>,
    pub score_threshold: f32,
    /// 0 where there is no NMS.
    pub nms_iou: f32,
    pub multi_label: bool,
    pub max_detections: usize,
    pub expected: Vec<Expected>,
}

pub struct Expected {
    class: u32,
    score: f64,
    /// Left, upper, right, lower.
    edges: Vec<f64>,
    /// Column, row and perhaps score of each keypoint.
    keypoints: Vec<Vec<f64>>,
    /// Run lengths of the mask, column by column, zeros first.
    mask: Vec<f64>,
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().expect("a list");
    list.iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn size(value: &Value) -> SizePx {
    let sides = numbers(value);
    SizePx {
        width: sides[0] as u32,
        height: sides[1] as u32,
    }
}

pub fn reference() -> Reference {
    let text = fs::read_to_string(file("tests/data/heads/index.json")).expect("the index");
    let index: Value = serde_json::from_str(&text).expect("JSON");
    let (scale, offset) = (numbers(&index["scale"]), numbers(&index["offset"]));
    Reference {
        input: size(&index["input"]),
        frame: size(&index["frame"]),
        image_from_model: ImageFromModel {
            scale_x_px: scale[0] as f32,
            scale_y_px: scale[1] as f32,
            offset_x_px: offset[0] as f32,
            offset_y_px: offset[1] as f32,
        },
        classes: index["classes"].as_u64().expect("a number") as usize,
        cases: index["cases"]
            .as_array()
            .expect("a list")
            .iter()
            .map(case)
            .collect(),
    }
}

fn case(entry: &Value) -> Case {
    let name = entry["name"].as_str().expect("a name").to_owned();
    let raw = fs::read(file(&format!("tests/data/heads/{name}.f32"))).expect("raw outputs");
    let values = raw.as_chunks::<4>().0;
    let mut values = values.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let to_sizes = |shape: &Value| numbers(shape).iter().map(|d| *d as usize).collect();
    let shapes = entry["shapes"].as_array().expect("a list").iter();
    let shapes: Vec<Vec<usize>> = shapes.map(to_sizes).collect();
    let outputs = shapes
        .iter()
        .map(|shape| values.by_ref().take(shape.iter().product()).collect())
        .collect();
    let number = |key: &str| entry[key].as_f64();
    let expected = entry["expected"].as_array().expect("a list").iter();
    Case {
        name,
        shapes,
        outputs,
        score_threshold: number("score_threshold").expect("a number") as f32,
        nms_iou: number("nms_iou").unwrap_or(0.0) as f32,
        multi_label: entry["multi_label"].as_bool().expect("a flag"),
        max_detections: number("max_detections").expect("a number") as usize,
        expected: expected
            .map(|found| Expected {
                class: found["class"].as_u64().expect("a class") as u32,
                score: found["score"].as_f64().expect("a score"),
                edges: numbers(&found["box"]),
                mask: found.get("mask").map(numbers).unwrap_or_default(),
                keypoints: found["keypoints"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(numbers)
                    .collect(),
            })
            .collect(),
    }
}

impl Case {
    pub fn classes(&self, count: usize) -> Vec<WantedClass> {
        let wanted = |channel: usize| WantedClass {
            channel,
            category_id: channel as u32,
            score_threshold: self.score_threshold,
        };
        (0..count).map(wanted).collect()
    }

    pub fn views(&self) -> Vec<&[f32]> {
        self.outputs.iter().map(Vec::as_slice).collect()
    }

    pub fn shape_views(&self) -> Vec<&[usize]> {
        self.shapes.iter().map(Vec::as_slice).collect()
    }

    pub fn assert_equals_keypoints(&self, got: &[Detection]) {
        self.assert_equals(got);
        for (got, expected) in got.iter().zip(&self.expected) {
            assert!(!expected.keypoints.is_empty(), "{}", self.name);
            assert_eq!(
                got.keypoints.len(),
                expected.keypoints.len(),
                "{}",
                self.name
            );
            for (got, expected) in got.keypoints.iter().zip(&expected.keypoints) {
                for (got, expected) in [got.x, got.y].into_iter().zip(expected) {
                    let off = (f64::from(got) - expected).abs();
                    let name = &self.name;
                    assert!(off <= BOX_PX, "a keypoint of {name} is off by {off} pixels");
                }
                let score = expected.get(2).copied().unwrap_or(1.0);
                assert!(
                    (f64::from(got.score) - score).abs() <= SCORE,
                    "{}",
                    self.name
                );
            }
        }
    }

    pub fn assert_equals_masks(&self, got: &[Detection], frame: SizePx) {
        self.assert_equals(got);
        for (i, (got, expected)) in got.iter().zip(&self.expected).enumerate() {
            let mask = got.mask.as_ref().expect("a mask");
            let runs: Vec<u64> = expected.mask.iter().map(|run| *run as u64).collect();
            let size = [frame.height, frame.width];
            let expected = Rle::pack(size, &runs).to_mask().expect("runs");
            let pixels = (0..frame.height).flat_map(|y| (0..frame.width).map(move |x| (x, y)));
            let differ = pixels.filter(|(x, y)| mask.contains(*x, *y) != expected.contains(*x, *y));
            assert!(expected.area() > 0);
            assert_eq!(
                differ.count(),
                0,
                "pixels of detection {i} of {}",
                self.name
            );
        }
    }

    pub fn assert_equals(&self, got: &[Detection]) {
        let name = &self.name;
        assert!(!self.expected.is_empty(), "{name} expects nothing");
        assert_eq!(got.len(), self.expected.len(), "detections of {name}");
        for (i, (got, expected)) in got.iter().zip(&self.expected).enumerate() {
            assert_eq!(
                got.category_id, expected.class,
                "class of detection {i} of {name}"
            );
            let off = (f64::from(got.score) - expected.score).abs();
            assert!(
                off <= SCORE,
                "score of detection {i} of {name} is off by {off}"
            );
            let r = &got.rect;
            let edges = [r.x, r.y, r.x + r.width, r.y + r.height];
            for (got, expected) in edges.iter().zip(&expected.edges) {
                let off = (f64::from(*got) - expected).abs();
                assert!(
                    off <= BOX_PX,
                    "box of detection {i} of {name} is off by {off} pixels"
                );
            }
        }
    }
}

impl Reference {
    pub fn case(&self, name: &str) -> &Case {
        let found = self.cases.iter().find(|case| case.name == name);
        found.unwrap_or_else(|| panic!("no case {name}"))
    }
}
