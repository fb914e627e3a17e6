//! Edge cases; boxes and scores are held to an independent reference in `tests/integration/heads.rs`.

use super::super::activation::ScoreActivation;
use super::super::input_boxes::BoxUnit;
use super::super::predictions::RowLayout;
use super::super::selection::WantedClass;
use super::*;
use crate::postprocess::Detection;
use mobilens_image::{ImageFromModel, SizePx};

const INPUT: SizePx = SizePx {
    width: 64,
    height: 32,
};

fn formats() -> Vec<YoloFormat> {
    let maps = || {
        [8, 16].map(|stride| YoloAnchorMap {
            stride,
            anchors: vec![(10.0, 12.0), (20.0, 9.0)],
        })
    };
    let anchors = |size_coding, activation, layout| YoloFormat::AnchorMaps {
        maps: maps().to_vec(),
        anchor_unit: AnchorUnit::Pixels,
        size_coding,
        scale_xy: 2.0,
        activation,
        layout,
    };
    let rows = |objectness, layout| YoloFormat::Rows {
        objectness,
        layout,
        box_unit: BoxUnit::Pixels,
        activation: ScoreActivation::None,
    };
    let distribution = |split| YoloFormat::DistributionMaps {
        strides: vec![8, 16],
        bins: 4,
        split,
        activation: ScoreActivation::Sigmoid,
    };
    vec![
        anchors(
            SizeCoding::Exp,
            ScoreActivation::Softmax,
            AnchorMapLayout::ChannelsFirst,
        ),
        anchors(
            SizeCoding::SquaredSigmoid,
            ScoreActivation::Sigmoid,
            AnchorMapLayout::ChannelsLast,
        ),
        anchors(
            SizeCoding::SquaredSigmoid,
            ScoreActivation::Sigmoid,
            AnchorMapLayout::AnchorsFirst,
        ),
        rows(true, RowLayout::RowsFirst),
        rows(false, RowLayout::ChannelsFirst),
        rows(false, RowLayout::RowsFirst),
        distribution(false),
        distribution(true),
        YoloFormat::GridRows {
            strides: vec![8, 16],
            activation: ScoreActivation::None,
        },
        YoloFormat::EndToEnd {
            box_unit: BoxUnit::Pixels,
        },
    ]
}

/// Shapes of the outputs with two classes.
fn shapes(format: &YoloFormat) -> Vec<Vec<usize>> {
    match format {
        YoloFormat::AnchorMaps { layout, .. } => match layout {
            AnchorMapLayout::ChannelsFirst => vec![vec![1, 14, 4, 8], vec![1, 14, 2, 4]],
            AnchorMapLayout::ChannelsLast => vec![vec![1, 4, 8, 14], vec![1, 2, 4, 2, 7]],
            AnchorMapLayout::AnchorsFirst => vec![vec![1, 2, 4, 8, 7], vec![1, 2, 2, 4, 7]],
        },
        YoloFormat::Rows {
            objectness: true, ..
        } => vec![vec![1, 40, 7]],
        YoloFormat::Rows {
            layout: RowLayout::RowsFirst,
            ..
        } => vec![vec![1, 40, 6]],
        YoloFormat::Rows { .. } => vec![vec![1, 6, 40]],
        YoloFormat::DistributionMaps { split: true, .. } => vec![
            vec![1, 16, 4, 8],
            vec![1, 2, 4, 8],
            vec![1, 16, 2, 4],
            vec![1, 2, 2, 4],
        ],
        YoloFormat::DistributionMaps { .. } => vec![vec![1, 18, 4, 8], vec![1, 18, 2, 4]],
        YoloFormat::GridRows { .. } => vec![vec![1, 40, 7]],
        YoloFormat::EndToEnd { .. } => vec![vec![1, 10, 6]],
    }
}

fn decoder(format: YoloFormat, score_threshold: f32) -> YoloDecoder {
    YoloDecoder::new(YoloParams {
        input: INPUT,
        format,
        task: YoloTask::Detect,
        class_channels: 2,
        classes: [0, 1]
            .map(|channel| WantedClass {
                channel,
                category_id: channel as u32,
                score_threshold,
            })
            .to_vec(),
        multi_label: true,
        nms_iou: 0.5,
        max_detections: 20,
    })
}

fn decode_constant(format: YoloFormat, value: f32, threshold: f32) -> Vec<Detection> {
    let outputs: Vec<Vec<f32>> = shapes(&format)
        .iter()
        .map(|shape| vec![value; shape.iter().product()])
        .collect();
    let outputs: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
    decoder(format, threshold).decode(&outputs, &ImageFromModel::stretch(INPUT), INPUT)
}

#[test]
fn the_shapes_tell_the_number_of_classes() {
    for format in formats() {
        let shapes = shapes(&format);
        let views: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        let expected = if matches!(format, YoloFormat::EndToEnd { .. }) {
            0
        } else {
            2
        };
        assert_eq!(format.class_channels(&views, INPUT), Ok(expected));
        assert!(format.class_channels(&views[1..], INPUT).is_err());
        let mut wrong = views.clone();
        wrong[0] = &[1, 3, 3, 4];
        assert!(
            format.class_channels(&wrong, INPUT).is_err(),
            "{format:?} takes [1, 3, 3, 4]"
        );
    }
}

#[test]
fn values_that_are_not_finite_give_no_detection() {
    for format in formats() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let got = decode_constant(format.clone(), value, 0.001);
            assert!(got.iter().all(|d| d.score.is_finite()), "{got:?}");
            if !value.is_finite() {
                assert_eq!(got, [], "{format:?} with {value}");
            }
        }
    }
}

#[test]
fn one_infinite_coordinate_gives_no_detection() {
    for format in formats() {
        let mut outputs: Vec<Vec<f32>> = shapes(&format)
            .iter()
            .map(|shape| vec![0.9; shape.iter().product()])
            .collect();
        // In each layout some of these are coordinates, some scores.
        for output in &mut outputs {
            for value in output.iter_mut().step_by(3) {
                *value = f32::INFINITY;
            }
        }
        let outputs: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
        let got = decoder(format, 0.01).decode(&outputs, &ImageFromModel::stretch(INPUT), INPUT);
        for d in got {
            let r = d.rect;
            assert!(
                [d.score, r.x, r.y, r.width, r.height]
                    .iter()
                    .all(|v| v.is_finite())
            );
        }
    }
}

#[test]
fn scores_below_the_threshold_and_no_outputs_give_no_detection() {
    for format in formats() {
        assert_eq!(decode_constant(format.clone(), -1.0, 0.5), []);
        let mut decoder = decoder(format, 0.5);
        let to_image = ImageFromModel::stretch(INPUT);
        assert_eq!(decoder.decode(&[], &to_image, INPUT), []);
    }
}

#[test]
fn objectness_alone_is_the_score_of_the_only_class() {
    let mut decoder = YoloDecoder::new(YoloParams {
        input: INPUT,
        format: YoloFormat::AnchorMaps {
            maps: vec![YoloAnchorMap {
                stride: 32,
                anchors: vec![(1.0, 0.5)],
            }],
            anchor_unit: AnchorUnit::Cells,
            size_coding: SizeCoding::Exp,
            scale_xy: 1.0,
            activation: ScoreActivation::Softmax,
            layout: AnchorMapLayout::ChannelsLast,
        },
        task: YoloTask::Detect,
        class_channels: 0,
        classes: vec![WantedClass {
            channel: 0,
            category_id: 7,
            score_threshold: 0.6,
        }],
        multi_label: false,
        nms_iou: 0.5,
        max_detections: 20,
    });
    // Two cells of 32 pixels; the second is an object.
    let output = [0.0, 0.0, 0.0, 0.0, -2.0, 0.0, 0.0, 0.0, 0.0, 2.0];
    let got = decoder.decode(&[&output], &ImageFromModel::stretch(INPUT), INPUT);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].category_id, 7);
    assert!((got[0].score - 0.880_797).abs() < 1e-6);
    let rect = got[0].rect;
    assert_eq!(
        (rect.x, rect.y, rect.width, rect.height),
        (32.0, 8.0, 32.0, 16.0)
    );
}

#[test]
fn a_box_has_its_best_label_or_several() {
    let format = YoloFormat::Rows {
        objectness: false,
        layout: RowLayout::RowsFirst,
        box_unit: BoxUnit::Normalized,
        activation: ScoreActivation::None,
    };
    let output = [0.5, 0.5, 0.5, 0.5, 0.7, 0.8];
    let mut several = decoder(format, 0.5);
    let to_image = ImageFromModel::stretch(INPUT);
    let got = several.decode(&[&output], &to_image, INPUT);
    assert_eq!(
        got.iter().map(|d| d.category_id).collect::<Vec<_>>(),
        [1, 0]
    );
    let mut best = YoloDecoder::new(YoloParams {
        multi_label: false,
        ..several.params().clone()
    });
    let got = best.decode(&[&output], &to_image, INPUT);
    assert_eq!(got.iter().map(|d| d.category_id).collect::<Vec<_>>(), [1]);
}

#[test]
fn empty_rows_of_an_end_to_end_network_are_left_out() {
    let format = YoloFormat::EndToEnd {
        box_unit: BoxUnit::Pixels,
    };
    let rows = [
        [4.0, 4.0, 20.0, 20.0, 0.9, 1.0],
        [4.0, 4.0, 20.0, 20.0, 0.8, 1.0], // no NMS
        [4.0, 4.0, 20.0, 20.0, 0.9, -1.0],
        [4.0, 4.0, 20.0, 20.0, 0.9, 5.0], // not wanted
        [20.0, 20.0, 4.0, 4.0, 0.9, 0.0], // inside out
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ];
    let got = decoder(format, 0.5).decode(
        &[rows.as_flattened()],
        &ImageFromModel::stretch(INPUT),
        INPUT,
    );
    assert_eq!(
        got.iter()
            .map(|d| (d.category_id, d.score))
            .collect::<Vec<_>>(),
        [(1, 0.9), (1, 0.8)]
    );
}
