//! Change detection against a reference plane (background subtraction).
//!
//! Each luma value is compared with the plane of the last inference. Three causes other than motion are
//! tolerated: a global change of brightness (the median of all differences is subtracted), camera shake
//! (a value may lie anywhere within the range of its neighbours), and noise and flicker (a running mean
//! of the frame-to-frame difference of each value raises its threshold).

use std::ops::Range;

use super::LumaPlane;
use mobilens_image::RectPx;

/// Grey levels outside the neighbours' range from which a value counts as changed.
const THRESHOLD_LEVELS: i16 = 12;
/// Mean absolute difference, in grey levels, that makes a scene cut.
const CUT_LEVELS: u64 = 30;
/// Decay of the running mean per frame, as a shift (1/32).
const DECAY_SHIFT: u32 = 5;
/// Side of a cell, in values, in which changed values are grouped.
const CELL: usize = 4;

/// Detects changes since the last inference, and scene cuts.
#[derive(Clone, Debug, Default)]
pub struct ChangeDetector {
    before: LumaPlane,
    /// Least and greatest value in the neighbourhood of each value, at the last inference.
    low: Vec<u8>,
    high: Vec<u8>,
    /// Running mean of each value's frame-to-frame difference, in 1/16 grey levels.
    noise: Vec<u16>,
    changed: Vec<bool>,
    has_reference: bool,
    shift: i16,
}

impl ChangeDetector {
    /// Processes the next frame; true on a scene cut.
    pub fn next(&mut self, plane: &LumaPlane) -> bool {
        let n = plane.data.len();
        let is_same_size = self.before.width == plane.width && self.before.data.len() == n;
        let mut is_cut = false;
        if is_same_size {
            let shift = median_difference(&self.before.data, &plane.data);
            let mut sum = 0;
            for ((noise, a), b) in self
                .noise
                .iter_mut()
                .zip(&self.before.data)
                .zip(&plane.data)
            {
                let difference = (i16::from(*b) - i16::from(*a) - shift).unsigned_abs();
                sum += u64::from(difference);
                // Bounded, so that a passing object does not count as flicker.
                let target = (difference * 16).min(*noise + 16 * 8);
                let delta = i32::from(target) - i32::from(*noise);
                *noise = (i32::from(*noise) + (delta >> DECAY_SHIFT)) as u16;
            }
            is_cut = sum > CUT_LEVELS * n as u64;
        } else {
            self.noise = vec![0; n];
            self.has_reference = false;
        }
        if is_cut {
            self.has_reference = false;
            self.noise.fill(0);
        }
        self.before.clone_from(plane);
        self.compare();
        is_cut
    }

    /// Makes the last frame the reference that later frames are compared with.
    pub fn set_reference(&mut self) {
        self.set_reference_rows(0..self.before.width, 0..self.before.height);
        self.has_reference = true;
    }

    /// The same for a part of the picture, in pixels of the frame; for all of it if there is no reference.
    pub fn set_reference_in(&mut self, part: &RectPx) {
        if !self.has_reference {
            self.set_reference();
            return;
        }
        let step = self.before.step.max(1) as f32;
        let range = |start: f32, side: f32, all: usize| {
            let end = ((start + side) / step).ceil() as usize;
            ((start / step).floor() as usize).min(all)..end.min(all)
        };
        let columns = range(part.x, part.width, self.before.width);
        let rows = range(part.y, part.height, self.before.height);
        self.set_reference_rows(columns, rows);
    }

    fn set_reference_rows(&mut self, columns: Range<usize>, rows: Range<usize>) {
        let (width, height) = (self.before.width, self.before.height);
        let data = &self.before.data;
        self.low.resize(data.len(), 0);
        self.high.resize(data.len(), 0);
        for y in rows {
            for x in columns.clone() {
                let (mut low, mut high) = (u8::MAX, 0);
                for ny in y.saturating_sub(1)..(y + 2).min(height) {
                    for value in &data[ny * width..][x.saturating_sub(1)..(x + 2).min(width)] {
                        low = low.min(*value);
                        high = high.max(*value);
                    }
                }
                self.low[y * width + x] = low;
                self.high[y * width + x] = high;
            }
        }
    }

    /// Share of the picture (0 to 1) that differs from the reference; 1 without a reference.
    pub fn share(&self) -> f64 {
        if !self.has_reference {
            return 1.0;
        }
        let changed = self.changed.iter().filter(|c| **c).count();
        changed as f64 / self.changed.len().max(1) as f64
    }

    /// Bounding boxes of connected changed cells, in pixels of the frame, largest first.
    pub fn areas(&self) -> Vec<RectPx> {
        let (width, height) = (self.before.width, self.before.height);
        let (columns, rows) = (width.div_ceil(CELL), height.div_ceil(CELL));
        let mut cells = vec![false; columns * rows];
        for (at, _) in self
            .changed
            .iter()
            .enumerate()
            .filter(|(_, changed)| **changed)
        {
            cells[at / width / CELL * columns + at % width / CELL] = true;
        }
        let mut areas = Vec::new();
        for start in 0..cells.len() {
            if !cells[start] {
                continue;
            }
            let (mut x0, mut y0, mut x1, mut y1) = (columns, rows, 0, 0);
            let mut open = vec![start];
            cells[start] = false;
            while let Some(at) = open.pop() {
                let (x, y) = (at % columns, at / columns);
                (x0, y0, x1, y1) = (x0.min(x), y0.min(y), x1.max(x), y1.max(y));
                for ny in y.saturating_sub(1)..(y + 2).min(rows) {
                    for nx in x.saturating_sub(1)..(x + 2).min(columns) {
                        if std::mem::take(&mut cells[ny * columns + nx]) {
                            open.push(ny * columns + nx);
                        }
                    }
                }
            }
            let px = (CELL * self.before.step) as f32;
            areas.push(RectPx {
                x: x0 as f32 * px,
                y: y0 as f32 * px,
                width: (x1 + 1 - x0) as f32 * px,
                height: (y1 + 1 - y0) as f32 * px,
            });
        }
        areas.sort_by(|a, b| b.area().total_cmp(&a.area()));
        areas
    }

    /// Marks each value outside the range of its neighbourhood in the reference.
    fn compare(&mut self) {
        let n = self.before.data.len();
        self.changed.clear();
        if !self.has_reference {
            self.changed.resize(n, true);
            return;
        }
        // The middle of the range approximates the reference value.
        let middles: Vec<u8> = self
            .low
            .iter()
            .zip(&self.high)
            .map(|(l, h)| l.midpoint(*h))
            .collect();
        self.shift = median_difference(&middles, &self.before.data);
        let bounds = self.low.iter().zip(&self.high).zip(&self.noise);
        let marks = self
            .before
            .data
            .iter()
            .zip(bounds)
            .map(|(value, ((low, high), noise))| {
                let value = i16::from(*value) - self.shift;
                let slack = THRESHOLD_LEVELS + (noise * 3 / 16) as i16;
                value < i16::from(*low) - slack || value > i16::from(*high) + slack
            });
        self.changed.extend(marks);
        // A single isolated value is noise.
        let width = self.before.width.max(1);
        let isolated: Vec<usize> = (0..n)
            .filter(|at| self.changed[*at])
            .filter(|at| {
                let beside = |offset: isize| {
                    let other = at.checked_add_signed(offset).filter(|o| *o < n);
                    other.is_some_and(|o| self.changed[o] && (o % width).abs_diff(at % width) <= 1)
                };
                let width = width as isize;
                ![-1, 1, -width, width].into_iter().any(beside)
            })
            .collect();
        for at in isolated {
            self.changed[at] = false;
        }
    }
}

/// The median of `b - a`.
fn median_difference(a: &[u8], b: &[u8]) -> i16 {
    let mut counts = [0_u32; 511];
    for (a, b) in a.iter().zip(b) {
        counts[(255 + i16::from(*b) - i16::from(*a)) as usize] += 1;
    }
    let half = (a.len().min(b.len()) as u32).div_ceil(2);
    let mut sum = 0;
    let median = counts.iter().position(|count| {
        sum += count;
        sum >= half
    });
    median.unwrap_or(255) as i16 - 255
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texture, with a bright block of 6x6 at `block`.
    fn plane(block: Option<usize>, brighter: i16, jitter: usize) -> LumaPlane {
        let (width, height) = (64, 40);
        let value = |x: usize, y: usize| {
            let ground = 60 + ((x / 3 * 7 + y / 3 * 13) % 40) as i16;
            let in_block = block.is_some_and(|b| (b..b + 6).contains(&x) && (10..16).contains(&y));
            (if in_block { 200 } else { ground } + brighter).clamp(0, 255) as u8
        };
        let cells = (0..width * height).map(|i| value(i % width + jitter, i / width));
        LumaPlane {
            width,
            height,
            step: 4,
            data: cells.collect(),
        }
    }

    #[test]
    fn brightness_and_shake_are_tolerated_and_a_block_is_detected() {
        let mut change = ChangeDetector::default();
        assert!(!change.next(&plane(None, 0, 0)));
        assert_eq!(change.share(), 1.0, "no reference yet");
        change.set_reference();
        for (brighter, jitter) in [(0, 0), (25, 0), (-25, 0), (0, 1), (12, 1)] {
            change.next(&plane(None, brighter, jitter));
            assert_eq!(change.share(), 0.0, "{brighter} brighter, {jitter} aside");
        }
        change.next(&plane(Some(20), 0, 0));
        assert!(
            (change.share() - 36.0 / 2560.0).abs() < 0.005,
            "{}",
            change.share()
        );
        let areas = change.areas();
        assert_eq!(areas.len(), 1);
        assert!(
            areas[0].x <= 80.0 && areas[0].x + areas[0].width >= 104.0,
            "{areas:?}"
        );
        // It is in the new reference: no change any more.
        change.set_reference();
        change.next(&plane(Some(20), 0, 0));
        assert_eq!(change.share(), 0.0);
        // It goes.
        change.next(&plane(None, 0, 0));
        assert!(change.share() > 0.004, "all but its border");
    }

    #[test]
    fn another_scene_is_a_cut() {
        let mut change = ChangeDetector::default();
        change.next(&plane(None, 0, 0));
        let mut other = plane(None, 0, 0);
        for (i, value) in other.data.iter_mut().enumerate() {
            *value = (i * 97 % 251) as u8;
        }
        assert!(change.next(&other));
        assert_eq!(change.share(), 1.0);
    }

    #[test]
    fn constant_flicker_is_tolerated() {
        let mut change = ChangeDetector::default();
        let flicker = |on: bool| plane(on.then_some(30), 0, 0);
        change.next(&flicker(false));
        change.set_reference();
        change.next(&flicker(true));
        assert!(change.share() > 0.0);
        for i in 0..200 {
            change.next(&flicker(i % 2 == 0));
        }
        change.next(&flicker(true));
        assert_eq!(change.share(), 0.0);
    }
}
