//! Crops of a frame: tiles, regions of interest.

use mobilens_image::{RectPx, SizePx};

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

/// The crop around `rect`, enlarged by `share` of its width and height on each side; `None` where nothing of
/// it is in a picture of `size`.
pub fn enlarged_crop(rect: &RectPx, share: f32, size: SizePx) -> Option<RectPx> {
    let (dx, dy) = (rect.width * share, rect.height * share);
    let wide = RectPx {
        x: rect.x - dx,
        y: rect.y - dy,
        width: rect.width + 2.0 * dx,
        height: rect.height + 2.0 * dy,
    };
    let clipped = wide.clipped(size);
    let has_pixels = clipped.width >= 1.0 && clipped.height >= 1.0;
    has_pixels.then(|| even(&clipped, size))
}

/// Whether all of `inner` lies in `outer`.
pub(super) fn contains(outer: &RectPx, inner: &RectPx) -> bool {
    outer.x <= inner.x
        && outer.y <= inner.y
        && outer.x + outer.width >= inner.x + inner.width
        && outer.y + outer.height >= inner.y + inner.height
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
