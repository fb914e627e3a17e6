//! GFL decoder (NanoDet, PicoDet): class scores and distributions of distances to detections.
//!
//! Li et al., "Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for Dense Object
//! Detection", section 3.3; `NanoDetPlusHead` and `GFLHead` of RangiLyu/nanodet; `PicoHead` of
//! PaddleDetection. `C` is the number of classes, `R` that of bins ("reg_max + 1"), `N` that of the cells
//! of all strides.
//!
//! | [`GflOutputs`] | exports | outputs | values of a cell |
//! |---|---|---|---|
//! | `Joined` | NanoDet-Plus | one `[1, N, C+4*R]` | class scores, then `R` logits each for left, top, right, bottom |
//! | `Split` | NanoDet, PicoDet | for each stride `[1, h*w, C]`, then for each stride `[1, h*w, 4*R]` | class scores; the logits |
//! | `Split`, channels first | GFL | `[1, C, h, w]`, then `[1, 4*R, h, w]` | the same |
//!
//! A distance is the mean of its softmax over 0, 1, ... `R-1`, times the stride, from the point
//! `(column + offset, row + offset) * stride`: the offset is 0 in NanoDet-Plus, 1/2 in NanoDet and PicoDet.

use super::activation::ScoreActivation;
use super::detection::Detection;
use super::input_boxes::{InputBoxes, cells};
use super::predictions::{Predictions, RowLayout};
use super::selection::{Scores, Selection, WantedClass};
use mobilens_image::{ImageFromModel, SizePx};

/// Parameters of a [`GflDecoder`].
#[derive(Clone, Debug, PartialEq)]
pub struct GflParams {
    /// Size of the network's input.
    pub input: SizePx,
    /// Strides of the maps, in the order of the outputs.
    pub strides: Vec<u32>,
    /// Bins of a distribution ("reg_max + 1"); 1 for plain distances.
    pub bins: usize,
    /// The point of a cell that distances are measured from, in cells from its corner.
    pub cell_offset: f32,
    /// Number of outputs, and their order.
    pub outputs: GflOutputs,
    /// Order of the axes of each output.
    pub layout: RowLayout,
    /// Activation of the class scores that the network has not applied.
    pub activation: ScoreActivation,
    /// Number of class channels, wanted or not.
    pub class_channels: usize,
    /// Whether boxes are clipped to the input before NMS, as NanoDet and GFL do and PicoDet does not.
    pub clip_to_input: bool,
    /// The requested classes.
    pub classes: Vec<WantedClass>,
    /// IoU threshold of NMS.
    pub nms_iou: f32,
    /// Most detections per frame.
    pub max_detections: usize,
}

/// Outputs of a GFL head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GflOutputs {
    /// One output with the class scores and the distributions of all strides.
    Joined,
    /// The class scores of each stride, then the distributions of each stride.
    Split,
}

/// Decodes the outputs of NanoDet or PicoDet. Owns its scratch memory: use one per worker.
#[derive(Clone, Debug)]
pub struct GflDecoder {
    params: GflParams,
    selection: Selection,
}

impl GflDecoder {
    /// A decoder for one head.
    pub fn new(params: GflParams) -> Self {
        let (iou, most) = (Some(params.nms_iou), params.max_detections);
        Self {
            selection: Selection::new(params.classes.clone(), true, iou, most),
            params,
        }
    }

    /// Decodes one frame. `outputs` are those that [`GflOutputs`] names, in its order. The result is in
    /// pixels of a frame of `size`, best first, clipped to the frame.
    pub fn decode(
        &mut self,
        outputs: &[&[f32]],
        image_from_model: &ImageFromModel,
        size: SizePx,
    ) -> Vec<Detection> {
        self.selection.clear();
        let params = &self.params;
        let (of_class, of_box) = (params.class_channels, 4 * params.bins);
        let boxes = InputBoxes::pixels(params.input, image_from_model);
        let mut first = 0;
        for (i, &stride) in params.strides.iter().enumerate() {
            let (rows, columns) = cells(params.input, stride);
            let count = rows * columns;
            let (classes, distances) = match params.outputs {
                GflOutputs::Joined => {
                    let Some(output) = outputs.first() else { break };
                    let all = Predictions::new(output, of_class + of_box, params.layout);
                    let map = all.rows_from(first).first_rows(count);
                    (map.first_channels(of_class), map.channels_from(of_class))
                }
                GflOutputs::Split => {
                    let (scores, boxes) = (outputs.get(i), outputs.get(params.strides.len() + i));
                    let (Some(scores), Some(boxes)) = (scores, boxes) else {
                        break;
                    };
                    let distances = Predictions::new(boxes, of_box, params.layout);
                    let scores = Predictions::new(scores, of_class, params.layout);
                    (scores.first_rows(distances.rows().min(count)), distances)
                }
            };
            let scores = Scores {
                classes,
                objectness: None,
                activation: params.activation,
                labels: classes.channels(),
            };
            let stride = stride as f32;
            self.selection.scan(&scores, first, |row| {
                let distance = |i: usize| distances.expectation(row, i * params.bins, params.bins);
                let x = (row % columns) as f32 + params.cell_offset;
                let y = (row / columns) as f32 + params.cell_offset;
                let (x0, y0) = ((x - distance(0)) * stride, (y - distance(1)) * stride);
                let (x1, y1) = ((x + distance(2)) * stride, (y + distance(3)) * stride);
                if params.clip_to_input {
                    boxes.clipped_corners(x0, y0, x1, y1)
                } else {
                    boxes.corners(x0, y0, x1, y1)
                }
            });
            first += count;
        }
        self.selection.finish(size)
    }
}

impl GflParams {
    /// Number of outputs.
    pub fn output_count(&self) -> usize {
        match self.outputs {
            GflOutputs::Joined => 1,
            GflOutputs::Split => 2 * self.strides.len(),
        }
    }

    /// Number of class channels of a network whose outputs have these shapes, in their order.
    ///
    /// # Errors
    /// What is expected instead, where the shapes are not those of these parameters.
    pub fn class_channels_of(&self, shapes: &[&[usize]]) -> Result<usize, String> {
        let expected = self.output_count();
        if shapes.len() != expected {
            return Err(format!("{} outputs; expected {expected}", shapes.len()));
        }
        let counts = self.strides.iter().map(|stride| {
            let (h, w) = cells(self.input, *stride);
            h * w
        });
        let counts: Vec<usize> = counts.collect();
        let of_box = 4 * self.bins;
        let channels = |i: usize, count: usize| {
            let shape = shapes[i];
            let found = match (self.layout, shape) {
                (RowLayout::RowsFirst, &[1, rows, channels])
                | (RowLayout::ChannelsFirst, &[1, channels, rows]) => (rows, channels),
                (RowLayout::RowsFirst, &[1, h, w, channels])
                | (RowLayout::ChannelsFirst, &[1, channels, h, w]) => (h * w, channels),
                _ => (0, 0),
            };
            match found {
                (rows, channels) if rows == count => Ok(channels),
                _ => Err(format!(
                    "the shape of output {i} is {shape:?}; expected {}",
                    match self.layout {
                        RowLayout::RowsFirst => format!("[1, {count}, channels]"),
                        RowLayout::ChannelsFirst => format!("[1, channels, {count}]"),
                    }
                )),
            }
        };
        if self.outputs == GflOutputs::Joined {
            let all = channels(0, counts.iter().sum())?;
            let classes = all.checked_sub(of_box).filter(|classes| *classes > 0);
            return classes
                .ok_or_else(|| format!("{all} channels; expected C classes + {of_box} of boxes"));
        }
        let mut classes = None;
        for (i, count) in counts.iter().enumerate() {
            let here = channels(i, *count)?;
            let known = *classes.get_or_insert(here);
            if here != known || here == 0 {
                return Err(format!(
                    "output {i} has {here} channels; expected {} classes",
                    known.max(1)
                ));
            }
            let j = counts.len() + i;
            let here = channels(j, *count)?;
            if here != of_box {
                return Err(format!("output {j} has {here} channels; expected {of_box}"));
            }
        }
        Ok(classes.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: SizePx = SizePx {
        width: 32,
        height: 16,
    };

    fn params(outputs: GflOutputs) -> GflParams {
        GflParams {
            input: INPUT,
            strides: vec![8, 16],
            bins: 2,
            cell_offset: 0.5,
            outputs,
            layout: RowLayout::RowsFirst,
            activation: ScoreActivation::None,
            class_channels: 1,
            clip_to_input: true,
            classes: vec![WantedClass {
                channel: 0,
                category_id: 3,
                score_threshold: 0.4,
            }],
            nms_iou: 0.6,
            max_detections: 10,
        }
    }

    #[test]
    fn equal_logits_are_half_a_stride() {
        // Ten cells of one score and eight logits; the ninth is the first of stride 16.
        let mut output = vec![0.0; 10 * 9];
        output[8 * 9] = 0.5;
        let mut decoder = GflDecoder::new(params(GflOutputs::Joined));
        let got = decoder.decode(&[&output], &ImageFromModel::stretch(INPUT), INPUT);
        assert_eq!(got.len(), 1);
        let r = got[0].rect;
        assert_eq!((got[0].category_id, got[0].score), (3, 0.5));
        assert_eq!((r.x, r.y, r.width, r.height), (0.0, 0.0, 16.0, 16.0));
    }

    #[test]
    fn nothing_comes_of_no_outputs_low_scores_and_values_that_are_not_finite() {
        let to_image = ImageFromModel::stretch(INPUT);
        for outputs in [GflOutputs::Joined, GflOutputs::Split] {
            let mut decoder = GflDecoder::new(params(outputs));
            assert_eq!(decoder.decode(&[], &to_image, INPUT), []);
            for value in [0.3, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let lengths: &[usize] = match outputs {
                    GflOutputs::Joined => &[90],
                    GflOutputs::Split => &[8, 2, 64, 16],
                };
                let made: Vec<Vec<f32>> = lengths.iter().map(|n| vec![value; *n]).collect();
                let views: Vec<&[f32]> = made.iter().map(Vec::as_slice).collect();
                assert_eq!(decoder.decode(&views, &to_image, INPUT), [], "{value}");
            }
        }
    }

    #[test]
    fn infinite_logits_of_a_box_give_no_detection() {
        let scores = [vec![0.9; 8], vec![0.9; 2]];
        let logits = [vec![f32::INFINITY; 64], vec![f32::NAN; 16]];
        let mut decoder = GflDecoder::new(params(GflOutputs::Split));
        let outputs = [&scores[0][..], &scores[1], &logits[0], &logits[1]];
        assert_eq!(
            decoder.decode(&outputs, &ImageFromModel::stretch(INPUT), INPUT),
            []
        );
    }

    #[test]
    fn the_shapes_tell_the_number_of_classes() {
        let joined = params(GflOutputs::Joined);
        assert_eq!(joined.class_channels_of(&[&[1, 10, 14]]), Ok(6));
        assert!(joined.class_channels_of(&[&[1, 10, 8]]).is_err());
        assert!(joined.class_channels_of(&[&[1, 11, 14]]).is_err());
        let split = params(GflOutputs::Split);
        let shapes: [&[usize]; 4] = [&[1, 8, 6], &[1, 2, 6], &[1, 8, 8], &[1, 2, 8]];
        assert_eq!(split.class_channels_of(&shapes), Ok(6));
        assert!(split.class_channels_of(&shapes[..3]).is_err());
        let swapped = [shapes[2], shapes[3], shapes[0], shapes[1]];
        assert!(split.class_channels_of(&swapped).is_err());
    }
}
