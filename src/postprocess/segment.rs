//! Decoder of any segmentation output: logits, probabilities or class ids to a mask of the frame's size.
//!
//! | [`SegmentValues`] | output | class of a pixel |
//! |---|---|---|
//! | `Classes` | `[1, C, h, w]` or `[1, h, w, C]`: logits or probabilities | the best after bilinear interpolation |
//! | `Binary` | one channel: the logit or probability of class 1 | 1 where it is above the threshold after bilinear interpolation, else 0 |
//! | `Ids` | `[1, h, w]`, `[1, 1, h, w]` or `[1, h, w, 1]`: class ids, the argmax of the network | that of the nearest value |
//!
//! Interpolation is that of [`DeepLabDecoder`].

use mobilens_image::{ImageFromModel, SizePx};

use super::class_mask::{ClassMask, UNKNOWN};
use super::deeplab::{DeepLabDecoder, DeepLabParams};
use super::predictions::RowLayout;

/// Parameters of a [`SegmentDecoder`].
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentParams {
    /// What the output holds.
    pub values: SegmentValues,
    /// Order of the axes: channels first, or last ([`RowLayout::RowsFirst`]).
    pub layout: RowLayout,
    /// How the output lies on the input; its number of classes is that of `values`.
    pub grid: DeepLabParams,
}

/// What an output holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SegmentValues {
    /// A value for each of so many classes, 1 to 255.
    Classes(usize),
    /// One value, of class 1.
    Binary {
        /// Pixels with a higher value are of class 1.
        threshold: f32,
    },
    /// Class ids; those that are no whole number from 0 to 254 are [`UNKNOWN`].
    Ids,
}

impl SegmentValues {
    /// Number of channels.
    pub fn channels(&self) -> usize {
        match self {
            Self::Classes(classes) => *classes,
            Self::Binary { .. } | Self::Ids => 1,
        }
    }

    /// Channels, rows and columns of an output of this shape; of class ids without a channel axis one channel.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn size_of(
        shape: &[usize],
        layout: RowLayout,
        has_ids: bool,
    ) -> Result<(usize, usize, usize), String> {
        let size = match (shape, layout, has_ids) {
            (&[1, rows, columns], _, true) => Some((1, rows, columns)),
            (&[1, channels, rows, columns], RowLayout::ChannelsFirst, _)
            | (&[1, rows, columns, channels], RowLayout::RowsFirst, _) => {
                Some((channels, rows, columns))
            }
            _ => None,
        };
        let is_usable = |&(channels, rows, columns): &(usize, usize, usize)| {
            channels * rows * columns > 0 && !(has_ids && channels > 1)
        };
        size.filter(is_usable).ok_or_else(|| {
            let expected = match (layout, has_ids) {
                (_, true) => "[1, rows, columns] or [1, 1, rows, columns]",
                (RowLayout::ChannelsFirst, _) => "[1, channels, rows, columns]",
                (RowLayout::RowsFirst, _) => "[1, rows, columns, channels]",
            };
            format!("the output's shape is {shape:?}; expected {expected}")
        })
    }
}

/// Decodes an output into masks; reuses its scratch memory from frame to frame.
#[derive(Debug)]
pub struct SegmentDecoder {
    params: SegmentParams,
    deeplab: DeepLabDecoder,
    planes: Vec<f32>,
}

impl SegmentDecoder {
    /// A decoder for one head.
    ///
    /// # Panics
    /// When there are no classes, more than 255, or no values.
    pub fn new(mut params: SegmentParams) -> Self {
        params.grid.classes = match params.values {
            SegmentValues::Classes(classes) => classes,
            SegmentValues::Binary { .. } | SegmentValues::Ids => 2,
        };
        Self {
            deeplab: DeepLabDecoder::new(params.grid.clone()),
            params,
            planes: Vec::new(),
        }
    }

    /// The mask of a frame of `image` pixels.
    ///
    /// # Panics
    /// When there are not as many values as the parameters say.
    pub fn decode(
        &mut self,
        values: &[f32],
        image_from_model: &ImageFromModel,
        image: SizePx,
    ) -> ClassMask {
        let (columns, rows) = self.params.grid.grid;
        let cells = columns * rows;
        let channels = self.params.values.channels();
        assert_eq!(values.len(), channels * cells, "one value each");
        match (self.params.values, self.params.layout) {
            (SegmentValues::Classes(_), RowLayout::ChannelsFirst) => {
                return self.deeplab.decode(values, image_from_model, image);
            }
            (SegmentValues::Classes(_), RowLayout::RowsFirst) => {
                self.planes.resize(values.len(), 0.0);
                for (cell, of_cell) in values.chunks_exact(channels).enumerate() {
                    for (channel, value) in of_cell.iter().enumerate() {
                        self.planes[channel * cells + cell] = *value;
                    }
                }
            }
            (SegmentValues::Binary { threshold }, _) => {
                self.planes.clear();
                self.planes.resize(cells, threshold);
                self.planes.extend_from_slice(values);
            }
            (SegmentValues::Ids, _) => {
                return nearest(&self.params.grid, values, image_from_model, image);
            }
        }
        self.deeplab.decode(&self.planes, image_from_model, image)
    }
}

/// The class id of the value nearest to each pixel.
fn nearest(
    params: &DeepLabParams,
    values: &[f32],
    image_from_model: &ImageFromModel,
    image: SizePx,
) -> ClassMask {
    let (columns, rows) = params.grid;
    let right: Vec<usize> = params.nearest_columns(image_from_model, image.width);
    let mut mask = Vec::with_capacity(image.width as usize * image.height as usize);
    for row in params.nearest_rows(image_from_model, image.height) {
        let line = &values[row.min(rows - 1) * columns..][..columns];
        mask.extend(right.iter().map(|column| class_of(line[*column])));
    }
    ClassMask::new(image, mask).unwrap_or_else(|| unreachable!("a class for every pixel"))
}

fn class_of(id: f32) -> u8 {
    let class = id as u8;
    if f32::from(class) == id {
        class
    } else {
        UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: SizePx = SizePx {
        width: 4,
        height: 4,
    };

    fn decoder(values: SegmentValues, layout: RowLayout) -> SegmentDecoder {
        SegmentDecoder::new(SegmentParams {
            values,
            layout,
            grid: DeepLabParams {
                classes: 0,
                grid: (2, 2),
                input: (8, 8),
                align_corners: false,
                half_pixel: true,
                confidence_floor: None,
            },
        })
    }

    fn classes(decoder: &mut SegmentDecoder, values: &[f32]) -> Vec<u8> {
        let mask = decoder.decode(values, &ImageFromModel::stretch(FRAME), FRAME);
        mask.classes().to_vec()
    }

    #[test]
    fn both_layouts_mean_the_same() {
        let first = [5.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 3.0, 0.0, 4.0, 0.0, 0.0];
        let mut last = [0.0; 12];
        for (i, value) in first.iter().enumerate() {
            last[i % 4 * 3 + i / 4] = *value;
        }
        let three = SegmentValues::Classes(3);
        let of_first = classes(&mut decoder(three, RowLayout::ChannelsFirst), &first);
        assert_eq!(
            of_first,
            classes(&mut decoder(three, RowLayout::RowsFirst), &last)
        );
        assert_eq!(
            [of_first[0], of_first[3], of_first[12], of_first[15]],
            [0, 2, 1, 1]
        );
    }

    #[test]
    fn one_channel_is_cut_at_its_threshold_after_interpolation() {
        let mut decoder = decoder(
            SegmentValues::Binary { threshold: 0.5 },
            RowLayout::ChannelsFirst,
        );
        // Across: 0, 0.25, 0.75, 1.
        let got = classes(&mut decoder, &[0.0, 1.0, 0.0, 1.0]);
        assert_eq!(got, [0, 0, 1, 1].repeat(4));
        let even = classes(&mut decoder, &[0.5; 4]);
        assert_eq!(even, [0; 16], "not above the threshold");
    }

    #[test]
    fn ids_are_those_of_the_nearest_value() {
        let mut decoder = decoder(SegmentValues::Ids, RowLayout::ChannelsFirst);
        let got = classes(&mut decoder, &[0.0, 3.0, 254.0, 1.5]);
        let rows = [[0, 0, 3, 3], [0, 0, 3, 3], [254, 254, UNKNOWN, UNKNOWN]];
        assert_eq!(got[..12], rows.concat());
        let odd = classes(&mut decoder, &[f32::NAN, -1.0, 256.0, 255.0]);
        assert_eq!(odd, [UNKNOWN; 16]);
    }

    #[test]
    fn shapes_are_those_of_the_layout() {
        let size = SegmentValues::size_of;
        let (first, last) = (RowLayout::ChannelsFirst, RowLayout::RowsFirst);
        assert_eq!(size(&[1, 21, 5, 7], first, false), Ok((21, 5, 7)));
        assert_eq!(size(&[1, 5, 7, 21], last, false), Ok((21, 5, 7)));
        assert_eq!(size(&[1, 5, 7], first, true), Ok((1, 5, 7)));
        assert_eq!(size(&[1, 5, 7, 1], last, true), Ok((1, 5, 7)));
        for (shape, layout, has_ids) in [
            (&[1, 5, 7][..], first, false),
            (&[1, 21, 5, 7], first, true),
            (&[2, 21, 5, 7], first, false),
            (&[1, 0, 5, 7], last, false),
        ] {
            assert!(size(shape, layout, has_ids).is_err(), "{shape:?}");
        }
    }
}
