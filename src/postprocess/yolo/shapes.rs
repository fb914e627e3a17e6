//! What the shapes of a YOLO's outputs must be.

use mobilens_image::SizePx;

use super::super::input_boxes::cells;
use super::super::predictions::RowLayout;
use super::params::{AnchorMapLayout, YoloFormat, YoloTask};

impl YoloFormat {
    /// Number of outputs.
    pub fn output_count(&self) -> usize {
        match self {
            Self::AnchorMaps { maps, .. } => maps.len(),
            Self::DistributionMaps { strides, split, .. } => {
                strides.len() * if *split { 2 } else { 1 }
            }
            Self::Rows { .. } | Self::GridRows { .. } | Self::EndToEnd { .. } => 1,
        }
    }

    /// Number of class channels of a network with an input of this size, whose outputs have these shapes, in
    /// the order of the outputs; 0 for `EndToEnd`, which has none.
    ///
    /// # Errors
    /// What is expected instead, where the shapes are not those of this format.
    pub fn class_channels(&self, shapes: &[&[usize]], input: SizePx) -> Result<usize, String> {
        self.class_channels_of(shapes, input, YoloTask::Detect)
    }

    /// As [`class_channels`](Self::class_channels), of rows with the values of `task` behind the classes; its
    /// prototypes are none of the outputs.
    ///
    /// # Errors
    /// What is expected instead, where the shapes are not those of this format.
    pub fn class_channels_of(
        &self,
        shapes: &[&[usize]],
        input: SizePx,
        task: YoloTask,
    ) -> Result<usize, String> {
        let count = self.output_count();
        if shapes.len() != count {
            return Err(format!("{} outputs; expected {count}", shapes.len()));
        }
        let mut classes = None;
        for (i, shape) in shapes.iter().enumerate() {
            let of_output = self.classes_of_output(i, shape, input, task)?;
            let Some(of_output) = of_output else { continue };
            let known = *classes.get_or_insert(of_output);
            if known != of_output {
                return Err(format!(
                    "output {i} of shape {shape:?} has {of_output} classes, one before it {known}"
                ));
            }
        }
        Ok(classes.unwrap_or(0))
    }

    /// Class channels of one output; `None` where it holds only boxes.
    fn classes_of_output(
        &self,
        i: usize,
        shape: &[usize],
        input: SizePx,
        task: YoloTask,
    ) -> Result<Option<usize>, String> {
        let wrong =
            |expected: &str| format!("the shape of output {i} is {shape:?}; expected {expected}");
        let behind = task.channels();
        let tail = if behind > 0 {
            format!("+{behind}")
        } else {
            String::new()
        };
        match self {
            Self::AnchorMaps { maps, layout, .. } => {
                let (h, w) = cells(input, maps[i].stride);
                let anchors = maps[i].anchors.len();
                let per_anchor = match (layout, shape) {
                    (AnchorMapLayout::ChannelsFirst, &[1, c, rows, columns])
                    | (AnchorMapLayout::ChannelsLast, &[1, rows, columns, c])
                        if (rows, columns) == (h, w) && c % anchors.max(1) == 0 =>
                    {
                        c / anchors.max(1)
                    }
                    (AnchorMapLayout::ChannelsLast, &[1, rows, columns, a, c])
                    | (AnchorMapLayout::AnchorsFirst, &[1, a, rows, columns, c])
                        if (a, rows, columns) == (anchors, h, w) =>
                    {
                        c
                    }
                    _ => 0,
                };
                per_anchor.checked_sub(5).map(Some).ok_or_else(|| {
                    wrong(&match layout {
                        AnchorMapLayout::ChannelsFirst => format!("[1, {anchors}*(5+C), {h}, {w}]"),
                        AnchorMapLayout::ChannelsLast => format!("[1, {h}, {w}, {anchors}*(5+C)]"),
                        AnchorMapLayout::AnchorsFirst => format!("[1, {anchors}, {h}, {w}, 5+C]"),
                    })
                })
            }
            Self::Rows {
                objectness, layout, ..
            } => {
                let boxes = 4 + usize::from(*objectness);
                let channels = match (layout, shape) {
                    (RowLayout::RowsFirst, &[1, _, c]) | (RowLayout::ChannelsFirst, &[1, c, _]) => {
                        c
                    }
                    _ => 0,
                };
                let least = boxes + behind + usize::from(!objectness);
                if channels < least {
                    return Err(wrong(&match layout {
                        RowLayout::RowsFirst => format!("[1, N, {boxes}+C{tail}]"),
                        RowLayout::ChannelsFirst => format!("[1, {boxes}+C{tail}, N]"),
                    }));
                }
                Ok(Some(channels - boxes - behind))
            }
            Self::DistributionMaps {
                strides,
                bins,
                split,
                ..
            } => {
                let stride = strides[if *split { i / 2 } else { i }];
                let (h, w) = cells(input, stride);
                let boxes = 4 * bins;
                let &[1, channels, rows, columns] = shape else {
                    return Err(wrong(&format!("[1, channels, {h}, {w}]")));
                };
                let is_map = (rows, columns) == (h, w);
                match (split, i % 2) {
                    (true, 0) if is_map && channels == boxes => Ok(None),
                    (true, 0) => Err(wrong(&format!("boxes, [1, {boxes}, {h}, {w}]"))),
                    (true, _) if is_map && channels > 0 => Ok(Some(channels)),
                    (true, _) => Err(wrong(&format!("classes, [1, C, {h}, {w}]"))),
                    (false, _) if is_map && channels > boxes => Ok(Some(channels - boxes)),
                    (false, _) => Err(wrong(&format!("[1, {boxes}+C, {h}, {w}]"))),
                }
            }
            Self::GridRows { strides, .. } => {
                let of_stride = |stride: &u32| {
                    let (h, w) = cells(input, *stride);
                    h * w
                };
                let count: usize = strides.iter().map(of_stride).sum();
                match *shape {
                    [1, rows, channels] if rows == count && channels > 4 => Ok(Some(channels - 5)),
                    _ => Err(wrong(&format!("[1, {count}, 5+C]"))),
                }
            }
            Self::EndToEnd { .. } => match *shape {
                [1, _, values] if values == 6 + behind => Ok(None),
                _ => Err(wrong(&format!("[1, K, 6{tail}]"))),
            },
        }
    }
}
