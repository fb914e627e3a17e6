//! The largest circle of the picture that is free of some classes.

use super::mask::ClassMask;

/// A circle of free ground, in pixels of the original frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SafeGround {
    /// Column of the centre.
    pub x: f32,
    /// Row of the centre.
    pub y: f32,
    /// Radius, the margin already taken off.
    pub radius_px: f32,
}

/// Looks for free ground; keeps its scratch memory from frame to frame.
#[derive(Debug)]
pub struct SafeGroundFinder {
    avoided: [bool; 256],
    margin_px: f32,
    /// For each pixel the rows to the nearest avoided one of its column.
    rows_away: Vec<u32>,
    envelope: Vec<Parabola>,
}

/// A column whose avoided pixel is the nearest from column `from` on.
#[derive(Clone, Copy, Debug)]
struct Parabola {
    column: i64,
    from: i64,
}

impl SafeGroundFinder {
    /// Keeps `margin_px` away from the pixels of the classes that are `avoided`.
    pub fn new(avoided: impl IntoIterator<Item = u8>, margin_px: f32) -> Self {
        let mut table = [false; 256];
        for class in avoided {
            table[usize::from(class)] = true;
        }
        Self {
            avoided: table,
            margin_px,
            rows_away: Vec::new(),
            envelope: Vec::new(),
        }
    }

    /// The circle around the centre of a pixel that lies in the picture, holds the centre of no
    /// avoided pixel and is the largest of its kind; of equals the uppermost, then the leftmost.
    /// `None` if the margin leaves nothing.
    ///
    /// Exact: squared distances are whole numbers (Meijster, Roerdink, Hesselink, "A General
    /// Algorithm for Computing Distance Transforms in Linear Time", 2000).
    pub fn find(&mut self, mask: &ClassMask) -> Option<SafeGround> {
        let size = mask.size();
        let (width, height) = (size.width as usize, size.height as usize);
        self.measure_columns(mask, width, height);
        // Twice the radius, squared: whole, though the picture's edge is half a pixel away.
        let mut best = (0, 0, 0);
        for y in 0..height {
            let edge = y.min(height - 1 - y) as i64;
            // No circle of this row can be larger than the picture allows.
            if (2 * edge + 1).pow(2) <= best.0 {
                continue;
            }
            let row = &self.rows_away[y * width..][..width];
            lower_envelope(row, &mut self.envelope);
            let mut part = self.envelope.len();
            for x in (0..width).rev() {
                while part > 0 && self.envelope[part - 1].from > x as i64 {
                    part -= 1;
                }
                let away = match part.checked_sub(1) {
                    Some(part) => {
                        let column = self.envelope[part].column;
                        distance2(x as i64, column, i64::from(row[column as usize]))
                    }
                    None => i64::MAX / 8,
                };
                let side = edge.min(x.min(width - 1 - x) as i64);
                let diameter2 = (4 * away).min((2 * side + 1).pow(2));
                if diameter2 > best.0 || (diameter2 == best.0 && y == best.2 && diameter2 > 0) {
                    best = (diameter2, x, y);
                }
            }
        }
        let (diameter2, x, y) = best;
        let radius_px = (diameter2 as f32).sqrt() / 2.0 - self.margin_px;
        (diameter2 > 0 && radius_px > 0.0).then_some(SafeGround {
            x: x as f32 + 0.5,
            y: y as f32 + 0.5,
            radius_px,
        })
    }

    fn measure_columns(&mut self, mask: &ClassMask, width: usize, height: usize) {
        self.rows_away.clear();
        self.rows_away.resize(width * height, NONE);
        for y in 0..height {
            let (above, here) = self.rows_away.split_at_mut(y * width);
            let here = &mut here[..width];
            for (away, class) in here.iter_mut().zip(mask.row(y)) {
                *away = if self.avoided[usize::from(*class)] {
                    0
                } else {
                    NONE
                };
            }
            if y > 0 {
                let above = &above[(y - 1) * width..];
                for (away, above) in here.iter_mut().zip(above) {
                    *away = (*away).min(above.saturating_add(1));
                }
            }
        }
        for y in (0..height.saturating_sub(1)).rev() {
            let (here, below) = self.rows_away.split_at_mut((y + 1) * width);
            let here = &mut here[y * width..];
            for (away, below) in here.iter_mut().zip(below) {
                *away = (*away).min(below.saturating_add(1));
            }
        }
    }
}

/// No avoided pixel in the column.
const NONE: u32 = u32::MAX;

fn distance2(x: i64, column: i64, rows: i64) -> i64 {
    (x - column).pow(2) + rows.pow(2)
}

/// The columns whose avoided pixels are nearest to some pixel of the row, from left to right.
fn lower_envelope(row: &[u32], envelope: &mut Vec<Parabola>) {
    envelope.clear();
    for (column, rows) in row.iter().enumerate() {
        if *rows == NONE {
            continue;
        }
        let (column, rows) = (column as i64, i64::from(*rows));
        let from = loop {
            let Some(last) = envelope.last() else {
                break 0;
            };
            let last_rows = i64::from(row[last.column as usize]);
            if distance2(last.from, last.column, last_rows) > distance2(last.from, column, rows) {
                envelope.pop();
                continue;
            }
            // The first column that is strictly nearer to the new one.
            let gain = column.pow(2) - last.column.pow(2) + rows.pow(2) - last_rows.pow(2);
            break gain.div_euclid(2 * (column - last.column)) + 1;
        };
        if from < row.len() as i64 {
            envelope.push(Parabola { column, from });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::SizePx;

    fn brute_force(mask: &ClassMask, avoided: u8, margin: f32) -> Option<SafeGround> {
        let size = mask.size();
        let (w, h) = (i64::from(size.width), i64::from(size.height));
        let at = |x: i64, y: i64| mask.row(y as usize)[x as usize];
        let mut best: Option<(i64, i64, i64)> = None;
        for y in 0..h {
            for x in 0..w {
                let mut diameter2 = (2 * x.min(w - 1 - x).min(y).min(h - 1 - y) + 1).pow(2);
                for (v, u) in (0..h).flat_map(|v| (0..w).map(move |u| (v, u))) {
                    if at(u, v) == avoided {
                        diameter2 = diameter2.min(4 * ((x - u).pow(2) + (y - v).pow(2)));
                    }
                }
                if diameter2 > 0 && best.is_none_or(|(most, ..)| diameter2 > most) {
                    best = Some((diameter2, x, y));
                }
            }
        }
        let (diameter2, x, y) = best?;
        let radius_px = (diameter2 as f32).sqrt() / 2.0 - margin;
        (radius_px > 0.0).then_some(SafeGround {
            x: x as f32 + 0.5,
            y: y as f32 + 0.5,
            radius_px,
        })
    }

    proptest! {
        #[test]
        fn the_circle_is_that_of_brute_force(
            (width, height) in (1u32..24, 1u32..24), density in 0u32..12, seed in 1u64..u64::MAX,
            margin in 0.0f32..3.0,
        ) {
            let mut state = seed;
            let classes = (0..width * height).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                u8::from(state % 100 < u64::from(density))
            });
            let mask = ClassMask::new(SizePx { width, height }, classes.collect()).expect("fits");
            let found = SafeGroundFinder::new([1], margin).find(&mask);
            prop_assert_eq!(found, brute_force(&mask, 1, margin));
        }
    }
}
