//! Decoders of detection heads against an independent reference in float64 (`tests/heads/reference.py`), on
//! seeded raw outputs.

use std::fs;

use serde_json::Value;

use crate::support::file;
use mobilens::config;
use mobilens::postprocess::{
    AnchorMapLayout, AnchorUnit, BoxUnit, CenterNetCoding, CenterNetDecoder, CenterNetParams,
    Detection, DetrDecoder, DetrParams, GflDecoder, GflOutputs, GflParams, RetinaFaceDecoder,
    RetinaFaceParams, RowLayout, ScoreActivation, SizeCoding, WantedClass, YoloAnchorMap,
    YoloDecoder, YoloFormat, YoloParams, YoloTask, detr_class_channels,
};
use mobilens::records::Rle;
use mobilens_image::{ImageFromModel, SizePx};

/// Largest difference of a box's edges, in pixels of the frame.
const BOX_PX: f64 = 0.01;
/// Largest difference of a score.
const SCORE: f64 = 1e-5;

/// The cases of `index.json`, and what they share.
struct Reference {
    input: SizePx,
    frame: SizePx,
    image_from_model: ImageFromModel,
    classes: usize,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    shapes: Vec<Vec<usize>>,
    outputs: Vec<Vec<f32>>,
    score_threshold: f32,
    /// 0 where there is no NMS.
    nms_iou: f32,
    multi_label: bool,
    max_detections: usize,
    expected: Vec<Expected>,
}

struct Expected {
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

fn reference() -> Reference {
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
    fn classes(&self, count: usize) -> Vec<WantedClass> {
        let wanted = |channel: usize| WantedClass {
            channel,
            category_id: channel as u32,
            score_threshold: self.score_threshold,
        };
        (0..count).map(wanted).collect()
    }

    fn views(&self) -> Vec<&[f32]> {
        self.outputs.iter().map(Vec::as_slice).collect()
    }

    fn shape_views(&self) -> Vec<&[usize]> {
        self.shapes.iter().map(Vec::as_slice).collect()
    }

    fn assert_equals_keypoints(&self, got: &[Detection]) {
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

    fn assert_equals_masks(&self, got: &[Detection], frame: SizePx) {
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

    fn assert_equals(&self, got: &[Detection]) {
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
    fn case(&self, name: &str) -> &Case {
        let found = self.cases.iter().find(|case| case.name == name);
        found.unwrap_or_else(|| panic!("no case {name}"))
    }
}

/// The format of a YOLO case.
fn yolo_format(name: &str) -> Option<YoloFormat> {
    use ScoreActivation::{None as Scores, Sigmoid, Softmax};
    let pixels = [
        (8, [(10.0, 13.0), (16.0, 30.0), (33.0, 23.0)]),
        (16, [(30.0, 61.0), (62.0, 45.0), (59.0, 40.0)]),
        (32, [(80.0, 50.0), (60.0, 60.0), (90.0, 60.0)]),
    ];
    let maps = |first: usize, size_coding, scale_xy, layout| YoloFormat::AnchorMaps {
        maps: pixels[first..]
            .iter()
            .map(|(stride, anchors)| YoloAnchorMap {
                stride: *stride,
                anchors: anchors.to_vec(),
            })
            .collect(),
        anchor_unit: AnchorUnit::Pixels,
        size_coding,
        scale_xy,
        activation: Sigmoid,
        layout,
    };
    let rows = |objectness, layout, box_unit, activation| YoloFormat::Rows {
        objectness,
        layout,
        box_unit,
        activation,
    };
    let distributions = |strides: &[u32], bins, split| YoloFormat::DistributionMaps {
        strides: strides.to_vec(),
        bins,
        split,
        activation: Sigmoid,
    };
    let (exp, squared) = (SizeCoding::Exp, SizeCoding::SquaredSigmoid);
    let (in_pixels, in_shares) = (BoxUnit::Pixels, BoxUnit::Normalized);
    let (rows_first, channels_first) = (RowLayout::RowsFirst, RowLayout::ChannelsFirst);
    Some(match name {
        "yolov2" => YoloFormat::AnchorMaps {
            maps: vec![YoloAnchorMap {
                stride: 32,
                anchors: vec![
                    (0.57273, 0.677_385),
                    (1.87446, 2.06253),
                    (1.33221, 1.0),
                    (2.2, 1.3),
                    (0.9, 1.8),
                ],
            }],
            anchor_unit: AnchorUnit::Cells,
            size_coding: exp,
            scale_xy: 1.0,
            activation: Softmax,
            layout: AnchorMapLayout::ChannelsFirst,
        },
        "yolov3" => maps(0, exp, 1.0, AnchorMapLayout::ChannelsFirst),
        "yolov3_channels_last" => maps(1, exp, 1.0, AnchorMapLayout::ChannelsLast),
        "yolov4" => maps(1, exp, 1.1, AnchorMapLayout::ChannelsFirst),
        "yolov5_raw" => maps(0, squared, 2.0, AnchorMapLayout::AnchorsFirst),
        "yolov7_raw" => maps(1, squared, 2.0, AnchorMapLayout::ChannelsFirst),
        "yolov5_rows" | "yolov5_rows_best_label" => rows(true, rows_first, in_pixels, Scores),
        "yolov8" | "yolov8_best_label" => rows(false, channels_first, in_pixels, Scores),
        "yolov8_transposed" => rows(false, rows_first, in_shares, Sigmoid),
        "yolov8_raw" => distributions(&[8, 16, 32], 16, false),
        "yolov6_raw" => distributions(&[16, 32], 17, true),
        "distances_raw" => distributions(&[16, 32], 1, false),
        "yolox" => YoloFormat::GridRows {
            strides: vec![8, 16, 32],
            activation: Scores,
        },
        "yolov8_pose" | "yolov8_seg" => rows(false, channels_first, in_pixels, Scores),
        "yolov5_seg" => rows(true, rows_first, in_pixels, Scores),
        "yolov10" | "pose_end_to_end" => YoloFormat::EndToEnd {
            box_unit: in_pixels,
        },
        _ => return None,
    })
}

/// What the rows of a YOLO case hold behind the classes.
fn yolo_task(case: &Case) -> YoloTask {
    let pose = |values| YoloTask::Pose { count: 4, values };
    match case.name.as_str() {
        "yolov8_pose" => pose(3),
        "pose_end_to_end" => pose(2),
        "yolov8_seg" | "yolov5_seg" => {
            YoloTask::with_prototypes(&case.shapes[1]).expect("prototypes")
        }
        _ => YoloTask::Detect,
    }
}

#[test]
fn yolo_equals_the_reference() {
    let reference = reference();
    let mut compared = 0;
    for case in &reference.cases {
        let Some(format) = yolo_format(&case.name) else {
            continue;
        };
        let task = yolo_task(case);
        let outputs = format.output_count();
        let class_channels = format
            .class_channels_of(&case.shape_views()[..outputs], reference.input, task)
            .unwrap_or_else(|why| panic!("{}: {why}", case.name));
        let mut decoder = YoloDecoder::new(YoloParams {
            input: reference.input,
            format,
            task,
            class_channels,
            classes: case.classes(reference.classes),
            multi_label: case.multi_label,
            nms_iou: case.nms_iou,
            max_detections: case.max_detections,
        });
        let got = decoder.decode(&case.views(), &reference.image_from_model, reference.frame);
        match task {
            YoloTask::Detect => case.assert_equals(&got),
            YoloTask::Pose { .. } => case.assert_equals_keypoints(&got),
            YoloTask::Segment { .. } => case.assert_equals_masks(&got, reference.frame),
        }
        compared += 1;
    }
    assert_eq!(compared, 20);
}

#[test]
fn gfl_equals_the_reference() {
    let reference = reference();
    let few: &[u32] = &[16, 32];
    let (rows, channels) = (RowLayout::RowsFirst, RowLayout::ChannelsFirst);
    let (scores, logits) = (ScoreActivation::None, ScoreActivation::Sigmoid);
    let (joined, split) = (GflOutputs::Joined, GflOutputs::Split);
    for (name, strides, bins, cell_offset, outputs, layout, activation, clip_to_input) in [
        ("nanodet", few, 8, 0.5, split, rows, scores, true),
        (
            "nanodet_plus",
            &[8, 16, 32, 64],
            8,
            0.0,
            joined,
            rows,
            scores,
            true,
        ),
        ("picodet", &[16, 32, 64], 8, 0.5, split, rows, scores, false),
        ("gfl_maps", few, 17, 0.5, split, channels, logits, true),
    ] {
        let case = reference.case(name);
        let mut params = GflParams {
            input: reference.input,
            strides: strides.to_vec(),
            bins,
            cell_offset,
            outputs,
            layout,
            activation,
            class_channels: 0,
            clip_to_input,
            classes: case.classes(reference.classes),
            nms_iou: case.nms_iou,
            max_detections: case.max_detections,
        };
        let class_channels = params.class_channels_of(&case.shape_views());
        params.class_channels = class_channels.unwrap_or_else(|why| panic!("{name}: {why}"));
        let mut decoder = GflDecoder::new(params);
        case.assert_equals(&decoder.decode(
            &case.views(),
            &reference.image_from_model,
            reference.frame,
        ));
    }
}

#[test]
fn centernet_and_centerface_equal_the_reference() {
    let reference = reference();
    for (name, coding, activation, nms, classes) in [
        (
            "centernet",
            CenterNetCoding::CenterNet,
            ScoreActivation::Sigmoid,
            false,
            3,
        ),
        (
            "centerface",
            CenterNetCoding::CenterFace,
            ScoreActivation::None,
            true,
            1,
        ),
    ] {
        let case = reference.case(name);
        let params = CenterNetParams {
            input: reference.input,
            stride: 4,
            coding,
            activation,
            classes: case.classes(classes),
            nms_iou: nms.then_some(case.nms_iou),
            max_detections: case.max_detections,
        };
        assert_eq!(params.class_channels_of(&case.shape_views()), Ok(classes));
        let mut decoder = CenterNetDecoder::new(params);
        let (to_frame, frame) = (&reference.image_from_model, reference.frame);
        case.assert_equals_keypoints(&decoder.decode(&case.views(), to_frame, frame));
    }
}

#[test]
fn retinaface_equals_the_reference() {
    let reference = reference();
    let case = reference.case("retinaface");
    let params = RetinaFaceParams {
        input: reference.input,
        strides: vec![8, 16, 32],
        prior_sizes_px: vec![vec![4.0, 8.0], vec![16.0, 32.0], vec![64.0, 128.0]],
        variances: (0.1, 0.2),
        activation: ScoreActivation::Softmax,
        class_channels: 2,
        classes: case.classes(2).split_off(1),
        nms_iou: case.nms_iou,
        max_detections: case.max_detections,
    };
    assert_eq!(params.class_channels_of(&case.shape_views()), Ok(2));
    let mut decoder = RetinaFaceDecoder::new(params);
    let (to_frame, frame) = (&reference.image_from_model, reference.frame);
    case.assert_equals_keypoints(&decoder.decode(&case.views(), to_frame, frame));
}

#[test]
fn detr_equals_the_reference() {
    let reference = reference();
    for (name, activation) in [
        ("rtdetr", ScoreActivation::Sigmoid),
        ("detr", ScoreActivation::Softmax),
    ] {
        let case = reference.case(name);
        let class_channels = detr_class_channels(&case.shape_views());
        let mut decoder = DetrDecoder::new(DetrParams {
            activation,
            class_channels: class_channels.unwrap_or_else(|why| panic!("{name}: {why}")),
            classes: case.classes(reference.classes),
            max_detections: case.max_detections,
        });
        case.assert_equals(&decoder.decode(
            &case.views(),
            &reference.image_from_model,
            reference.frame,
        ));
    }
}

/// A head for each kind and format, as a card has it.
const HEADS: [&str; 10] = [
    "yolo: { outputs: [a], format: { rows: { objectness: false, layout: channels_first } }, nms_iou: 0.45, \
     max_detections: 300 }",
    "yolo: { outputs: [a], format: { end_to_end: }, max_detections: 300 }",
    "yolo: { outputs: [a], format: { grid_rows: { strides: [8, 16] } }, nms_iou: 0.45, max_detections: 300 }",
    "yolo: { outputs: [a, b], format: { anchor_maps: { maps: [{ stride: 8, anchors: [[10, 13]] }, { stride: 16, \
     anchors: [[16, 30], [33, 23.5]] }], size_coding: squared_sigmoid, scale_xy: 2, activation: sigmoid } }, \
     multi_label: true, nms_iou: 0.45, max_detections: 300 }",
    "yolo: { outputs: [a, b, c, d], format: { distribution_maps: { strides: [8, 16], bins: 17, split: true } }, \
     nms_iou: 0.45, max_detections: 300 }",
    "gfl: { outputs: [a], joined: true, strides: [8, 16, 32, 64], bins: 8, cell_offset: 0, nms_iou: 0.6, \
     max_detections: 100 }",
    "centernet: { heatmap: '537', size: '538', offset: '539', landmarks: '540', coding: centerface, nms_iou: 0.3, \
     max_detections: 100 }",
    "centernet: { heatmap: a, size: b, offset: c, coding: centernet, activation: sigmoid, max_detections: 100 }",
    "retinaface: { boxes: a, scores: b, strides: [8, 16, 32], prior_sizes_px: [[16, 32], [64, 128], [256, 512]], \
     variances: [0.1, 0.2], activation: none, nms_iou: 0.4, max_detections: 100 }",
    "detr: { logits: a, boxes: b, activation: sigmoid, max_detections: 300 }",
];

#[test]
fn a_card_describes_each_head() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("card.yaml");
    for head in HEADS {
        let card = format!(
            "name: any\nfile: {:?}\ninput: {{ width_px: 16, height_px: 16, mean: [0, 0, 0], std: [1, 1, 1] }}\n\
             head: {{ {head} }}\nlabels: [{{ id: 1, name: face }}]\n",
            file("tests/data/tiny/tiny.onnx")
        );
        fs::write(&path, card).expect("writable");
        config::load_card(&path).unwrap_or_else(|errors| panic!("{head}: {errors}"));
    }
}
