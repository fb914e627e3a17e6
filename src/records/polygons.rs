//! Masks as polygons, as COCO annotations have them: `[x, y, x, y, ...]` along the edges of pixels.
//!
//! Each connected area (side by side, not corner to corner) is one polygon. COCO knows no holes: a
//! hole is joined to the outline by a cut that runs there and back and encloses nothing. Filling by the
//! even-odd rule, or by pycocotools, gives the mask back pixel by pixel.

use crate::postprocess::ClassMask;

/// Right, down, left, up: a turn to the right is the next.
const STEPS: [(i64, i64); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];

/// The polygons of a class's connected areas, from the uppermost area down.
pub fn polygons_of(mask: &ClassMask, class: u8) -> Vec<Vec<u32>> {
    let (width, height) = (mask.size().width as usize, mask.size().height as usize);
    let areas = areas_of(mask, class);
    let mut outlines = Outlines::of(mask, class);
    let mut polygons: Vec<Vec<(u32, u32)>> = Vec::new();
    for y in 0..height {
        for x in 0..width {
            // The upper edge of a pixel, if no outline took it yet.
            while let Some(ring) = outlines.trace(x, y) {
                let area = areas[y * width + x] as usize - 1;
                match polygons.get_mut(area) {
                    // An area's uppermost left edge is on its outside, so that comes first.
                    None => polygons.push(ring),
                    Some(polygon) => {
                        // Down, then across: slanted cuts would not cancel to the last bit.
                        let (first, hole) = (polygon[0], ring[0]);
                        let bend = (first.0, hole.1);
                        polygon.extend([first, bend]);
                        polygon.extend(&ring);
                        polygon.extend([hole, bend]);
                    }
                }
            }
        }
    }
    let flat = |corners: Vec<(u32, u32)>| corners.into_iter().flat_map(|(x, y)| [x, y]).collect();
    polygons.into_iter().map(flat).collect()
}

/// Connected components (4-connectivity): for each pixel of the class the number of its area, from 1 in
/// the order of their first pixels.
fn areas_of(mask: &ClassMask, class: u8) -> Vec<u32> {
    let (width, height) = (mask.size().width as usize, mask.size().height as usize);
    let classes = mask.classes();
    let mut areas = vec![0; classes.len()];
    let (mut count, mut open) = (0, Vec::new());
    for first in 0..classes.len() {
        if classes[first] != class || areas[first] != 0 {
            continue;
        }
        count += 1;
        areas[first] = count;
        open.push(first);
        while let Some(at) = open.pop() {
            let (x, y) = (at % width, at / width);
            let neighbours = [
                (x > 0).then(|| at - 1),
                (x + 1 < width).then(|| at + 1),
                (y > 0).then(|| at - width),
                (y + 1 < height).then(|| at + width),
            ];
            for next in neighbours.into_iter().flatten() {
                if classes[next] == class && areas[next] == 0 {
                    areas[next] = count;
                    open.push(next);
                }
            }
        }
    }
    areas
}

/// The pixel edges between the class and the rest that no outline took yet.
struct Outlines {
    /// Corners in a row.
    columns: usize,
    /// For each corner, a bit for each direction in which an edge leaves it; the class lies to the
    /// right of every edge.
    leaving: Vec<u8>,
}

impl Outlines {
    fn of(mask: &ClassMask, class: u8) -> Self {
        let (width, height) = (mask.size().width as usize, mask.size().height as usize);
        let columns = width + 1;
        let mut leaving = vec![0; columns * (height + 1)];
        for y in 0..height {
            for (x, here) in mask.row(y).iter().enumerate() {
                if *here != class {
                    continue;
                }
                let same = |dx: i64, dy: i64| {
                    let (x, y) = (x as i64 + dx, y as i64 + dy);
                    (0..width as i64).contains(&x)
                        && (0..height as i64).contains(&y)
                        && mask.row(y as usize)[x as usize] == class
                };
                // Above, right, below, left: where each edge begins.
                let edges = [(0, -1, 0, 0), (1, 0, 1, 0), (0, 1, 1, 1), (-1, 0, 0, 1)];
                for (direction, (dx, dy, right, down)) in edges.into_iter().enumerate() {
                    if !same(dx, dy) {
                        leaving[(y + down) * columns + x + right] |= 1 << direction;
                    }
                }
            }
        }
        Self { columns, leaving }
    }

    /// Traces the ring over the upper edge of pixel `(x, y)`; gives its corners.
    fn trace(&mut self, x: usize, y: usize) -> Option<Vec<(u32, u32)>> {
        let start = y * self.columns + x;
        if self.leaving[start] & 1 == 0 {
            return None;
        }
        let (mut at, mut direction) = (start, 0);
        let mut corners = Vec::new();
        let mut before = None;
        loop {
            if before != Some(direction) {
                corners.push(((at % self.columns) as u32, (at / self.columns) as u32));
            }
            before = Some(direction);
            // The first edge stays until the end: turning into it closes the ring.
            if (at, direction) != (start, 0) {
                self.leaving[at] &= !(1 << direction);
            }
            let (dx, dy) = STEPS[direction];
            at = (at as i64 + dx + dy * self.columns as i64) as usize;
            // To the right where areas meet at a corner, so that they stay apart.
            let turns = [1, 0, 3].map(|turn| (direction + turn) % 4);
            let next = turns.into_iter().find(|d| self.leaving[at] & (1 << d) != 0);
            direction = next?;
            if (at, direction) == (start, 0) {
                break;
            }
        }
        self.leaving[start] &= !1;
        Some(corners)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use mobilens_image::{SizePx, fill_polygon};

    #[test]
    fn a_ring_with_something_in_its_hole() {
        let rows = [
            [1, 1, 1, 1, 1],
            [1, 0, 0, 0, 1],
            [1, 0, 1, 0, 1],
            [1, 0, 0, 0, 1],
            [1, 1, 1, 1, 1],
        ];
        let size = SizePx {
            width: 5,
            height: 5,
        };
        let mask = ClassMask::new(size, rows.concat()).expect("fits");
        let expected = [
            vec![
                0, 0, 5, 0, 5, 5, 0, 5, 0, 0, 0, 4, 1, 4, 4, 4, 4, 1, 1, 1, 1, 4, 0, 4,
            ],
            vec![2, 2, 3, 2, 3, 3, 2, 3],
        ];
        assert_eq!(polygons_of(&mask, 1), expected);
        assert!(polygons_of(&mask, 7).is_empty());
    }

    proptest! {
        #[test]
        fn filled_polygons_are_the_mask((width, height) in (1u32..24, 1u32..24), percent in 1u64..100, seed in 1u64..u64::MAX) {
            let mut state = seed;
            let pixels: Vec<u8> = (0..width * height).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                u8::from(state % 100 < percent)
            }).collect();
            let size = SizePx { width, height };
            let mask = ClassMask::new(size, pixels.clone()).expect("fits");
            let mut back = vec![0_u8; pixels.len()];
            for polygon in polygons_of(&mask, 1) {
                let corners: Vec<[f64; 2]> = polygon
                    .chunks_exact(2)
                    .map(|corner| [f64::from(corner[0]), f64::from(corner[1])])
                    .collect();
                fill_polygon(&corners, size, |y, first, end| {
                    // Areas do not overlap.
                    back[y * width as usize..][first..end].iter_mut().for_each(|p| *p += 1);
                });
            }
            prop_assert_eq!(back, pixels);
        }
    }
}
