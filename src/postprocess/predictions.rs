//! Predictions of a head as rows of channels, however the tensor is laid out.

/// Order of the last two axes of a tensor of predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowLayout {
    /// `[1, rows, channels]`.
    RowsFirst,
    /// `[1, channels, rows]`, of which `[1, channels, h, w]` is a case.
    ChannelsFirst,
}

/// A view of `rows` predictions with `channels` values each.
#[derive(Clone, Copy, Debug)]
pub struct Predictions<'a> {
    data: &'a [f32],
    rows: usize,
    channels: usize,
    row_stride: usize,
    channel_stride: usize,
}

impl<'a> Predictions<'a> {
    /// A whole tensor with `channels` per row; as many rows as there are values for.
    pub fn new(data: &'a [f32], channels: usize, layout: RowLayout) -> Self {
        let rows = data.len().checked_div(channels).unwrap_or(0);
        let (row_stride, channel_stride) = match layout {
            RowLayout::RowsFirst => (channels, 1),
            RowLayout::ChannelsFirst => (1, rows),
        };
        Self::strided(data, rows, channels, row_stride, channel_stride)
    }

    /// Value `channel` of `row` is `data[row * row_stride + channel * channel_stride]`; no rows where `data`
    /// is too short.
    pub fn strided(
        data: &'a [f32],
        rows: usize,
        channels: usize,
        row_stride: usize,
        channel_stride: usize,
    ) -> Self {
        let last =
            rows.saturating_sub(1) * row_stride + channels.saturating_sub(1) * channel_stride;
        let fits = channels == 0 || last < data.len();
        Self {
            data,
            rows: if fits { rows } else { 0 },
            channels,
            row_stride,
            channel_stride,
        }
    }

    /// The channels from `first` on.
    pub fn channels_from(self, first: usize) -> Self {
        let start = first * self.channel_stride;
        Self {
            data: self.data.get(start..).unwrap_or(&[]),
            channels: self.channels.saturating_sub(first),
            ..self
        }
    }

    /// The first `count` channels.
    pub fn first_channels(self, count: usize) -> Self {
        Self {
            channels: self.channels.min(count),
            ..self
        }
    }

    /// The first `count` rows, or all where there are fewer.
    pub fn first_rows(self, count: usize) -> Self {
        Self {
            rows: self.rows.min(count),
            ..self
        }
    }

    /// The rows from `first` on.
    pub fn rows_from(self, first: usize) -> Self {
        Self {
            data: self.data.get(first * self.row_stride..).unwrap_or(&[]),
            rows: self.rows.saturating_sub(first),
            ..self
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// One value.
    pub fn at(&self, row: usize, channel: usize) -> f32 {
        self.data[row * self.row_stride + channel * self.channel_stride]
    }

    /// `N` values of a row.
    pub fn values<const N: usize>(&self, row: usize) -> [f32; N] {
        std::array::from_fn(|channel| self.at(row, channel))
    }

    /// Expectation of the distribution in channels `first..first + bins` of a row: the softmax of its
    /// logits, weighted by 0, 1, ... (Li et al., "Generalized Focal Loss", section 3.3). A single bin is
    /// the value itself, without distribution.
    pub fn expectation(&self, row: usize, first: usize, bins: usize) -> f32 {
        if bins == 1 {
            return self.at(row, first);
        }
        let logits = || (first..first + bins).map(|channel| self.at(row, channel));
        let largest = logits().fold(f32::NEG_INFINITY, f32::max);
        let (mut sum, mut weighted) = (0.0, 0.0);
        for (bin, logit) in logits().enumerate() {
            let share = (logit - largest).exp();
            sum += share;
            weighted += share * bin as f32;
        }
        weighted / sum
    }
}
