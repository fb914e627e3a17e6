//! Crops of a frame (tiles, regions of interest), and merging of their detections.

use crate::postprocess::Detection;
use mobilens_image::{RectPx, SizePx};

/// A box truncated by its crop's border is a fragment of one that covers this share of it.
const FRAGMENT_COVERAGE: f32 = 0.6;
/// Pixels from a crop's border within which a box counts as truncated.
const BORDER_PX: f32 = 3.0;

/// A grid of `columns` x `rows` tiles over a picture; neighbours share `overlap` of a tile's side.
pub fn tiles_of(size: SizePx, columns: u32, rows: u32, overlap: f32) -> Vec<RectPx> {
    let along = |pixels: u32, n: u32| -> Vec<(f32, f32)> {
        let n = n.min(pixels).max(1);
        let side = pixels as f32 / (n as f32 - (n - 1) as f32 * overlap);
        let at = |i: u32| i as f32 * side * (1.0 - overlap);
        (0..n).map(|i| (at(i), side)).collect()
    };
    let (xs, ys) = (along(size.width, columns), along(size.height, rows));
    let tile = |(x, width), (y, height)| RectPx {
        x,
        y,
        width,
        height,
    };
    ys.iter()
        .flat_map(|y| xs.iter().map(move |x| even(&tile(*x, *y), size)))
        .collect()
}

/// A square around `rect`, of at least `side_px` where the picture is large enough.
pub fn square_around(rect: &RectPx, side_px: f32, size: SizePx) -> RectPx {
    let side = rect.width.max(rect.height).max(side_px);
    let (width, height) = (side.min(size.width as f32), side.min(size.height as f32));
    let start =
        |middle: f32, side: f32, all: u32| (middle - side / 2.0).clamp(0.0, all as f32 - side);
    let square = RectPx {
        x: start(rect.x + rect.width / 2.0, width, size.width),
        y: start(rect.y + rect.height / 2.0, height, size.height),
        width,
        height,
    };
    even(&square, size)
}

/// The rectangle aligned to even pixels (for subsampled chroma), inside the picture.
pub(super) fn even(rect: &RectPx, size: SizePx) -> RectPx {
    let begin = |v: f32| (v / 2.0).floor() * 2.0;
    let (x, y) = (begin(rect.x), begin(rect.y));
    let end = |v: f32, all: u32| ((v / 2.0).ceil() * 2.0).min(all as f32);
    RectPx {
        x,
        y,
        width: end(rect.x + rect.width, size.width) - x,
        height: end(rect.y + rect.height, size.height) - y,
    }
}

/// Detections of one crop, in pixels of the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct CropDetections {
    /// The crop.
    pub crop: RectPx,
    /// Its detections.
    pub detections: Vec<Detection>,
}

/// Merges the detections of several crops: class-wise non-maximum suppression, in which boxes truncated
/// by their crop's border come after all others, and are also suppressed by a box that covers most of
/// them, whatever their scores.
pub fn merge_boxes(
    crops: &[CropDetections],
    size: SizePx,
    iou: f32,
    limit: usize,
) -> Vec<Detection> {
    let mut all: Vec<(bool, Detection)> = Vec::new();
    for CropDetections { crop, detections } in crops {
        let truncated = |d: &Detection| is_truncated(&d.rect, crop, size);
        all.extend(detections.iter().map(|d| (truncated(d), *d)));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.score.total_cmp(&a.1.score)));
    let mut selected: Vec<Detection> = Vec::new();
    for (truncated, detection) in all {
        let suppresses = |better: &Detection| {
            better.category_id == detection.category_id
                && (better.rect.iou(&detection.rect) > iou
                    || truncated && covered(&detection.rect, &better.rect) > FRAGMENT_COVERAGE)
        };
        if !selected.iter().any(suppresses) {
            selected.push(detection);
        }
    }
    selected.sort_by(|a, b| b.score.total_cmp(&a.score));
    selected.truncate(limit);
    selected
}

/// Whether a box ends at a border of its crop that is not a border of the picture.
fn is_truncated(rect: &RectPx, crop: &RectPx, size: SizePx) -> bool {
    let (right, lower) = (crop.x + crop.width, crop.y + crop.height);
    (crop.x > 0.0 && rect.x - crop.x < BORDER_PX)
        || (crop.y > 0.0 && rect.y - crop.y < BORDER_PX)
        || (right < size.width as f32 && right - rect.x - rect.width < BORDER_PX)
        || (lower < size.height as f32 && lower - rect.y - rect.height < BORDER_PX)
}

/// The share of `a` that lies in `b`.
fn covered(a: &RectPx, b: &RectPx) -> f32 {
    let w = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
    let h = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
    w.max(0.0) * h.max(0.0) / a.area().max(1e-6)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: SizePx = SizePx {
        width: 400,
        height: 200,
    };

    fn car(x: f32, y: f32, width: f32, height: f32, score: f32) -> Detection {
        Detection {
            category_id: 3,
            score,
            rect: RectPx {
                x,
                y,
                width,
                height,
            },
        }
    }

    #[test]
    fn a_fragment_at_a_border_is_suppressed_by_the_whole() {
        let tiles = tiles_of(SIZE, 2, 1, 0.2);
        let (left, right) = (tiles[0], tiles[1]);
        let edge = left.x + left.width;
        let crops = [
            // The left tile sees the front half, with a high score.
            CropDetections {
                crop: left,
                detections: vec![car(edge - 30.0, 80.0, 30.0, 30.0, 0.95)],
            },
            CropDetections {
                crop: right,
                detections: vec![car(edge - 30.0, 80.0, 70.0, 32.0, 0.6)],
            },
        ];
        let merged = merge_boxes(&crops, SIZE, 0.5, 100);
        assert_eq!(merged, crops[1].detections);
        // Without the whole, the fragment stays.
        assert_eq!(
            merge_boxes(&crops[..1], SIZE, 0.5, 100),
            crops[0].detections
        );
    }

    #[test]
    fn at_the_pictures_own_border_nothing_is_truncated() {
        let whole = RectPx {
            x: 0.0,
            y: 0.0,
            width: 400.0,
            height: 200.0,
        };
        assert!(!is_truncated(
            &RectPx {
                x: 0.0,
                y: 0.0,
                width: 400.0,
                height: 200.0
            },
            &whole,
            SIZE
        ));
    }

    proptest! {
        #[test]
        fn tiles_cover_every_pixel(
            (width, height) in (1_u32..500, 1_u32..500),
            (columns, rows) in (1_u32..6, 1_u32..6),
            overlap in 0.0_f32..0.6,
        ) {
            let size = SizePx { width, height };
            let tiles = tiles_of(size, columns, rows, overlap);
            for tile in &tiles {
                prop_assert!(tile.x >= 0.0 && tile.x + tile.width <= width as f32);
                prop_assert!(tile.y >= 0.0 && tile.y + tile.height <= height as f32);
                prop_assert!(tile.width >= 1.0 && tile.height >= 1.0, "{tile:?}");
            }
            for (x, y) in [(0.5, 0.5), (width as f32 - 0.5, height as f32 - 0.5), (width as f32 / 2.0, height as f32 / 2.0)] {
                let inside = |t: &&RectPx| t.x <= x && x <= t.x + t.width && t.y <= y && y <= t.y + t.height;
                prop_assert!(tiles.iter().any(|t| inside(&t)));
            }
        }
    }
}
