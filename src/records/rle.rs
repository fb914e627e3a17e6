//! Masks as COCO run lengths (pycocotools, `maskApi.c`): columns from left to right, each from the
//! top; runs of zeros and ones by turns, zeros first, differences packed into printable characters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::postprocess::{ClassMask, InstanceMask};
use mobilens_image::SizePx;

/// The pixels of one class, run-length encoded as pycocotools reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rle {
    /// Rows and columns.
    pub size: [u32; 2],
    /// Packed run lengths.
    pub counts: String,
}

/// Why run lengths do not decode to a mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RleError {
    /// Something else than the characters of packed lengths.
    #[error("the run lengths are damaged")]
    Damaged,
    /// The lengths do not add up.
    #[error("the runs cover {got} pixels, not {expected}")]
    Length {
        /// What they add up to.
        got: u64,
        /// What they should.
        expected: u64,
    },
}

impl Rle {
    /// Run lengths, zeros first, packed.
    pub fn pack(size: [u32; 2], runs: &[u64]) -> Self {
        let mut counts = String::new();
        for (i, run) in runs.iter().enumerate() {
            let run = *run as i64;
            let mut rest = if i > 2 { run - runs[i - 2] as i64 } else { run };
            loop {
                let low = (rest & 0x1f) as u8;
                rest >>= 5;
                let ends = rest == if low & 0x10 == 0 { 0 } else { -1 };
                counts.push(char::from(48 + (low | if ends { 0 } else { 0x20 })));
                if ends {
                    break;
                }
            }
        }
        Self { size, counts }
    }

    /// The pixels, in the smallest columns that hold them.
    ///
    /// # Errors
    /// When the run lengths are damaged or do not add up to the size.
    pub fn to_mask(&self) -> Result<InstanceMask, RleError> {
        let [height, _] = self.size.map(u64::from);
        let (mut at, mut ones) = (0, Vec::new());
        for (i, run) in self.runs()?.into_iter().enumerate() {
            if i % 2 == 1 && run > 0 {
                ones.push(at..at + run);
            }
            at += run;
        }
        let (first, end) = match (ones.first(), ones.last()) {
            (Some(first), Some(last)) => (first.start / height, last.end.div_ceil(height)),
            _ => (0, 0),
        };
        let (width, rows) = ((end - first) as usize, height as usize);
        let mut pixels = vec![false; width * rows];
        for place in ones.into_iter().flatten() {
            let (x, y) = ((place / height - first) as usize, (place % height) as usize);
            pixels[y * width + x] = true;
        }
        let size = SizePx {
            width: width as u32,
            height: rows as u32,
        };
        InstanceMask::new(first as u32, 0, size, pixels).ok_or(RleError::Damaged)
    }

    /// The run lengths, zeros first.
    ///
    /// # Errors
    /// When they are damaged or do not add up to the size.
    pub fn runs(&self) -> Result<Vec<u64>, RleError> {
        let mut runs: Vec<u64> = Vec::new();
        let mut bytes = self.counts.bytes();
        while let Some(first) = bytes.next() {
            let (mut value, mut shift, mut byte) = (0_i64, 0, first);
            loop {
                let bits = byte.checked_sub(48).filter(|b| *b < 64 && shift < 60);
                let bits = i64::from(bits.ok_or(RleError::Damaged)?);
                value |= (bits & 0x1f) << shift;
                shift += 5;
                if bits & 0x20 == 0 {
                    if bits & 0x10 != 0 {
                        value |= -1 << shift;
                    }
                    break;
                }
                byte = bytes.next().ok_or(RleError::Damaged)?;
            }
            if runs.len() > 2 {
                let before = i64::try_from(runs[runs.len() - 2]).map_err(|_| RleError::Damaged)?;
                value = value.checked_add(before).ok_or(RleError::Damaged)?;
            }
            runs.push(u64::try_from(value).map_err(|_| RleError::Damaged)?);
        }
        let got = runs.iter().fold(0_u64, |sum, run| sum.saturating_add(*run));
        let expected = u64::from(self.size[0]) * u64::from(self.size[1]);
        if got == expected {
            Ok(runs)
        } else {
            Err(RleError::Length { got, expected })
        }
    }
}

/// The run lengths of one object in a frame of `frame` pixels.
pub fn rle_of(mask: &InstanceMask, frame: SizePx) -> Rle {
    let height = u64::from(frame.height);
    let across = mask.x..frame.width.min(mask.x.saturating_add(mask.size().width));
    let down = mask.y..frame.height.min(mask.y.saturating_add(mask.size().height));
    let (mut runs, mut is_set, mut end) = (Vec::new(), false, 0);
    let mut change = |at: u64, now: bool| {
        if now != is_set {
            runs.push(at - end);
            (end, is_set) = (at, now);
        }
    };
    for x in across {
        let column = u64::from(x) * height;
        for y in down.clone() {
            change(column + u64::from(y), mask.contains(x, y));
        }
        if down.end < frame.height {
            change(column + u64::from(down.end), false);
        }
        // The part above the mask in the next column.
        if down.start > 0 {
            change(column + height, false);
        }
    }
    // A column that is set down to its foot.
    let right = frame.width.min(mask.x.saturating_add(mask.size().width));
    change(u64::from(right) * height, false);
    let total = u64::from(frame.width) * height;
    if end < total {
        runs.push(total - end);
    }
    Rle::pack([frame.height, frame.width], &runs)
}

/// The run lengths of every class that the mask holds, by class.
pub fn rles_of(mask: &ClassMask) -> Vec<(u8, Rle)> {
    let size = mask.size();
    let total = u64::from(size.width) * u64::from(size.height);
    // For each class its runs, and where the last of them ended.
    let mut classes: Vec<(Vec<u64>, u64)> = vec![(Vec::new(), 0); 256];
    let mut at = 0;
    for (class, len) in column_runs(mask) {
        let (runs, end) = &mut classes[usize::from(class)];
        runs.push(at - *end);
        runs.push(len);
        at += len;
        *end = at;
    }
    let with_pixels = classes.into_iter().zip(0_u8..=255);
    with_pixels
        .filter(|((runs, _), _)| !runs.is_empty())
        .map(|((mut runs, end), class)| {
            if end < total {
                runs.push(total - end);
            }
            (class, Rle::pack([size.height, size.width], &runs))
        })
        .collect()
}

/// Runs of one class down the columns, going on from the foot of one to the head of the next.
fn column_runs(mask: &ClassMask) -> Vec<(u8, u64)> {
    const CHUNK: usize = 32;
    let (width, height) = (mask.size().width as usize, mask.size().height as usize);
    if width == 0 || height == 0 {
        return Vec::new();
    }
    // Where a pixel differs from the one above it, row by row: rows are compared in whole, as
    // most of each equals the one above.
    let mut changes: Vec<(u32, u32)> = Vec::new();
    for y in 1..height {
        let pairs = mask.row(y - 1).chunks(CHUNK).zip(mask.row(y).chunks(CHUNK));
        for (chunk, (above, here)) in pairs.enumerate() {
            if above == here {
                continue;
            }
            for (x, (above, here)) in above.iter().zip(here).enumerate() {
                if above != here {
                    changes.push(((chunk * CHUNK + x) as u32, y as u32));
                }
            }
        }
    }
    // By column; within a column they stay in order.
    let mut starts = vec![0_usize; width + 1];
    for (x, _) in &changes {
        starts[*x as usize + 1] += 1;
    }
    for x in 0..width {
        starts[x + 1] += starts[x];
    }
    let mut next = starts.clone();
    let mut rows = vec![0_u32; changes.len()];
    for (x, y) in changes {
        let place = &mut next[x as usize];
        rows[*place] = y;
        *place += 1;
    }
    let mut runs: Vec<(u8, u64)> = Vec::new();
    for x in 0..width {
        let changes = &rows[starts[x]..starts[x + 1]];
        let mut top = 0;
        for y in changes.iter().copied().chain([height as u32]) {
            let class = mask.row(top as usize)[x];
            let len = u64::from(y - top);
            match runs.last_mut() {
                Some((last, so_far)) if *last == class => *so_far += len,
                _ => runs.push((class, len)),
            }
            top = y;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_packed_as_pycocotools_does() {
        // pycocotools.mask.encode of a 4x5 mask with ones in its first column and at (2, 3).
        let classes = [
            [1, 0, 0, 0, 0],
            [1, 0, 0, 0, 0],
            [1, 0, 0, 1, 0],
            [1, 0, 0, 0, 0],
        ];
        let size = SizePx {
            width: 5,
            height: 4,
        };
        let mask = ClassMask::new(size, classes.concat()).expect("fits");
        let (class, rle) = &rles_of(&mask)[1];
        assert_eq!((*class, rle.size), (1, [4, 5]));
        assert_eq!(rle.counts, "04:MK");
        assert_eq!(rle.runs(), Ok(vec![0, 4, 10, 1, 5]));
    }

    #[test]
    fn lengths_that_overflow_are_refused() {
        // Each is half an exbi more than the last but one.
        let rle = Rle {
            size: [4, 5],
            counts: format!("{}?", "o".repeat(11)).repeat(64),
        };
        assert_eq!(rle.runs(), Err(RleError::Damaged));
    }

    #[test]
    fn damaged_lengths_are_refused() {
        let rle = |counts: &str| Rle {
            size: [4, 5],
            counts: counts.to_owned(),
        };
        assert_eq!(
            rle("04:M").runs(),
            Err(RleError::Length {
                got: 15,
                expected: 20
            })
        );
        for damaged in ["P", "\u{7f}", "0P", "ooooooooooooooooooo0"] {
            assert!(rle(damaged).runs().is_err(), "{damaged:?}");
        }
    }

    proptest! {
        #[test]
        fn an_object_has_the_run_lengths_of_its_class_mask(
            (width, height) in (1u32..20, 1u32..20), (x, y) in (0u32..20, 0u32..20),
            (columns, rows) in (1u32..20, 1u32..20), seed in 1u64..u64::MAX
        ) {
            let (frame, size) = (SizePx { width, height }, SizePx { width: columns, height: rows });
            let bit = |i: u32| (seed >> (i * 7 % 64)) & 1 == 1;
            let pixels: Vec<bool> = (0..columns * rows).map(bit).collect();
            let mask = InstanceMask::new(x, y, size, pixels).expect("fits");
            let at = |i: u32| u8::from(mask.contains(i % width, i / width));
            let classes: Vec<u8> = (0..width * height).map(at).collect();
            let classes = ClassMask::new(frame, classes).expect("fits");
            let expected = rles_of(&classes).into_iter().find(|(class, _)| *class == 1);
            let empty = Rle::pack([height, width], &[u64::from(width * height)]);
            let rle = rle_of(&mask, frame);
            prop_assert_eq!(&rle, &expected.map_or(empty, |(_, rle)| rle));
            let back = rle.to_mask().expect("own");
            for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
                prop_assert_eq!(back.contains(x, y), mask.contains(x, y));
            }
        }

        #[test]
        fn every_class_comes_back((width, height) in (1u32..40, 1u32..40), classes in 1u8..5, seed in 1u64..u64::MAX) {
            let mut state = seed;
            let pixels: Vec<u8> = (0..width * height).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                if state % 4 == 0 { (state >> 32) as u8 % classes } else { 0 }
            }).collect();
            let mask = ClassMask::new(SizePx { width, height }, pixels.clone()).expect("fits");
            let mut back = vec![255_u8; pixels.len()];
            for (class, rle) in rles_of(&mask) {
                let mut at = 0;
                for (i, run) in rle.runs().expect("own").into_iter().enumerate() {
                    for place in at..at + run {
                        let (x, y) = (place / u64::from(height), place % u64::from(height));
                        if i % 2 == 1 {
                            back[(y * u64::from(width) + x) as usize] = class;
                        }
                    }
                    at += run;
                }
            }
            prop_assert_eq!(back, pixels);
        }
    }
}
