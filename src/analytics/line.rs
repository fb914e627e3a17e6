//! Lines that objects cross, each crossing counted once.
//!
//! An object is firmly on a side once it is farther from the line than the hysteresis. A crossing is
//! a way from firmly on one side to firmly on the other that went through the line itself and not
//! round its end: every step between is held against the segment, and only an odd number of passes
//! brings one over. A box that trembles or stands on the line passes often and is never firm.

use std::collections::BTreeMap;

/// Which way a line was crossed, seen along it from its first point to its second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From its left to its right.
    In,
    /// From its right to its left.
    Out,
}

/// An object that crossed a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossing {
    /// Its track.
    pub track_id: u64,
    /// Which way.
    pub direction: Direction,
    /// Time since it was last firmly on the other side.
    pub duration_ms: f64,
}

/// How often a line was crossed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// From left to right.
    pub inward: u64,
    /// From right to left.
    pub outward: u64,
}

/// One line and the objects near it. Coordinates are pixels.
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
    /// Where it was last firmly, and when.
    firm: Option<(Side, f64)>,
    /// Passes through the line since then, an odd number.
    through: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl LineCounter {
    /// A line in pixels.
    pub fn new(from: [f64; 2], to: [f64; 2]) -> Self {
        Self {
            from,
            to,
            counts: LineCounts::default(),
            objects: BTreeMap::new(),
        }
    }

    /// Takes in where an object was seen; `margin_px` is how far from the line it is firmly on a
    /// side.
    pub fn observe(
        &mut self,
        track_id: u64,
        at: [f64; 2],
        t_ms: f64,
        margin_px: f64,
    ) -> Option<Crossing> {
        let distance = self.distance(at);
        let firm = if distance > margin_px {
            Some(Side::Right)
        } else if distance < -margin_px {
            Some(Side::Left)
        } else {
            None
        };
        let object = self.objects.entry(track_id).or_insert(Object {
            at,
            firm: None,
            through: false,
        });
        object.through ^= crosses(object.at, at, self.from, self.to);
        object.at = at;
        let side = firm?;
        let before = object.firm.replace((side, t_ms));
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

    /// Forgets the objects that `is_alive` does not know any more.
    pub fn retain(&mut self, is_alive: impl Fn(u64) -> bool) {
        self.objects.retain(|id, _| is_alive(*id));
    }

    /// How often it was crossed so far.
    pub fn counts(&self) -> LineCounts {
        self.counts
    }

    /// Pixels to the right of the line's direction; rows grow downwards.
    fn distance(&self, [x, y]: [f64; 2]) -> f64 {
        let [dx, dy] = [self.to[0] - self.from[0], self.to[1] - self.from[1]];
        (dx * (y - self.from[1]) - dy * (x - self.from[0])) / dx.hypot(dy)
    }
}

/// Whether the step from `p` to `q` goes through the segment from `a` to `b`. A point on the line
/// counts as left of it, so that two steps which meet there cross once or not at all.
pub fn crosses(p: [f64; 2], q: [f64; 2], a: [f64; 2], b: [f64; 2]) -> bool {
    let turn = |a: [f64; 2], b: [f64; 2], c: [f64; 2]| {
        (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    };
    let (side_p, side_q) = (turn(a, b, p), turn(a, b, q));
    if (side_p > 0.0) == (side_q > 0.0) {
        return false;
    }
    // Where on the segment, from 0 to 1: ends belong to it.
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
    fn trembling_stopping_and_turning_on_the_line_counts_as_where_it_ends() {
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
    fn round_the_end_is_no_crossing() {
        let way = [[80.0, 100.0], [80.0, 250.0], [120.0, 250.0], [120.0, 100.0]];
        assert_eq!(counts(&way), LineCounts::default());
        // And back through it: from firmly right to firmly left.
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
    fn a_leap_over_the_line_counts() {
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
            prop_assert_eq!(crosses(float(p), float(q), float(a), float(b)), expected);
        }
    }
}
