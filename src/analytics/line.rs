//! Line crossing counter with hysteresis.
//!
//! An object is on a side once it is farther from the line than the hysteresis margin. A crossing is a
//! path from one side to the other through the segment, not around its end: every step is tested for
//! intersection, and only an odd number of intersections counts. A box that jitters or stands on the
//! line intersects often and stays within the margin.

use std::collections::BTreeMap;

/// Direction of a crossing, seen from the line's first point to its second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From left to right.
    In,
    /// From right to left.
    Out,
}

/// A crossing of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossing {
    /// The object's track.
    pub track_id: u64,
    /// Its direction.
    pub direction: Direction,
    /// Time since the object was last on the other side, in milliseconds.
    pub duration_ms: f64,
}

/// Number of crossings of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// From left to right.
    pub inward: u64,
    /// From right to left.
    pub outward: u64,
}

/// Counts the crossings of one line. Coordinates are pixels.
#[derive(Clone, Debug)]
pub struct LineCounter {
    from: [f64; 2],
    to: [f64; 2],
    counts: LineCounts,
    objects: BTreeMap<u64, Object>,
}

#[derive(Clone, Copy, Debug)]
struct Object {
    at: [f64; 2],
    /// The side it was last on, and when.
    side: Option<(Side, f64)>,
    /// Whether it has intersected the segment an odd number of times since.
    through: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl LineCounter {
    /// A counter for the line `from`-`to`.
    pub fn new(from: [f64; 2], to: [f64; 2]) -> Self {
        Self {
            from,
            to,
            counts: LineCounts::default(),
            objects: BTreeMap::new(),
        }
    }

    /// Processes an object's position; `margin_px` is the hysteresis margin.
    pub fn observe(
        &mut self,
        track_id: u64,
        at: [f64; 2],
        t_ms: f64,
        margin_px: f64,
    ) -> Option<Crossing> {
        let distance = self.distance(at);
        let side = if distance > margin_px {
            Some(Side::Right)
        } else if distance < -margin_px {
            Some(Side::Left)
        } else {
            None
        };
        let object = self.objects.entry(track_id).or_insert(Object {
            at,
            side: None,
            through: false,
        });
        object.through ^= step_crosses_segment(object.at, at, self.from, self.to);
        object.at = at;
        let side = side?;
        let before = object.side.replace((side, t_ms));
        let through = std::mem::take(&mut object.through);
        let (was, since) = before?;
        if was == side || !through {
            return None;
        }
        let direction = match side {
            Side::Right => Direction::In,
            Side::Left => Direction::Out,
        };
        match direction {
            Direction::In => self.counts.inward += 1,
            Direction::Out => self.counts.outward += 1,
        }
        Some(Crossing {
            track_id,
            direction,
            duration_ms: t_ms - since,
        })
    }

    /// Removes objects whose track is not alive.
    pub fn retain(&mut self, is_alive: impl Fn(u64) -> bool) {
        self.objects.retain(|id, _| is_alive(*id));
    }

    /// The crossings so far.
    pub fn counts(&self) -> LineCounts {
        self.counts
    }

    /// Goes on counting from `counts`.
    pub fn set_counts(&mut self, counts: LineCounts) {
        self.counts = counts;
    }

    /// Signed distance in pixels, positive to the right of the line's direction (rows grow downwards).
    fn distance(&self, [x, y]: [f64; 2]) -> f64 {
        let [dx, dy] = [self.to[0] - self.from[0], self.to[1] - self.from[1]];
        (dx * (y - self.from[1]) - dy * (x - self.from[0])) / dx.hypot(dy)
    }
}

/// Whether the step `p`-`q` intersects the segment `a`-`b`. A point on the line counts as left of it, so
/// that two steps which meet there intersect once or not at all.
fn step_crosses_segment(p: [f64; 2], q: [f64; 2], a: [f64; 2], b: [f64; 2]) -> bool {
    let turn = |a: [f64; 2], b: [f64; 2], c: [f64; 2]| {
        (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    };
    let (side_p, side_q) = (turn(a, b, p), turn(a, b, q));
    if (side_p > 0.0) == (side_q > 0.0) {
        return false;
    }
    // The segment includes its ends.
    let (u, v) = (turn(p, q, a), turn(p, q, b));
    u == 0.0 || v == 0.0 || (u > 0.0) != (v > 0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(points: &[[f64; 2]]) -> LineCounts {
        // Upwards in the picture: its right is where columns grow.
        let mut line = LineCounter::new([100.0, 200.0], [100.0, 0.0]);
        for (i, at) in points.iter().enumerate() {
            line.observe(1, *at, i as f64 * 40.0, 5.0);
        }
        line.counts()
    }

    #[test]
    fn there_and_back_is_one_in_and_one_out() {
        let way: Vec<_> = (0..40)
            .map(|i| [80.0 + f64::from(20 - (i - 20_i32).abs()) * 3.0, 100.0])
            .collect();
        assert_eq!(
            counts(&way),
            LineCounts {
                inward: 1,
                outward: 1
            }
        );
    }

    #[test]
    fn jitter_on_the_line_counts_by_the_side_where_it_ends() {
        let mut way = vec![[80.0, 100.0]];
        way.extend((0..99).map(|i| [100.0 + f64::from(i % 5 - 2) * 2.0, 100.0]));
        assert_eq!(counts(&way), LineCounts::default(), "still on it");
        way.push([120.0, 100.0]);
        assert_eq!(
            counts(&way),
            LineCounts {
                inward: 1,
                outward: 0
            }
        );
        way.pop();
        way.push([80.0, 100.0]);
        assert_eq!(counts(&way), LineCounts::default(), "back again");
    }

    #[test]
    fn a_path_around_the_end_is_no_crossing() {
        let way = [[80.0, 100.0], [80.0, 250.0], [120.0, 250.0], [120.0, 100.0]];
        assert_eq!(counts(&way), LineCounts::default());
        // And back through it, from right to left.
        let back = [way.as_slice(), &[[80.0, 100.0]]].concat();
        assert_eq!(
            counts(&back),
            LineCounts {
                inward: 0,
                outward: 1
            }
        );
    }

    #[test]
    fn a_single_step_across_the_line_counts() {
        assert_eq!(counts(&[[10.0, 50.0], [190.0, 150.0]]).inward, 1);
    }

    proptest! {
        /// In whole numbers, with the rule written out: a point on the line is left of it.
        #[test]
        fn crossing_equals_exact_arithmetic(n in prop::collection::vec(-6_i64..7, 8)) {
            let (p, q, a, b) = ([n[0], n[1]], [n[2], n[3]], [n[4], n[5]], [n[6], n[7]]);
            prop_assume!(a != b);
            let float = |v: [i64; 2]| v.map(|v| v as f64);
            let [ux, uy] = [b[0] - a[0], b[1] - a[1]];
            let height = |v: [i64; 2]| ux * (v[1] - a[1]) - uy * (v[0] - a[0]);
            let along = |v: [i64; 2]| ux * (v[0] - a[0]) + uy * (v[1] - a[1]);
            let (hp, hq) = (height(p), height(q));
            // Where the step meets the line: along(p) + (along(q) - along(p)) * hp / (hp - hq).
            let expected = (hp > 0) != (hq > 0) && {
                let (numerator, denominator) = (along(p) * (hp - hq) + (along(q) - along(p)) * hp, hp - hq);
                let (numerator, denominator) = if denominator < 0 { (-numerator, -denominator) } else { (numerator, denominator) };
                numerator >= 0 && numerator <= denominator * (ux * ux + uy * uy)
            };
            prop_assert_eq!(step_crosses_segment(float(p), float(q), float(a), float(b)), expected);
        }
    }
}
