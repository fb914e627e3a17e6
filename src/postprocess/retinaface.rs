//! RetinaFace decoder: priors, variances and landmarks to faces.
//!
//! Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild"; `PriorBox`, `decode`,
//! `decode_landm` and `py_cpu_nms` of biubug6/Pytorch_Retinaface. `N` is the number of priors: for each
//! stride, row, column and size of the stride a square around the cell's middle.
//!
//! | output | shape | meaning |
//! |---|---|---|
//! | boxes | `[1, N, 4]` | x, y of the centre, over the first variance and the prior's size; logarithms of width and height, over the second |
//! | scores | `[1, N, 2]` | background, face |
//! | landmarks | `[1, N, 2K]` | `K` (5 of a face) times x, y, coded like the centre |
//!
//! NMS counts the last pixel of a box as part of it, as the original does.

use super::activation::ScoreActivation;
use super::detection::{Detection, Keypoint};
use super::input_boxes::{InputBoxes, cells};
use super::predictions::{Predictions, RowLayout};
use super::selection::{Scores, Selection, WantedClass};
use mobilens_image::{ImageFromModel, SizePx};

/// Parameters of a [`RetinaFaceDecoder`].
#[derive(Clone, Debug, PartialEq)]
pub struct RetinaFaceParams {
    /// Size of the network's input.
    pub input: SizePx,
    /// Pixels of the input from cell to cell of each map ("steps").
    pub strides: Vec<u32>,
    /// Sides of the priors of each map, in pixels of the input ("min_sizes"); as many as `strides`.
    pub prior_sizes_px: Vec<Vec<f32>>,
    /// Variances of centres and landmarks, and of sizes: 0.1 and 0.2.
    pub variances: (f32, f32),
    /// Activation of the scores that the network has not applied.
    pub activation: ScoreActivation,
    /// Channels of the scores, with the background.
    pub class_channels: usize,
    /// The requested classes: channels of the scores; 1 is the face.
    pub classes: Vec<WantedClass>,
    /// IoU threshold of NMS.
    pub nms_iou: f32,
    /// Most detections per frame.
    pub max_detections: usize,
}

/// Centre and size, as shares of the input's sides.
#[derive(Clone, Copy, Debug)]
struct Prior {
    cx: f32,
    cy: f32,
    w: f32,
    h: f32,
}

/// Decodes the outputs of RetinaFace. Owns its scratch memory: use one per worker.
#[derive(Clone, Debug)]
pub struct RetinaFaceDecoder {
    params: RetinaFaceParams,
    priors: Vec<Prior>,
    selection: Selection,
}

impl RetinaFaceDecoder {
    /// A decoder for one head; computes the priors.
    pub fn new(params: RetinaFaceParams) -> Self {
        let (iou, most) = (Some(params.nms_iou), params.max_detections);
        Self {
            selection: Selection::new(params.classes.clone(), true, iou, most),
            priors: priors(&params),
            params,
        }
    }

    /// Decodes one frame. `outputs` are boxes and scores; landmarks may follow, which are the detections'
    /// keypoints. The result is in pixels of a frame of `size`, best first, clipped to the frame.
    pub fn decode(
        &mut self,
        outputs: &[&[f32]],
        image_from_model: &ImageFromModel,
        size: SizePx,
    ) -> Vec<Detection> {
        self.selection.clear();
        let &[encodings, scores, ref landmarks @ ..] = outputs else {
            return Vec::new();
        };
        let (params, priors) = (&self.params, &self.priors);
        let rows = |output, channels| Predictions::new(output, channels, RowLayout::RowsFirst);
        let encodings = rows(encodings, 4).first_rows(priors.len());
        let classes = rows(scores, params.class_channels).first_rows(encodings.rows());
        let scores = Scores {
            classes,
            objectness: None,
            activation: params.activation,
            labels: classes.channels(),
        };
        let boxes = InputBoxes::normalized(image_from_model);
        let pixel = InputBoxes::pixels(params.input, image_from_model).input_pixel(params.input);
        self.selection.include_last_pixel(pixel);
        let (of_centre, of_size) = params.variances;
        self.selection.scan(&scores, 0, |row| {
            let ([x, y, w, h], prior) = (encodings.values(row), &priors[row]);
            boxes.centre(
                prior.cx + x * of_centre * prior.w,
                prior.cy + y * of_centre * prior.h,
                prior.w * (w * of_size).exp(),
                prior.h * (h * of_size).exp(),
            )
        });
        let landmarks = landmarks.first().filter(|_| !priors.is_empty());
        let landmarks = landmarks.map(|output| rows(output, output.len() / priors.len()));
        let mut found = self.selection.finish_with_anchors(size);
        for (detection, row) in &mut found {
            let Some(landmarks) = landmarks.filter(|landmarks| landmarks.rows() > *row) else {
                continue;
            };
            let prior = &priors[*row];
            let points = (0..landmarks.channels() / 2).map(|i| {
                let at = |channel| landmarks.at(*row, channel) * of_centre;
                let [x, y] = boxes.point(
                    prior.cx + at(2 * i) * prior.w,
                    prior.cy + at(2 * i + 1) * prior.h,
                );
                Keypoint { x, y, score: 1.0 }
            });
            detection.set_keypoints(points.collect());
        }
        found.into_iter().map(|(detection, _)| detection).collect()
    }
}

/// All priors, ordered by map, row, column, size.
fn priors(params: &RetinaFaceParams) -> Vec<Prior> {
    let (width, height) = (params.input.width as f32, params.input.height as f32);
    let mut priors = Vec::new();
    for (&stride, sizes) in params.strides.iter().zip(&params.prior_sizes_px) {
        let (rows, columns) = cells(params.input, stride);
        for cell in 0..rows * columns {
            for side in sizes {
                priors.push(Prior {
                    cx: ((cell % columns) as f32 + 0.5) * stride as f32 / width,
                    cy: ((cell / columns) as f32 + 0.5) * stride as f32 / height,
                    w: side / width,
                    h: side / height,
                });
            }
        }
    }
    priors
}

impl RetinaFaceParams {
    /// Number of priors, which is the number of rows of each output.
    pub fn prior_count(&self) -> usize {
        let maps = self.strides.iter().zip(&self.prior_sizes_px);
        let of_maps = maps.map(|(stride, sizes)| {
            let (rows, columns) = cells(self.input, *stride);
            rows * columns * sizes.len()
        });
        of_maps.sum()
    }

    /// Number of channels of the scores of a network whose outputs have these shapes: boxes, scores and, where
    /// there are any, landmarks.
    ///
    /// # Errors
    /// What is expected instead, where the shapes are not those of these parameters.
    pub fn class_channels_of(&self, shapes: &[&[usize]]) -> Result<usize, String> {
        let count = self.prior_count();
        let (boxes, scores, landmarks) = match *shapes {
            [boxes, scores] => (boxes, scores, None),
            [boxes, scores, landmarks] => (boxes, scores, Some(landmarks)),
            _ => {
                let got = shapes.len();
                return Err(format!(
                    "{got} outputs; expected boxes, scores and perhaps landmarks"
                ));
            }
        };
        if *boxes != [1, count, 4] {
            return Err(format!(
                "the shape of the boxes is {boxes:?}; expected [1, {count}, 4]"
            ));
        }
        if let Some(shape) = landmarks
            && !matches!(*shape, [1, rows, values] if rows == count && values > 0 && values % 2 == 0)
        {
            return Err(format!(
                "the shape of the landmarks is {shape:?}; expected [1, {count}, 2*K]"
            ));
        }
        match *scores {
            [1, rows, channels] if rows == count && channels > 0 => Ok(channels),
            _ => Err(format!(
                "the shape of the scores is {scores:?}; expected [1, {count}, 2]"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: SizePx = SizePx {
        width: 32,
        height: 16,
    };

    fn params() -> RetinaFaceParams {
        RetinaFaceParams {
            input: INPUT,
            strides: vec![8, 16],
            prior_sizes_px: vec![vec![8.0, 4.0], vec![12.0]],
            variances: (0.1, 0.2),
            activation: ScoreActivation::Softmax,
            class_channels: 2,
            classes: vec![WantedClass {
                channel: 1,
                category_id: 1,
                score_threshold: 0.6,
            }],
            nms_iou: 0.4,
            max_detections: 10,
        }
    }

    #[test]
    fn a_zero_encoding_is_its_prior() {
        let mut decoder = RetinaFaceDecoder::new(params());
        assert_eq!(decoder.params.prior_count(), 18);
        let mut scores = [1.0, 0.0].repeat(18);
        scores[2 * 2 + 1] = 3.0;
        let outputs: [&[f32]; 3] = [&[0.0; 72], &scores, &[0.0; 180]];
        let got = decoder.decode(&outputs, &ImageFromModel::stretch(INPUT), INPUT);
        assert_eq!(got.len(), 1);
        let r = got[0].rect;
        // The first size of the second cell.
        assert_eq!((r.x, r.y, r.width, r.height), (8.0, 0.0, 8.0, 8.0));
        let point = Keypoint {
            x: 12.0,
            y: 4.0,
            score: 1.0,
        };
        assert_eq!(got[0].keypoints, [point; 5]);
    }

    #[test]
    fn nothing_comes_of_missing_outputs_low_scores_and_values_that_are_not_finite() {
        let to_image = ImageFromModel::stretch(INPUT);
        let mut decoder = RetinaFaceDecoder::new(params());
        assert_eq!(decoder.decode(&[], &to_image, INPUT), []);
        assert_eq!(decoder.decode(&[&[0.0; 72]], &to_image, INPUT), []);
        for (background, face, encoding) in [
            (0.0, 0.0, 0.0),
            (f32::NAN, 5.0, 0.0),
            (0.0, f32::INFINITY, 0.0),
            (0.0, 5.0, f32::NAN),
            (0.0, 5.0, f32::INFINITY),
        ] {
            let scores = [background, face].repeat(18);
            let got = decoder.decode(&[&[encoding; 72], &scores], &to_image, INPUT);
            assert_eq!(got, [], "{background} {face} {encoding}");
        }
    }

    #[test]
    fn the_shapes_tell_the_number_of_channels() {
        let params = params();
        let shapes: [&[usize]; 3] = [&[1, 18, 4], &[1, 18, 2], &[1, 18, 10]];
        assert_eq!(params.class_channels_of(&shapes), Ok(2));
        assert_eq!(params.class_channels_of(&shapes[..2]), Ok(2));
        assert!(params.class_channels_of(&[shapes[1], shapes[0]]).is_err());
        assert!(
            params
                .class_channels_of(&[&[1, 17, 4], &[1, 17, 2]])
                .is_err()
        );
    }
}
