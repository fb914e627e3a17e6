//! Polygons: validation, containment, rasterisation.

use crate::SizePx;

/// Most corners of a polygon.
const MAX_CORNERS: usize = 1000;

/// A polygon in normalised coordinates: 0 to 1 from the frame's left to its right edge and from
/// its upper to its lower one.
#[derive(Clone, Debug, PartialEq)]
pub struct Polygon {
    corners: Vec<[f32; 2]>,
}

/// Why corners are no valid polygon.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PolygonError {
    /// Fewer than three.
    #[error("{0} corners; expected at least 3")]
    TooFew(usize),
    /// More than a thousand: each side is compared with each other.
    #[error("{0} corners; expected at most {MAX_CORNERS}")]
    TooMany(usize),
    /// A corner that is not in the picture.
    #[error("corner {index} is at ({x}, {y}), outside the picture; coordinates go from 0 to 1")]
    Outside {
        /// Which one, from 1.
        index: usize,
        /// Its column.
        x: f32,
        /// Its row.
        y: f32,
    },
    /// Two sides cross or touch.
    #[error("sides {0} and {1} cross each other")]
    Crossing(usize, usize),
    /// All corners on a line.
    #[error("it has no area")]
    Flat,
}

impl Polygon {
    /// A polygon from its corners, in either direction.
    ///
    /// # Errors
    /// When they are too few or too many, outside the picture, or on a line, or if sides cross.
    pub fn new(corners: Vec<[f32; 2]>) -> Result<Self, PolygonError> {
        let n = corners.len();
        if n < 3 {
            return Err(PolygonError::TooFew(n));
        }
        if n > MAX_CORNERS {
            return Err(PolygonError::TooMany(n));
        }
        for (i, [x, y]) in corners.iter().enumerate() {
            if !(0.0..=1.0).contains(x) || !(0.0..=1.0).contains(y) {
                let (index, x, y) = (i + 1, *x, *y);
                return Err(PolygonError::Outside { index, x, y });
            }
        }
        let twice_area: f64 = (0..n)
            .map(|i| {
                let ([x1, y1], [x2, y2]) = (corners[i], corners[(i + 1) % n]);
                f64::from(x1) * f64::from(y2) - f64::from(x2) * f64::from(y1)
            })
            .sum();
        if twice_area.abs() < 1e-9 {
            return Err(PolygonError::Flat);
        }
        let side = |i: usize| (corners[i], corners[(i + 1) % n]);
        for i in 0..n {
            for j in i + 1..n {
                let neighbours = j == i + 1 || (i == 0 && j == n - 1);
                if !neighbours && meet(side(i), side(j)) {
                    return Err(PolygonError::Crossing(i + 1, j + 1));
                }
            }
        }
        Ok(Self { corners })
    }

    /// The corners, normalised.
    pub fn corners(&self) -> &[[f32; 2]] {
        &self.corners
    }

    /// Whether a point, normalised, lies inside or on a side.
    pub fn contains(&self, [x, y]: [f64; 2]) -> bool {
        let mut inside = false;
        for (i, corner) in self.corners.iter().enumerate() {
            let [x1, y1] = corner.map(f64::from);
            let [x2, y2] = self.corners[(i + 1) % self.corners.len()].map(f64::from);
            let turn = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1);
            let beside_x = x1.min(x2) <= x && x <= x1.max(x2);
            let beside_y = y1.min(y2) <= y && y <= y1.max(y2);
            if turn == 0.0 && beside_x && beside_y {
                return true;
            }
            // A ray to the left meets the side, whose lower end does not belong to it.
            if (y1 <= y) != (y2 <= y) && (turn > 0.0) == (y2 > y1) {
                inside = !inside;
            }
        }
        inside
    }

    /// Calls `span(row, first, end)` for each run of pixels whose centres lie inside.
    pub fn pixels(&self, size: SizePx, span: impl FnMut(usize, usize, usize)) {
        let (w, h) = (f64::from(size.width), f64::from(size.height));
        let corners = self.corners.iter();
        let corners: Vec<[f64; 2]> = corners
            .map(|[x, y]| [f64::from(*x) * w, f64::from(*y) * h])
            .collect();
        fill_polygon(&corners, size, span);
    }
}

/// Whether two sides share a point.
fn meet((a, b): ([f32; 2], [f32; 2]), (c, d): ([f32; 2], [f32; 2])) -> bool {
    let turn = |p: [f32; 2], q: [f32; 2], r: [f32; 2]| {
        let at = |p: [f32; 2]| p.map(f64::from);
        let ([px, py], [qx, qy], [rx, ry]) = (at(p), at(q), at(r));
        ((qx - px) * (ry - py) - (qy - py) * (rx - px)).total_cmp(&0.0) as i8
    };
    let within = |p: [f32; 2], q: [f32; 2], r: [f32; 2]| {
        (0..2).all(|i| p[i].min(q[i]) <= r[i] && r[i] <= p[i].max(q[i]))
    };
    let (t1, t2, t3, t4) = (turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b));
    (t1 * t2 < 0 && t3 * t4 < 0)
        || (t1 == 0 && within(a, b, c))
        || (t2 == 0 && within(a, b, d))
        || (t3 == 0 && within(c, d, a))
        || (t4 == 0 && within(c, d, b))
}

/// Calls `span(row, first, end)` for each run of pixels whose centres lie inside the polygon, by the
/// even-odd rule; corners are in pixels.
pub fn fill_polygon(corners: &[[f64; 2]], size: SizePx, mut span: impl FnMut(usize, usize, usize)) {
    let width = size.width as usize;
    let mut crossings: Vec<f64> = Vec::new();
    for y in 0..size.height as usize {
        let middle = y as f64 + 0.5;
        crossings.clear();
        for (i, [x1, y1]) in corners.iter().enumerate() {
            let [x2, y2] = corners[(i + 1) % corners.len()];
            if (*y1 <= middle) != (y2 <= middle) {
                crossings.push(x1 + (middle - y1) / (y2 - y1) * (x2 - x1));
            }
        }
        crossings.sort_by(f64::total_cmp);
        for pair in crossings.chunks_exact(2) {
            let at = |x: f64| ((x - 0.5).ceil().max(0.0) as usize).min(width);
            let (first, end) = (at(pair[0]), at(pair[1]));
            if first < end {
                span(y, first, end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bad_corners_are_told_apart() {
        let error = |corners: &[[f32; 2]]| Polygon::new(corners.to_vec()).expect_err("refused");
        assert_eq!(error(&[[0.0, 0.0], [1.0, 1.0]]), PolygonError::TooFew(2));
        assert_eq!(
            error(&[[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]),
            PolygonError::Flat
        );
        let bow_tie = [[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.9]];
        assert_eq!(error(&bow_tie), PolygonError::Crossing(1, 3));
        let outside = error(&[[0.0, 0.0], [1.5, 0.0], [0.0, 1.0]]);
        assert!(matches!(outside, PolygonError::Outside { index: 2, .. }));
        assert!(Polygon::new(vec![[0.0, 0.0], [f32::NAN, 0.0], [0.0, 1.0]]).is_err());
    }

    /// Points of a coarse grid meet sides and corners often; a grid of 64ths is exact in floats.
    fn winds_around(corners: &[[f32; 2]], [x, y]: [f64; 2]) -> bool {
        let on_side = (0..corners.len()).any(|i| {
            let point = [x as f32, y as f32];
            meet(
                (corners[i], corners[(i + 1) % corners.len()]),
                (point, point),
            )
        });
        let angle = |[cx, cy]: [f32; 2]| (f64::from(cy) - y).atan2(f64::from(cx) - x);
        let turned: f64 = (0..corners.len())
            .map(|i| {
                let turn = angle(corners[(i + 1) % corners.len()]) - angle(corners[i]);
                (turn + 3.0 * std::f64::consts::PI).rem_euclid(2.0 * std::f64::consts::PI)
                    - std::f64::consts::PI
            })
            .sum();
        on_side || turned.abs() > 3.0
    }

    proptest! {
        #[test]
        fn a_point_is_inside_if_the_sides_wind_around_it(
            corners in prop::collection::vec((0u8..9, 0u8..9), 3..8),
        ) {
            let corners = corners.into_iter().map(|(x, y)| [f32::from(x) / 8.0, f32::from(y) / 8.0]);
            if let Ok(polygon) = Polygon::new(corners.collect()) {
                for i in 0..289 {
                    let point = [f64::from(i % 17) / 16.0, f64::from(i / 17) / 16.0];
                    let expected = winds_around(polygon.corners(), point);
                    prop_assert_eq!(polygon.contains(point), expected, "{:?}", point);
                }
            }
        }

        #[test]
        fn pixels_are_those_with_an_odd_number_of_crossings(
            corners in prop::collection::vec((-3.0f64..25.0, -3.0f64..25.0), 3..9),
            (width, height) in (1u32..22, 1u32..22),
        ) {
            let corners: Vec<[f64; 2]> = corners.into_iter().map(|(x, y)| [x, y]).collect();
            let size = SizePx { width, height };
            let mut inside = vec![false; (width * height) as usize];
            fill_polygon(&corners, size, |y, first, end| {
                inside[y * width as usize..][first..end].fill(true);
            });
            for (at, inside) in inside.into_iter().enumerate() {
                let (x, y) = ((at as u32 % width) as f64 + 0.5, (at as u32 / width) as f64 + 0.5);
                let crossed = (0..corners.len()).filter(|i| {
                    let ([x1, y1], [x2, y2]) = (corners[*i], corners[(i + 1) % corners.len()]);
                    (y1 <= y) != (y2 <= y) && x1 + (y - y1) / (y2 - y1) * (x2 - x1) <= x
                });
                prop_assert_eq!(inside, crossed.count() % 2 == 1);
            }
        }
    }
}
