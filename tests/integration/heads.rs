//! Decoders of detection heads against an independent reference in float64 (`tests/heads/reference.py`), on
//! seeded raw outputs.

mod reference;

use reference::{Case, reference};

use std::fs;

use crate::support::file;
use mobilens::config;
use mobilens::postprocess::{
    Anchor, AnchorCoding, AnchorMapLayout, AnchorUnit, BoxCoding, BoxUnit, CenterNetCoding,
    CenterNetDecoder, CenterNetParams, DefaultBoxes, DetrDecoder, DetrParams, GflDecoder,
    GflOutputs, GflParams, MultiscaleAnchors, RetinaFaceDecoder, RetinaFaceParams, RowLayout,
    ScoreActivation, SizeCoding, SsdAnchors, SsdBoxes, SsdDecoder, SsdNms, SsdParams,
    YoloAnchorMap, YoloDecoder, YoloFormat, YoloParams, YoloTask, detr_class_channels,
    fixed_anchors,
};

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
fn ssd_and_blazeface_equal_the_reference() {
    use ScoreActivation::{None as Scores, Sigmoid, Softmax};
    let reference = reference();
    let many = 1_000_000;
    let fpn_lite = MultiscaleAnchors {
        min_level: 3,
        max_level: 6,
        anchor_scale: 4.0,
        scales_per_octave: 2,
        aspect_ratios: vec![1.0, 2.0, 0.5],
    };
    let torchvision = DefaultBoxes {
        feature_maps: vec![4, 2, 1],
        min_ratio: 0.2,
        max_ratio: 0.95,
        aspect_ratios: vec![vec![2.0, 3.0]; 3],
    };
    let input = reference.input;
    let list = |anchors: Vec<Anchor>| SsdAnchors::List(anchors.into());
    let sides = [input.height, input.width, input.height, input.width].map(|side| side as f32);
    let (of_tensorflow, one) = ([10.0, 10.0, 5.0, 5.0], [1.0; 4]);
    let largest = Some((1000.0_f32 / 16.0).ln());
    for (name, anchors, divisors, activation, nms) in [
        (
            "ssd_fpn_lite",
            list(fpn_lite.anchors(input, many)),
            of_tensorflow,
            Sigmoid,
            SsdNms::ClassWise,
        ),
        (
            "ssd_torchvision",
            list(torchvision.anchors(many)),
            of_tensorflow,
            Softmax,
            SsdNms::ClassWise,
        ),
        (
            "ssd_anchor_list",
            SsdAnchors::Output(AnchorCoding::Centers),
            one,
            Scores,
            SsdNms::ClassAgnostic,
        ),
        (
            "blazeface",
            list(fixed_anchors(input, &[16, 32], &[2, 3], many)),
            sides,
            Sigmoid,
            SsdNms::Weighted,
        ),
    ] {
        let case = reference.case(name);
        let is_blazeface = name == "blazeface";
        let is_torchvision = name == "ssd_torchvision";
        let first_label = usize::from(!is_blazeface);
        let channels = case.shapes[1][2];
        let [y, x, h, w] = divisors;
        let mut decoder = SsdDecoder::new(SsdParams {
            anchors,
            boxes: SsdBoxes {
                coding: BoxCoding { y, x, h, w },
                x_first: is_blazeface || is_torchvision,
                linear_sizes: is_blazeface,
                max_log_size: largest.filter(|_| is_torchvision),
                clip: is_torchvision,
                keypoints: if is_blazeface { 3 } else { 0 },
            },
            activation,
            channels,
            first_label,
            maps: if is_blazeface { 2 } else { 1 },
            classes: case.classes(channels).split_off(first_label),
            nms,
            nms_iou: case.nms_iou,
            candidates_per_class: is_torchvision.then_some(6),
            max_detections: case.max_detections,
        });
        let (to_frame, frame) = (&reference.image_from_model, reference.frame);
        let got = decoder.decode(&case.views(), to_frame, frame);
        if is_blazeface {
            case.assert_equals_keypoints(&got);
        } else {
            case.assert_equals(&got);
        }
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
const HEADS: [&str; 17] = [
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
    "yolo: { outputs: [a], kpt_shape: [17, 3], format: { rows: { objectness: false, layout: channels_first } }, \
     nms_iou: 0.7, max_detections: 300 }",
    "yolo: { outputs: [a], prototypes: b, format: { end_to_end: }, max_detections: 300 }",
    "segment: { output: a, values: class_ids }",
    "segment: { output: a, values: probabilities, layout: channels_last, threshold: 0.4, align_corners: true }",
    "ssd: { boxes: a, scores: b, multiscale_anchors: { min_level: 3, max_level: 7, anchor_scale: 4, \
     scales_per_octave: 2, aspect_ratios: [1, 2, 0.5] }, box_coding: { y: 1, x: 1, h: 1, w: 1 }, activation: sigmoid, \
     background: true, nms_iou: 0.6, max_detections: 100 }",
    "ssd: { boxes: a, scores: b, default_boxes: { feature_maps: [20, 10, 5, 3, 2, 1], min_ratio: 0.2, max_ratio: \
     0.95, aspect_ratios: [[2, 3], [2, 3], [2, 3], [2, 3], [2, 3], [2, 3]] }, box_coding: { y: 10, x: 10, h: 5, w: 5 }, \
     box_order: xywh, max_log_size: 4.135, clip_to_input: true, activation: softmax, background: true, nms_iou: 0.55, \
     candidates_per_class: 300, max_detections: 300 }",
    "ssd: { boxes: a, scores: b, further_maps: [{ boxes: c, scores: d }], fixed_anchors: { strides: [8, 16], \
     per_cell: [2, 6] }, box_coding: { y: 128, x: 128, h: 128, w: 128 }, box_order: xywh, size_coding: linear, \
     keypoints: 6, activation: sigmoid, background: false, nms: weighted, nms_iou: 0.3, max_detections: 100 }",
];

/// Heads that are wrong, and what is said of each.
const WRONG_HEADS: [(&str, &str); 7] = [
    (
        "yolo: { outputs: [a], kpt_shape: [17, 4], format: { end_to_end: }, max_detections: 300 }",
        "values of each, 2 or 3",
    ),
    (
        "yolo: { outputs: [a], kpt_shape: [17, 3], prototypes: b, format: { end_to_end: }, max_detections: 300 }",
        "expected one of `kpt_shape` and `prototypes`; got both",
    ),
    (
        "yolo: { outputs: [a], prototypes: b, format: { grid_rows: { strides: [8] } }, nms_iou: 0.5, max_detections: 9 }",
        "only valid with the formats `rows` and `end_to_end`",
    ),
    ("segment: { output: a, values: argmax }", "class_ids"),
    (
        "ssd: { boxes: a, scores: b, box_coding: { y: 1, x: 1, h: 1, w: 1 }, activation: sigmoid, background: true, \
         nms_iou: 0.6, max_detections: 100 }",
        "missing anchors; expected one of `anchors`",
    ),
    (
        "ssd: { boxes: a, scores: b, fixed_anchors: { strides: [8], per_cell: [2, 6] }, box_coding: { y: 1, x: 1, \
         h: 1, w: 1 }, activation: sigmoid, background: true, nms_iou: 0.6, max_detections: 100 }",
        "expected one number for each of 1 strides; got 2",
    ),
    (
        "ssd: { boxes: a, scores: b, anchor_list: { output: c, file: d.txt, coding: corners }, box_coding: { y: 1, \
         x: 1, h: 1, w: 1 }, activation: sigmoid, background: true, nms_iou: 0.6, max_detections: 100 }",
        "expected one of `output`, `initializer` and `file`; got 2 of them",
    ),
];

fn card_of(head: &str) -> String {
    format!(
        "name: any\nfile: {:?}\ninput: {{ width_px: 16, height_px: 16, mean: [0, 0, 0], std: [1, 1, 1] }}\n\
         head: {{ {head} }}\nlabels: [{{ id: 1, name: face }}]\n",
        file("tests/data/tiny/tiny.onnx")
    )
}

#[test]
fn a_card_that_contradicts_itself_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("card.yaml");
    for (head, expected) in WRONG_HEADS {
        fs::write(&path, card_of(head)).expect("writable");
        let errors = config::load_card(&path).expect_err(head).to_string();
        assert!(errors.contains(expected), "{head}: {errors}");
        assert_eq!(errors.trim().lines().count(), 1, "{errors}");
    }
}

#[test]
fn a_card_describes_each_head() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("card.yaml");
    for head in HEADS {
        fs::write(&path, card_of(head)).expect("writable");
        config::load_card(&path).unwrap_or_else(|errors| panic!("{head}: {errors}"));
    }
}
