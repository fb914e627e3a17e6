//! Bilinear resize of feature maps of codes.
//!
//! The same steps as [`Resize`](super::Resize) takes for each output, on `code - zero_point` in
//! float32: first along the row in the two rows of the input that the output lies between, then
//! from one to the other. As the first step depends on the input row alone, an input row is
//! widened once for all output rows beside it, and the second runs over contiguous floats.

use super::operator_int8::nearest_code;
use super::requantize::CodeRange;

/// Bilinear resize of `[h, w, channels]` codes, with source indices and weights computed at load.
#[derive(Debug)]
pub struct ResizeInt8 {
    /// Codes in an input row.
    pub input_row: usize,
    /// Channels.
    pub channels: usize,
    /// For each output row the two input rows that it lies between, and the weight of the second.
    pub rows: Vec<(usize, usize, f32)>,
    /// The same for each output column.
    pub columns: Vec<(usize, usize, f32)>,
    /// The input's zero point.
    pub zero_point: u8,
    /// What one code of the input is worth: in codes of the output, or in real units where float32
    /// is written.
    pub multiplier: f32,
}

/// One thread's part of a resize: the input, and two of its rows widened to the output's columns.
#[derive(Debug)]
pub struct ResizeInt8Rows<'a> {
    resize: &'a ResizeInt8,
    input: &'a [u8],
    /// The values of both widened rows.
    values: [&'a mut [f32]; 2],
    /// Which rows of the input they are.
    rows: [Option<usize>; 2],
}

impl ResizeInt8 {
    /// Values in an output row.
    pub fn output_row(&self) -> usize {
        self.columns.len() * self.channels
    }

    /// Floats that each thread needs for its widened rows.
    pub fn scratch_len(&self) -> usize {
        2 * self.output_row()
    }

    /// Begins to resize `input`, with `scratch_len` floats of any value.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn rows_of<'a>(&'a self, input: &'a [u8], scratch: &'a mut [f32]) -> ResizeInt8Rows<'a> {
        let (first, second) = scratch[..self.scratch_len()].split_at_mut(self.output_row());
        ResizeInt8Rows {
            resize: self,
            input,
            values: [first, second],
            rows: [None; 2],
        }
    }

    fn widen_row(&self, input: &[u8], output: &mut [f32]) {
        let (c, zero) = (self.channels, i32::from(self.zero_point));
        let value = |code: u8| (i32::from(code) - zero) as f32;
        for (output, (left, right, weight)) in output.chunks_exact_mut(c.max(1)).zip(&self.columns)
        {
            let (left, right) = (&input[left * c..][..c], &input[right * c..][..c]);
            for ((output, left), right) in output.iter_mut().zip(left).zip(right) {
                *output = value(*left) + (value(*right) - value(*left)) * weight;
            }
        }
    }
}

impl ResizeInt8Rows<'_> {
    /// Output row `y` as codes: `range.code(value * multiplier)`, where `value` is interpolated
    /// from `code - zero_point`.
    pub fn codes(&mut self, y: usize, range: CodeRange, output: &mut [u8]) {
        let multiplier = self.resize.multiplier;
        let (top, bottom, weight) = self.widen(y);
        for ((output, top), bottom) in output.iter_mut().zip(top).zip(bottom) {
            let value = top + (bottom - top) * weight;
            *output = nearest_code(value * multiplier, range);
        }
    }

    /// Output row `y` in float32: `value * multiplier`, where `value` is interpolated from
    /// `code - zero_point`.
    pub fn floats(&mut self, y: usize, output: &mut [f32]) {
        let multiplier = self.resize.multiplier;
        let (top, bottom, weight) = self.widen(y);
        for ((output, top), bottom) in output.iter_mut().zip(top).zip(bottom) {
            let value = top + (bottom - top) * weight;
            *output = value * multiplier;
        }
    }

    /// The two widened rows that output row `y` lies between, and the weight of the second.
    fn widen(&mut self, y: usize) -> (&[f32], &[f32], f32) {
        let (top, bottom, weight) = self.resize.rows[y];
        let first = self.slot(top, bottom);
        let second = self.slot(bottom, top);
        (&*self.values[first], &*self.values[second], weight)
    }

    /// Where row `row` is, widened if it is not there yet; not in the place of row `other`.
    fn slot(&mut self, row: usize, other: usize) -> usize {
        let slot_of = |row| self.rows.iter().position(|slot| *slot == Some(row));
        if let Some(slot) = slot_of(row) {
            return slot;
        }
        let slot = slot_of(other).map_or(0, |other| 1 - other);
        let row_len = self.resize.input_row;
        let input = &self.input[row * row_len..][..row_len];
        self.resize.widen_row(input, &mut *self.values[slot]);
        self.rows[slot] = Some(row);
        slot
    }
}
