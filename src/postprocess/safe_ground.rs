//! Safe landing area: the largest circle of a mask that is free of given classes.

use super::class_mask::ClassMask;
use mobilens_image::{Polygon, SizePx};

/// A circle free of the avoided classes, in pixels of the original frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SafeGround {
    /// Column of the centre.
    pub x: f32,
    /// Row of the centre.
    pub y: f32,
    /// Radius, with the margin already subtracted.
    pub radius_px: f32,
}

/// Finds the largest free circle; reuses its scratch memory from frame to frame.
#[derive(Debug)]
pub struct SafeGroundFinder {
    avoided: [bool; 256],
    margin_px: f64,
    zone: Option<Polygon>,
    limits: Option<RadiusLimits>,
    distances: DistanceTransform,
}

/// Largest radius around each pixel within the picture and the zone.
#[derive(Debug)]
struct RadiusLimits {
    of: SizePx,
    radii: Vec<f64>,
    /// The largest radius of each row.
    rows: Vec<f64>,
}

impl SafeGroundFinder {
    /// Keeps `margin_px` away from the pixels of the classes that are `avoided`, and stays in the
    /// `zone` if there is one.
    pub fn new(
        avoided: impl IntoIterator<Item = u8>,
        margin_px: f32,
        zone: Option<Polygon>,
    ) -> Self {
        let mut table = [false; 256];
        for class in avoided {
            table[usize::from(class)] = true;
        }
        Self {
            avoided: table,
            margin_px: margin_px.into(),
            zone,
            limits: None,
            distances: DistanceTransform::default(),
        }
    }

    /// The largest circle around the centre of a pixel that lies in the picture, holds the centre
    /// of no pixel outside the zone, and keeps the margin from those of all avoided pixels; of
    /// equal circles the uppermost, then the leftmost. `None` if there is none.
    ///
    /// Exact up to the final square root: squared distances are integers.
    pub fn find(&mut self, mask: &ClassMask) -> Option<SafeGround> {
        let size = mask.size();
        let (width, height) = (size.width as usize, size.height as usize);
        let limits = match self.limits.take() {
            Some(limits) if limits.of == size => limits,
            _ => self.measure_limits(size),
        };
        self.distances.measure(size, |y, avoided| {
            for (avoided, class) in avoided.iter_mut().zip(mask.row(y)) {
                *avoided = self.avoided[usize::from(*class)];
            }
        });
        let mut best = (0.0, 0, 0);
        for y in 0..height {
            if limits.rows[y] <= best.0 {
                continue;
            }
            let limits = &limits.radii[y * width..][..width];
            self.distances.row(y, |x, distance2| {
                if limits[x] < best.0 {
                    return;
                }
                let away = distance2.map_or(f64::INFINITY, |d| (d as f64).sqrt());
                let radius = limits[x].min(away - self.margin_px);
                if radius > best.0 || (radius == best.0 && y == best.2 && radius > 0.0) {
                    best = (radius, x, y);
                }
            });
        }
        self.limits = Some(limits);
        let (radius, x, y) = best;
        (radius > 0.0).then_some(SafeGround {
            x: x as f32 + 0.5,
            y: y as f32 + 0.5,
            radius_px: radius as f32,
        })
    }

    fn measure_limits(&mut self, size: SizePx) -> RadiusLimits {
        let (width, height) = (size.width as usize, size.height as usize);
        let mut radii: Vec<f64> = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .map(|(x, y)| {
                let edge = x.min(width - 1 - x).min(y.min(height - 1 - y));
                edge as f64 + 0.5
            })
            .collect();
        if let Some(zone) = &self.zone {
            let mut outside = vec![true; width * height];
            zone.pixels(size, |y, first, end| {
                outside[y * width..][first..end].fill(false);
            });
            self.distances.measure(size, |y, avoided| {
                avoided.copy_from_slice(&outside[y * width..][..width]);
            });
            for y in 0..height {
                let radii = &mut radii[y * width..][..width];
                self.distances.row(y, |x, distance2| {
                    if let Some(distance2) = distance2 {
                        radii[x] = radii[x].min((distance2 as f64).sqrt());
                    }
                });
            }
        }
        let rows = radii
            .chunks_exact(width.max(1))
            .map(|row| row.iter().copied().fold(0.0, f64::max))
            .collect();
        RadiusLimits {
            of: size,
            radii,
            rows,
        }
    }
}

/// Squared Euclidean distances to the nearest avoided pixel (Meijster, Roerdink, Hesselink, "A General
/// Algorithm for Computing Distance Transforms in Linear Time", 2000).
#[derive(Debug, Default)]
struct DistanceTransform {
    width: usize,
    /// Per pixel, the distance in rows to the nearest avoided pixel of its column.
    rows_away: Vec<u32>,
    row: Vec<bool>,
    envelope: Vec<Parabola>,
}

/// A column whose avoided pixel is nearest from column `from` on.
#[derive(Clone, Copy, Debug)]
struct Parabola {
    column: i64,
    from: i64,
}

impl DistanceTransform {
    /// First pass over columns; `avoided(row, into)` gives the avoided pixels row by row.
    fn measure(&mut self, size: SizePx, mut avoided: impl FnMut(usize, &mut [bool])) {
        let (width, height) = (size.width as usize, size.height as usize);
        self.width = width;
        self.rows_away.clear();
        self.rows_away.resize(width * height, NONE);
        self.row.clear();
        self.row.resize(width, false);
        for y in 0..height {
            let (above, here) = self.rows_away.split_at_mut(y * width);
            let here = &mut here[..width];
            avoided(y, &mut self.row);
            for (away, avoided) in here.iter_mut().zip(&self.row) {
                *away = if *avoided { 0 } else { NONE };
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

    /// Second pass: calls `pixel(column, squared distance)` for each pixel of a row, from the right; `None`
    /// if there is no avoided pixel.
    fn row(&mut self, y: usize, mut pixel: impl FnMut(usize, Option<i64>)) {
        let row = &self.rows_away[y * self.width..][..self.width];
        lower_envelope(row, &mut self.envelope);
        let mut part = self.envelope.len();
        for x in (0..self.width).rev() {
            while part > 0 && self.envelope[part - 1].from > x as i64 {
                part -= 1;
            }
            let distance2 = part.checked_sub(1).map(|part| {
                let column = self.envelope[part].column;
                distance2(x as i64, column, i64::from(row[column as usize]))
            });
            pixel(x, distance2);
        }
    }
}

/// No avoided pixel in the column.
const NONE: u32 = u32::MAX;

fn distance2(x: i64, column: i64, rows: i64) -> i64 {
    (x - column).pow(2) + rows.pow(2)
}

/// Lower envelope of the parabolas of a row: the columns whose avoided pixels are nearest to some pixel,
/// from left to right.
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

    fn brute_force(
        mask: &ClassMask,
        avoided: u8,
        margin: f32,
        zone: &Option<Polygon>,
    ) -> Option<SafeGround> {
        let size = mask.size();
        let (w, h) = (i64::from(size.width), i64::from(size.height));
        let mut inside = vec![zone.is_none(); (w * h) as usize];
        if let Some(zone) = zone {
            zone.pixels(size, |y, first, end| {
                inside[y * w as usize..][first..end].fill(true)
            });
        }
        let mut best: Option<(f64, i64, i64)> = None;
        for y in 0..h {
            for x in 0..w {
                let mut radius = x.min(w - 1 - x).min(y).min(h - 1 - y) as f64 + 0.5;
                for (v, u) in (0..h).flat_map(|v| (0..w).map(move |u| (v, u))) {
                    let away = (((x - u).pow(2) + (y - v).pow(2)) as f64).sqrt();
                    if !inside[(v * w + u) as usize] {
                        radius = radius.min(away);
                    }
                    if mask.row(v as usize)[u as usize] == avoided {
                        radius = radius.min(away - f64::from(margin));
                    }
                }
                if radius > 0.0 && best.is_none_or(|(most, ..)| radius > most) {
                    best = Some((radius, x, y));
                }
            }
        }
        best.map(|(radius, x, y)| SafeGround {
            x: x as f32 + 0.5,
            y: y as f32 + 0.5,
            radius_px: radius as f32,
        })
    }

    proptest! {
        #[test]
        fn the_circle_is_that_of_brute_force(
            (width, height) in (1u32..24, 1u32..24), density in 0u32..12, seed in 1u64..u64::MAX,
            margin in 0.0f32..3.0, zoned: bool,
        ) {
            let corners = vec![[0.1, 0.0], [0.9, 0.2], [0.7, 1.0], [0.3, 0.7]];
            let zone = zoned.then(|| Polygon::new(corners).expect("a zone"));
            let mut state = seed;
            let classes = (0..width * height).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                u8::from(state % 100 < u64::from(density))
            });
            let mask = ClassMask::new(SizePx { width, height }, classes.collect()).expect("fits");
            let mut finder = SafeGroundFinder::new([1], margin, zone.clone());
            let found = finder.find(&mask);
            prop_assert_eq!(found, brute_force(&mask, 1, margin, &zone));
            prop_assert_eq!(finder.find(&mask), found, "again");
        }
    }
}
