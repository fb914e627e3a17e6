//! The decoder of all formats.

use super::super::activation::{ScoreActivation, sigmoid};
use super::super::detection::{Detection, Keypoint};
use super::super::input_boxes::{InputBoxes, cells};
use super::super::instance_mask::Prototypes;
use super::super::predictions::{Predictions, RowLayout};
use super::super::selection::{Scores, Selection};
use super::params::{
    AnchorMapLayout, AnchorUnit, SizeCoding, YoloAnchorMap, YoloFormat, YoloParams, YoloTask,
};
use mobilens_image::{ImageFromModel, SizePx};
use std::sync::Arc;

/// Decodes the outputs of a YOLO. Owns its scratch memory: use one per worker.
#[derive(Clone, Debug)]
pub struct YoloDecoder {
    params: YoloParams,
    selection: Selection,
}

impl YoloDecoder {
    /// A decoder for one head.
    pub fn new(params: YoloParams) -> Self {
        let has_nms = !matches!(params.format, YoloFormat::EndToEnd { .. });
        Self {
            selection: Selection::new(
                params.classes.clone(),
                params.multi_label,
                has_nms.then_some(params.nms_iou),
                params.max_detections,
            ),
            params,
        }
    }

    /// What it was made with.
    pub fn params(&self) -> &YoloParams {
        &self.params
    }

    /// Decodes one frame. `outputs` are those that [`YoloFormat`] names, in its order; outputs that are
    /// missing or too short hold nothing; prototypes come last. The result is in pixels of a frame of `size`, best first, clipped
    /// to the frame.
    pub fn decode(
        &mut self,
        outputs: &[&[f32]],
        image_from_model: &ImageFromModel,
        size: SizePx,
    ) -> Vec<Detection> {
        self.selection.clear();
        let input = self.params.input;
        let to_image = InputBoxes::pixels(input, image_from_model);
        let classes = self.params.class_channels;
        let selection = &mut self.selection;
        match &self.params.format {
            YoloFormat::AnchorMaps { maps, .. } => {
                let mut first = 0;
                for (map, output) in maps.iter().zip(outputs) {
                    first += anchor_map(selection, &self.params, map, output, first, to_image);
                }
            }
            YoloFormat::Rows {
                objectness,
                layout,
                box_unit,
                activation,
            } => {
                let channels = 4 + usize::from(*objectness) + classes + self.params.task.channels();
                for output in outputs.iter().take(1) {
                    let rows = Predictions::new(output, channels, *layout);
                    let to_image = to_image.with_unit(*box_unit);
                    let scores = scores(rows, *objectness, classes, *activation);
                    selection.scan(&scores, 0, |row| {
                        let [cx, cy, w, h] = rows.values(row);
                        to_image.centre(cx, cy, w, h)
                    });
                }
            }
            YoloFormat::DistributionMaps {
                strides,
                bins,
                split,
                activation,
            } => {
                let mut first = 0;
                for (map, outputs) in strides
                    .iter()
                    .zip(outputs.chunks(if *split { 2 } else { 1 }))
                {
                    let (boxes, classes) = match outputs {
                        [boxes, scores] => (
                            Predictions::new(boxes, 4 * bins, RowLayout::ChannelsFirst),
                            Predictions::new(scores, classes, RowLayout::ChannelsFirst),
                        ),
                        [both] if !split => {
                            let channels = 4 * bins + classes;
                            let both = Predictions::new(both, channels, RowLayout::ChannelsFirst);
                            (both, both.channels_from(4 * bins))
                        }
                        _ => break,
                    };
                    let scores = Scores {
                        classes: classes.first_rows(boxes.rows()),
                        objectness: None,
                        activation: *activation,
                        labels: classes.channels(),
                    };
                    let (_, columns) = cells(input, *map);
                    let stride = *map as f32;
                    selection.scan(&scores, first, |row| {
                        let side = |i: usize| boxes.expectation(row, i * bins, *bins);
                        let cx = (row % columns) as f32 + 0.5;
                        let cy = (row / columns) as f32 + 0.5;
                        to_image.corners(
                            (cx - side(0)) * stride,
                            (cy - side(1)) * stride,
                            (cx + side(2)) * stride,
                            (cy + side(3)) * stride,
                        )
                    });
                    first += boxes.rows();
                }
            }
            YoloFormat::GridRows {
                strides,
                activation,
            } => {
                for output in outputs.iter().take(1) {
                    let all = Predictions::new(output, 5 + classes, RowLayout::RowsFirst);
                    let mut first = 0;
                    for stride in strides {
                        let (rows, columns) = cells(input, *stride);
                        let map = all.rows_from(first).first_rows(rows * columns);
                        let stride = *stride as f32;
                        selection.scan(&scores(map, true, classes, *activation), first, |row| {
                            let [x, y, w, h] = map.values(row);
                            to_image.centre(
                                (x + (row % columns) as f32) * stride,
                                (y + (row / columns) as f32) * stride,
                                w.exp() * stride,
                                h.exp() * stride,
                            )
                        });
                        first += rows * columns;
                    }
                }
            }
            YoloFormat::EndToEnd { box_unit } => {
                for output in outputs.iter().take(1) {
                    let channels = 6 + self.params.task.channels();
                    end_to_end(selection, output, channels, to_image.with_unit(*box_unit));
                }
            }
        }
        if self.params.task == YoloTask::Detect {
            return self.selection.finish(size);
        }
        let mut found = self.selection.finish_with_anchors(size);
        self.params.finish_task(&mut found, outputs, to_image, size);
        found.into_iter().map(|(detection, _)| detection).collect()
    }
}

impl YoloParams {
    /// Adds keypoints or masks to detections, each with the number of its row.
    fn finish_task(
        &self,
        found: &mut [(Detection, usize)],
        outputs: &[&[f32]],
        to_image: InputBoxes<'_>,
        size: SizePx,
    ) {
        let Some(rows) = outputs.first() else { return };
        let behind = self.task.channels();
        let (first, layout, box_unit, activation) = match &self.format {
            YoloFormat::Rows {
                objectness,
                layout,
                box_unit,
                activation,
            } => {
                let first = 4 + usize::from(*objectness) + self.class_channels;
                (first, *layout, *box_unit, *activation)
            }
            YoloFormat::EndToEnd { box_unit } => {
                (6, RowLayout::RowsFirst, *box_unit, ScoreActivation::None)
            }
            _ => return,
        };
        let tail = Predictions::new(rows, first + behind, layout).channels_from(first);
        let boxes = to_image.with_unit(box_unit);
        match self.task {
            YoloTask::Detect => {}
            YoloTask::Pose { count, values } => {
                for (detection, row) in found {
                    let points = (0..count).map(|i| {
                        let at = |value| tail.at(*row, i * values + value);
                        let [x, y] = boxes.point(at(0), at(1));
                        let score = match (values, activation) {
                            (..3, _) => 1.0,
                            (_, ScoreActivation::None) => at(2),
                            _ => sigmoid(at(2)),
                        };
                        Keypoint { x, y, score }
                    });
                    detection.set_keypoints(points.collect());
                }
            }
            YoloTask::Segment { grid, .. } => {
                let prototypes = outputs.get(1);
                let Some(prototypes) = prototypes.and_then(|data| Prototypes::new(data, grid))
                else {
                    return;
                };
                for (detection, row) in found {
                    let coefficients: Vec<f32> = (0..behind).map(|i| tail.at(*row, i)).collect();
                    let transform = to_image.transform();
                    let mask = prototypes.mask(&coefficients, &detection.rect, transform, size);
                    detection.mask = mask.map(Arc::new);
                }
            }
        }
    }
}

/// The scores behind the four box channels of rows.
fn scores(
    rows: Predictions<'_>,
    objectness: bool,
    classes: usize,
    activation: ScoreActivation,
) -> Scores<'_> {
    let rest = rows.channels_from(4 + usize::from(objectness));
    let classes = rest.first_channels(classes);
    Scores {
        classes,
        labels: classes.channels(),
        objectness: objectness.then(|| rows.channels_from(4).first_channels(1)),
        activation,
    }
}

/// Adds the candidates of one raw map at anchors, of which the first has the number `first`; how many
/// predictions it has.
fn anchor_map(
    selection: &mut Selection,
    params: &YoloParams,
    map: &YoloAnchorMap,
    output: &[f32],
    first: usize,
    to_image: InputBoxes<'_>,
) -> usize {
    let YoloFormat::AnchorMaps {
        anchor_unit,
        size_coding,
        scale_xy,
        activation,
        layout,
        ..
    } = &params.format
    else {
        return 0;
    };
    let (rows, columns) = cells(params.input, map.stride);
    let (cells, channels) = (rows * columns, 5 + params.class_channels);
    let (anchor_stride, cell_stride, channel_stride) = match layout {
        AnchorMapLayout::ChannelsFirst => (channels * cells, 1, cells),
        AnchorMapLayout::ChannelsLast => (channels, map.anchors.len() * channels, 1),
        AnchorMapLayout::AnchorsFirst => (channels * cells, channels, 1),
    };
    let stride = map.stride as f32;
    for (a, (anchor_w, anchor_h)) in map.anchors.iter().enumerate() {
        let Some(data) = output.get(a * anchor_stride..) else {
            break;
        };
        let of_anchor = Predictions::strided(data, cells, channels, cell_stride, channel_stride);
        let to_px = match anchor_unit {
            AnchorUnit::Pixels => 1.0,
            AnchorUnit::Cells => stride,
        };
        let centre = |t: f32| scale_xy * sigmoid(t) - (scale_xy - 1.0) / 2.0;
        let side = |t: f32, anchor: f32| match size_coding {
            SizeCoding::Exp => t.exp() * anchor * to_px,
            SizeCoding::SquaredSigmoid => (2.0 * sigmoid(t)).powi(2) * anchor * to_px,
        };
        let scores = scores(of_anchor, true, params.class_channels, *activation);
        selection.scan(&scores, first + a * cells, |row| {
            let [x, y, w, h] = finite(of_anchor.values(row));
            to_image.centre(
                (centre(x) + (row % columns) as f32) * stride,
                (centre(y) + (row / columns) as f32) * stride,
                side(w, *anchor_w),
                side(h, *anchor_h),
            )
        });
    }
    map.anchors.len() * cells
}

/// The values, or not a number where one is infinite: a sigmoid would hide it.
fn finite(values: [f32; 4]) -> [f32; 4] {
    values.map(|v| if v.is_finite() { v } else { f32::NAN })
}

/// Adds detections that the network has already selected.
fn end_to_end(
    selection: &mut Selection,
    output: &[f32],
    channels: usize,
    to_image: InputBoxes<'_>,
) {
    for (row, values) in output.chunks_exact(channels).enumerate() {
        let &[x0, y0, x1, y1, score, class, ..] = values else {
            continue;
        };
        // Classes are whole numbers as floats; -1 marks an empty row in some exports.
        if !(class > -0.5 && class < 1e6) {
            continue;
        }
        if let Some(wanted) = selection.class_of(class.round() as usize, score) {
            selection.push(wanted, score, to_image.corners(x0, y0, x1, y1), row);
        }
    }
}
