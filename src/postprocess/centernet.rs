//! CenterNet decoder: heat maps of centres to detections.
//!
//! | output | shape | CenterNet (Zhou et al., "Objects as Points", sections 3 and 4) | CenterFace (Xu et al.; `centerface.py` of Star-Clouds/CenterFace) |
//! |---|---|---|---|
//! | heat map | `[1, C, h, w]` | class logits or scores | face scores |
//! | size | `[1, 2, h, w]` | width, height in cells | logarithms of height, width in cells |
//! | offset | `[1, 2, h, w]` | x, y in cells | y, x in cells, from the cell's middle |
//! | landmarks | `[1, 2K, h, w]` | `K` times x, y in cells, from the cell's corner (section 4.3: joint offsets) | `K` (5 of a face) times y, x in heights and widths of the box, from its corner |
//!
//! CenterNet takes the peaks: cells that no neighbour of the 3x3 around exceeds, without NMS. CenterFace takes
//! all cells, with NMS; its boxes keep their size where their upper left corner is moved into the picture.

use super::activation::{ScoreActivation, sigmoid};
use super::detection::{Detection, Keypoint};
use super::input_boxes::{InputBoxes, cells};
use super::predictions::{Predictions, RowLayout};
use super::selection::{Selection, WantedClass};
use mobilens_image::{ImageFromModel, SizePx};

/// Parameters of a [`CenterNetDecoder`].
#[derive(Clone, Debug, PartialEq)]
pub struct CenterNetParams {
    /// Size of the network's input.
    pub input: SizePx,
    /// Pixels of the input from cell to cell: 4.
    pub stride: u32,
    /// What the maps hold.
    pub coding: CenterNetCoding,
    /// Activation of the heat map that the network has not applied.
    pub activation: ScoreActivation,
    /// The requested classes: channels of the heat map.
    pub classes: Vec<WantedClass>,
    /// IoU threshold of NMS; `None` for no NMS.
    pub nms_iou: Option<f32>,
    /// Most detections per frame.
    pub max_detections: usize,
}

/// Coding of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CenterNetCoding {
    /// Of CenterNet.
    CenterNet,
    /// Of CenterFace.
    CenterFace,
}

/// Decodes the outputs of CenterNet or CenterFace. Owns its scratch memory: use one per worker.
#[derive(Clone, Debug)]
pub struct CenterNetDecoder {
    params: CenterNetParams,
    selection: Selection,
}

/// A box by its corner and size, in pixels of the input.
struct InputBox {
    x: f32,
    y: f32,
    w: f32,
    h: f32,
}

impl CenterNetDecoder {
    /// A decoder for one head.
    pub fn new(params: CenterNetParams) -> Self {
        let (iou, most) = (params.nms_iou, params.max_detections);
        Self {
            selection: Selection::new(params.classes.clone(), true, iou, most),
            params,
        }
    }

    /// Decodes one frame. `outputs` are heat map, size and offset; landmarks may follow, which are the
    /// detections' keypoints. The result is in pixels of a frame of `size`, best first, clipped to the frame.
    pub fn decode(
        &mut self,
        outputs: &[&[f32]],
        image_from_model: &ImageFromModel,
        size: SizePx,
    ) -> Vec<Detection> {
        self.selection.clear();
        let &[heat, sizes, offsets, ref landmarks @ ..] = outputs else {
            return Vec::new();
        };
        let params = &self.params;
        let (rows, columns) = cells(params.input, params.stride);
        let count = rows * columns;
        let map = |output, channels| Predictions::strided(output, count, channels, 1, count);
        let heat = Predictions::new(heat, heat.len() / count, RowLayout::ChannelsFirst);
        let (sizes, offsets) = (map(sizes, 2), map(offsets, 2));
        let boxes = InputBoxes::pixels(params.input, image_from_model);
        let decode =
            |row: usize| decode_box(params, columns, row, sizes.values(row), offsets.values(row));
        let usable = if heat.rows() == count {
            sizes.rows().min(offsets.rows())
        } else {
            0
        };
        for (i, class) in params.classes.iter().enumerate() {
            if class.channel >= heat.channels() {
                continue;
            }
            let raw_threshold = params.activation.raw_threshold(class.score_threshold);
            for row in 0..usable {
                let raw = heat.at(row, class.channel);
                if !raw.is_finite() || raw < raw_threshold {
                    continue;
                }
                let score = match params.activation {
                    ScoreActivation::None => raw,
                    _ => sigmoid(raw),
                };
                if score < class.score_threshold
                    || (params.coding == CenterNetCoding::CenterNet
                        && !is_peak(&heat, class.channel, row, columns))
                {
                    continue;
                }
                let b = decode(row);
                let rect = match params.coding {
                    CenterNetCoding::CenterNet => boxes.corners(b.x, b.y, b.x + b.w, b.y + b.h),
                    CenterNetCoding::CenterFace => {
                        boxes.clipped_corners(b.x, b.y, b.x + b.w, b.y + b.h)
                    }
                };
                self.selection.push(i, score, rect, row);
            }
        }
        let landmarks = landmarks
            .first()
            .map(|output| map(output, output.len() / count))
            .filter(|map| map.rows() == count);
        let mut found = self.selection.finish_with_anchors(size);
        for (detection, row) in &mut found {
            let Some(landmarks) = landmarks else { break };
            let (b, row) = (decode(*row), *row);
            let cell = [row % columns, row / columns].map(|at| at as f32);
            let points = (0..landmarks.channels() / 2).map(|i| {
                let (first, second) = (landmarks.at(row, 2 * i), landmarks.at(row, 2 * i + 1));
                let stride = params.stride as f32;
                let [x, y] = match params.coding {
                    CenterNetCoding::CenterNet => {
                        boxes.point((cell[0] + first) * stride, (cell[1] + second) * stride)
                    }
                    CenterNetCoding::CenterFace => {
                        boxes.point(second * b.w + b.x, first * b.h + b.y)
                    }
                };
                Keypoint { x, y, score: 1.0 }
            });
            detection.set_keypoints(points.collect());
        }
        found.into_iter().map(|(detection, _)| detection).collect()
    }
}

/// The box of a cell.
fn decode_box(
    params: &CenterNetParams,
    columns: usize,
    row: usize,
    size: [f32; 2],
    offset: [f32; 2],
) -> InputBox {
    let stride = params.stride as f32;
    let (column, row) = ((row % columns) as f32, (row / columns) as f32);
    match params.coding {
        CenterNetCoding::CenterNet => {
            let [w, h] = size.map(|side| side * stride);
            InputBox {
                x: (column + offset[0]) * stride - w / 2.0,
                y: (row + offset[1]) * stride - h / 2.0,
                w,
                h,
            }
        }
        CenterNetCoding::CenterFace => {
            let [h, w] = size.map(|side| side.exp() * stride);
            let corner = |cell: f32, offset: f32, side: f32, most: u32| {
                ((cell + offset + 0.5) * stride - side / 2.0).clamp(0.0, most as f32)
            };
            InputBox {
                x: corner(column, offset[1], w, params.input.width),
                y: corner(row, offset[0], h, params.input.height),
                w,
                h,
            }
        }
    }
}

/// Whether no neighbour in the 3x3 cells around has a higher score.
fn is_peak(heat: &Predictions<'_>, channel: usize, row: usize, columns: usize) -> bool {
    let (x, y, rows) = (row % columns, row / columns, heat.rows() / columns);
    let own = heat.at(row, channel);
    let mut around = (y.saturating_sub(1)..rows.min(y + 2))
        .flat_map(|y| (x.saturating_sub(1)..columns.min(x + 2)).map(move |x| y * columns + x));
    around.all(|other| heat.at(other, channel) <= own)
}

impl CenterNetParams {
    /// Number of class channels of a network whose outputs have these shapes: heat map, size, offset and, where
    /// there are any, landmarks.
    ///
    /// # Errors
    /// What is expected instead, where the shapes are not those of these parameters.
    pub fn class_channels_of(&self, shapes: &[&[usize]]) -> Result<usize, String> {
        let (h, w) = cells(self.input, self.stride);
        if !(3..=4).contains(&shapes.len()) {
            let got = shapes.len();
            return Err(format!(
                "{got} outputs; expected heat map, size, offset and perhaps landmarks"
            ));
        }
        let mut classes = 0;
        for (i, shape) in shapes.iter().enumerate() {
            let (what, channels) = [
                ("heat map", "C"),
                ("size", "2"),
                ("offset", "2"),
                ("landmarks", "2*K"),
            ][i];
            match **shape {
                [1, c, rows, columns]
                    if (rows, columns) == (h, w)
                        && c > 0
                        && (i == 0 || channels == c.to_string() || i == 3 && c % 2 == 0) =>
                {
                    if i == 0 {
                        classes = c;
                    }
                }
                _ => {
                    return Err(format!(
                        "the shape of the {what} is {shape:?}; expected [1, {channels}, {h}, {w}]"
                    ));
                }
            }
        }
        Ok(classes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: SizePx = SizePx {
        width: 16,
        height: 8,
    };

    fn decoder(coding: CenterNetCoding) -> CenterNetDecoder {
        CenterNetDecoder::new(CenterNetParams {
            input: INPUT,
            stride: 4,
            coding,
            activation: ScoreActivation::None,
            classes: vec![WantedClass {
                channel: 0,
                category_id: 1,
                score_threshold: 0.5,
            }],
            nms_iou: None,
            max_detections: 10,
        })
    }

    #[test]
    fn only_peaks_are_objects() {
        let heat = [0.6, 0.9, 0.6, 0.6, 0.1, 0.7, 0.1, 0.1];
        let (sizes, offsets) = ([1.0; 16], [0.5; 16]);
        let got = decoder(CenterNetCoding::CenterNet).decode(
            &[&heat, &sizes, &offsets],
            &ImageFromModel::stretch(INPUT),
            INPUT,
        );
        let scores: Vec<f32> = got.iter().map(|d| d.score).collect();
        // The two right ones of the upper row are equal to each other, and one is beside the peak.
        assert_eq!(scores, [0.9, 0.6]);
        let r = got[0].rect;
        assert_eq!((r.x, r.y, r.width, r.height), (4.0, 0.0, 4.0, 4.0));
    }

    #[test]
    fn nothing_comes_of_missing_outputs_low_scores_and_values_that_are_not_finite() {
        let to_image = ImageFromModel::stretch(INPUT);
        for coding in [CenterNetCoding::CenterNet, CenterNetCoding::CenterFace] {
            let mut decoder = decoder(coding);
            assert_eq!(decoder.decode(&[], &to_image, INPUT), []);
            assert_eq!(
                decoder.decode(&[&[0.9; 8], &[0.0; 16]], &to_image, INPUT),
                []
            );
            assert_eq!(
                decoder.decode(&[&[0.9; 8], &[0.0; 16], &[0.0; 3]], &to_image, INPUT),
                []
            );
            for (score, value) in [
                (0.4, 0.0),
                (f32::NAN, 0.0),
                (f32::INFINITY, 0.0),
                (0.9, f32::NAN),
                (0.9, f32::INFINITY),
            ] {
                let (heat, maps) = ([score; 8], [value; 16]);
                let got = decoder.decode(&[&heat, &maps, &maps], &to_image, INPUT);
                assert_eq!(got, [], "{coding:?} {score} {value}");
            }
        }
    }

    #[test]
    fn landmarks_that_are_not_finite_are_left_out() {
        let mut heat = [0.1; 8];
        heat[5] = 0.9;
        let maps = [0.0; 16];
        let outputs: [&[f32]; 4] = [&heat, &maps, &maps, &[f32::NAN; 80]];
        let mut decoder = decoder(CenterNetCoding::CenterFace);
        let got = decoder.decode(&outputs, &ImageFromModel::stretch(INPUT), INPUT);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].keypoints, []);
    }

    #[test]
    fn the_shapes_tell_the_number_of_classes() {
        let params = decoder(CenterNetCoding::CenterFace).params;
        let shapes: [&[usize]; 4] = [&[1, 3, 2, 4], &[1, 2, 2, 4], &[1, 2, 2, 4], &[1, 10, 2, 4]];
        assert_eq!(params.class_channels_of(&shapes), Ok(3));
        assert_eq!(params.class_channels_of(&shapes[..3]), Ok(3));
        assert!(params.class_channels_of(&shapes[..2]).is_err());
        assert!(
            params
                .class_channels_of(&[shapes[0], shapes[3], shapes[1]])
                .is_err()
        );
    }
}
