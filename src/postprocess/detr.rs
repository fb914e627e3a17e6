//! DETR decoder (RT-DETR, D-FINE): logits and boxes of queries to detections, without NMS.
//!
//! Zhao et al., "DETRs Beat YOLOs on Real-time Object Detection" (RT-DETR) and `RTDETRPostProcessor` of
//! lyuwenyu/RT-DETR; Peng et al., "D-FINE", the same; Carion et al., "End-to-End Object Detection with
//! Transformers", section 3. `Q` is the number of queries, `C` that of classes.
//!
//! | output | shape | meaning |
//! |---|---|---|
//! | logits | `[1, Q, C]` | a sigmoid for each class (RT-DETR, D-FINE) |
//! | | `[1, Q, C+1]` | softmax, the last channel is "no object" (DETR) |
//! | boxes | `[1, Q, 4]` | cx, cy, w, h as shares of the input's width and height |
//!
//! With a sigmoid the best pairs of query and class are taken, so that a query may have several classes;
//! with softmax each query has its best class.

use super::activation::ScoreActivation;
use super::detection::Detection;
use super::input_boxes::InputBoxes;
use super::predictions::{Predictions, RowLayout};
use super::selection::{Scores, Selection, WantedClass};
use mobilens_image::{ImageFromModel, SizePx};

/// Parameters of a [`DetrDecoder`].
#[derive(Clone, Debug, PartialEq)]
pub struct DetrParams {
    /// Activation of the logits: sigmoid, softmax, or none where the network has applied it.
    pub activation: ScoreActivation,
    /// Channels of the logits, with "no object".
    pub class_channels: usize,
    /// The requested classes.
    pub classes: Vec<WantedClass>,
    /// Most detections per frame ("num_top_queries").
    pub max_detections: usize,
}

/// Decodes the outputs of RT-DETR, D-FINE or DETR. Owns its scratch memory: use one per worker.
#[derive(Clone, Debug)]
pub struct DetrDecoder {
    params: DetrParams,
    selection: Selection,
}

impl DetrDecoder {
    /// A decoder for one head.
    pub fn new(params: DetrParams) -> Self {
        let multi_label = params.activation != ScoreActivation::Softmax;
        let most = params.max_detections;
        Self {
            selection: Selection::new(params.classes.clone(), multi_label, None, most),
            params,
        }
    }

    /// Decodes one frame. `outputs` are logits and boxes. The result is in pixels of a frame of `size`, best
    /// first, clipped to the frame.
    pub fn decode(
        &mut self,
        outputs: &[&[f32]],
        image_from_model: &ImageFromModel,
        size: SizePx,
    ) -> Vec<Detection> {
        self.selection.clear();
        let &[logits, boxes] = outputs else {
            return Vec::new();
        };
        let channels = self.params.class_channels;
        let boxes = Predictions::new(boxes, 4, RowLayout::RowsFirst);
        let logits = Predictions::new(logits, channels, RowLayout::RowsFirst);
        let is_softmax = self.params.activation == ScoreActivation::Softmax;
        let scores = Scores {
            classes: logits.first_rows(boxes.rows()),
            objectness: None,
            activation: self.params.activation,
            labels: channels - usize::from(is_softmax && channels > 0),
        };
        let to_frame = InputBoxes::normalized(image_from_model);
        self.selection.scan(&scores, 0, |row| {
            let [cx, cy, w, h] = boxes.values(row);
            to_frame.centre(cx, cy, w, h)
        });
        self.selection.finish(size)
    }
}

/// Number of channels of the logits of a network whose outputs have these shapes: logits and boxes.
///
/// # Errors
/// What is expected instead, where the shapes are others.
pub fn detr_class_channels(shapes: &[&[usize]]) -> Result<usize, String> {
    let &[logits, boxes] = shapes else {
        let got = shapes.len();
        return Err(format!("{got} outputs; expected logits and boxes"));
    };
    let &[1, queries, 4] = boxes else {
        return Err(format!(
            "the shape of the boxes is {boxes:?}; expected [1, Q, 4]"
        ));
    };
    match *logits {
        [1, rows, channels] if rows == queries && channels > 0 => Ok(channels),
        _ => Err(format!(
            "the shape of the logits is {logits:?}; expected [1, {queries}, C]"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: SizePx = SizePx {
        width: 200,
        height: 100,
    };

    fn decoder(activation: ScoreActivation) -> DetrDecoder {
        let wanted = |channel: usize| WantedClass {
            channel,
            category_id: channel as u32,
            score_threshold: 0.3,
        };
        DetrDecoder::new(DetrParams {
            activation,
            class_channels: 3,
            classes: vec![wanted(0), wanted(1)],
            max_detections: 10,
        })
    }

    fn found(activation: ScoreActivation, logits: &[f32], boxes: &[f32]) -> Vec<(u32, f32)> {
        let mut decoder = decoder(activation);
        let got = decoder.decode(&[logits, boxes], &ImageFromModel::stretch(FRAME), FRAME);
        got.iter().map(|d| (d.category_id, d.score)).collect()
    }

    #[test]
    fn a_query_has_several_classes_with_a_sigmoid_and_one_with_softmax() {
        let boxes = [0.5, 0.5, 0.2, 0.2];
        let several = found(ScoreActivation::Sigmoid, &[0.0, 1.0, 2.0], &boxes);
        assert_eq!(several.iter().map(|f| f.0).collect::<Vec<_>>(), [1, 0]);
        // "No object" is the most likely, but not a label.
        let best = found(ScoreActivation::Softmax, &[1.0, 1.1, 1.2], &boxes);
        assert_eq!(best.iter().map(|f| f.0).collect::<Vec<_>>(), [1]);
        assert!((best[0].1 - 0.332_225).abs() < 1e-5, "{best:?}");
    }

    #[test]
    fn nothing_comes_of_missing_outputs_low_scores_and_values_that_are_not_finite() {
        let to_image = ImageFromModel::stretch(FRAME);
        assert_eq!(
            decoder(ScoreActivation::Sigmoid).decode(&[], &to_image, FRAME),
            []
        );
        for activation in [ScoreActivation::Sigmoid, ScoreActivation::Softmax] {
            assert_eq!(found(activation, &[], &[]), []);
            assert_eq!(found(activation, &[-5.0, -5.0, 5.0], &[0.5; 4]), []);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert_eq!(found(activation, &[bad; 3], &[0.5; 4]), []);
                assert_eq!(
                    found(activation, &[5.0, 0.0, 0.0], &[bad, 0.5, 0.5, 0.5]),
                    []
                );
                assert_eq!(
                    found(activation, &[5.0, 0.0, 0.0], &[0.5, 0.5, bad, 0.5]),
                    []
                );
            }
        }
    }

    #[test]
    fn the_shapes_tell_the_number_of_channels() {
        assert_eq!(detr_class_channels(&[&[1, 300, 80], &[1, 300, 4]]), Ok(80));
        assert!(detr_class_channels(&[&[1, 300, 4], &[1, 300, 80]]).is_err());
        assert!(detr_class_channels(&[&[1, 300, 80]]).is_err());
    }
}
