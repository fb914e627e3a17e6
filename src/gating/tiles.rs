//! Which tiles the network runs on in a frame, and which it may leave out.

use std::collections::VecDeque;

use super::crops::tiles_of;
use super::params::TileParams;
use super::{ChangeDetector, LumaPlane};
use crate::frame::Region;
use mobilens_image::{RectPx, SizePx};

/// How many frames back what was found is looked up: a fixed number, so that it does not depend on the number
/// of workers, and frames are still inferred side by side.
const LAG_FRAMES: usize = 8;
/// Frames for which a tile is looked at after something moved or was found in it.
const HOLD_FRAMES: u32 = 2 * LAG_FRAMES as u32;

/// What is known of a frame before the network runs on its tiles.
#[derive(Clone, Debug)]
pub(super) struct TileHints {
    /// Number of the frame.
    pub frame: u64,
    /// Media time in milliseconds.
    pub t_ms: f64,
    /// Size of the frame.
    pub size: SizePx,
    /// Whether it is the first frame of its scene.
    pub is_new: bool,
    /// What was found, or is tracked, in an earlier frame.
    pub found: Vec<RectPx>,
    /// Time of one inference, on average.
    pub inference_ms: Option<f64>,
}

/// Plans the tiles of each frame: all, or some of them in turns.
///
/// A tile is quiet while nothing moved or was found in it for some frames. Quiet tiles are left to the look at
/// the whole frame: the network runs on them only if that shows something there. Once in a while each of
/// them is looked at all the same, one after another.
#[derive(Debug)]
pub(super) struct TilePlanner {
    params: TileParams,
    change: ChangeDetector,
    size: SizePx,
    tiles: Vec<Tile>,
    next: usize,
    /// The last frames that were planned, latest last.
    planned: VecDeque<u64>,
}

#[derive(Debug)]
struct Tile {
    rect: RectPx,
    /// For how many more frames it is looked at.
    hold: u32,
    looked_ms: Option<f64>,
}

impl TilePlanner {
    pub(super) fn new(params: TileParams) -> Self {
        Self {
            params,
            change: ChangeDetector::default(),
            size: SizePx {
                width: 0,
                height: 0,
            },
            tiles: Vec::new(),
            next: 0,
            planned: VecDeque::new(),
        }
    }

    /// Takes in the next frame, whether the network runs on it or not.
    pub(super) fn observe(&mut self, plane: &LumaPlane) {
        if self.skips() {
            self.change.next(plane);
        }
    }

    /// The frame whose findings the next plan needs.
    pub(super) fn waits_for(&self) -> Option<u64> {
        let is_known = self.skips() && self.planned.len() == LAG_FRAMES;
        self.planned.front().copied().filter(|_| is_known)
    }

    /// The crops of a frame, and the quiet tiles among its turn.
    pub(super) fn plan(&mut self, hints: &TileHints) -> (Region, Vec<RectPx>) {
        let params = self.params;
        if self.size != hints.size {
            self.size = hints.size;
            let all = tiles_of(hints.size, params.columns, params.rows, params.overlap);
            let tile = |rect: RectPx| Tile {
                rect,
                hold: 0,
                looked_ms: None,
            };
            self.tiles = all.into_iter().map(tile).collect();
            self.next = 0;
        }
        if self.planned.len() == LAG_FRAMES {
            self.planned.pop_front();
        }
        self.planned.push_back(hints.frame);
        let all = self.tiles.len();
        let is_quiet = self.quiet(hints);
        let by_budget = params.budget_ms.map(|budget| {
            let inference_ms = hints.inference_ms.unwrap_or(budget);
            let count = (budget / inference_ms.max(0.01)) as usize;
            count.saturating_sub(usize::from(params.whole)).max(1)
        });
        let n = by_budget.or(params.at_once).unwrap_or(all).min(all);
        let turn = (0..all).map(|i| (self.next + i) % all);
        let (quiet, active): (Vec<usize>, Vec<usize>) = turn.partition(|i| is_quiet[*i]);
        let active: Vec<usize> = active.into_iter().take(n).collect();
        let quiet: Vec<usize> = quiet.into_iter().take(n - active.len()).collect();
        self.next = match active.last() {
            _ if n == all => 0,
            Some(last) => (last + 1) % all,
            None => (self.next + n) % all,
        };
        let whole = RectPx {
            x: 0.0,
            y: 0.0,
            width: hints.size.width as f32,
            height: hints.size.height as f32,
        };
        let mut crops: Vec<RectPx> = params.whole.then_some(whole).into_iter().collect();
        for i in active {
            let tile = &mut self.tiles[i];
            tile.looked_ms = Some(hints.t_ms);
            crops.push(tile.rect);
            if params.whole && params.skip_quiet {
                self.change.set_reference_in(&tile.rect);
            }
        }
        let quiet = quiet.into_iter().map(|i| self.tiles[i].rect).collect();
        (Region::Crops(crops), quiet)
    }

    /// Whether each tile is quiet.
    fn quiet(&mut self, hints: &TileHints) -> Vec<bool> {
        if !self.skips() {
            return vec![false; self.tiles.len()];
        }
        let mut busy = self.change.areas();
        busy.extend_from_slice(&hints.found);
        for tile in &mut self.tiles {
            if hints.is_new {
                tile.looked_ms = None;
            }
            let is_busy = busy.iter().any(|area| tile.rect.iou(area) > 0.0);
            tile.hold = if is_busy {
                HOLD_FRAMES
            } else {
                tile.hold.saturating_sub(1)
            };
        }
        let is_quiet = |tile: &Tile| tile.hold == 0 && tile.looked_ms.is_some();
        let mut quiet: Vec<bool> = self.tiles.iter().map(is_quiet).collect();
        // The one that was left out for the longest time is due first.
        let left_out_ms = |tile: &Tile| tile.looked_ms.map_or(0.0, |at| hints.t_ms - at);
        let due = (0..quiet.len())
            .filter(|i| quiet[*i] && left_out_ms(&self.tiles[*i]) >= self.params.force_ms)
            .reduce(|a, b| {
                if left_out_ms(&self.tiles[b]) > left_out_ms(&self.tiles[a]) {
                    b
                } else {
                    a
                }
            });
        if let Some(due) = due {
            quiet[due] = false;
        }
        quiet
    }

    /// Whether quiet tiles are left out.
    fn skips(&self) -> bool {
        self.params.whole && self.params.skip_quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: SizePx = SizePx {
        width: 320,
        height: 192,
    };

    fn params() -> TileParams {
        TileParams {
            columns: 2,
            rows: 2,
            overlap: 0.2,
            at_once: None,
            budget_ms: None,
            whole: true,
            skip_quiet: true,
            force_ms: 2000.0,
        }
    }

    /// Grey, with a bright block at `x` in the upper row of tiles.
    fn plane(x: Option<usize>) -> LumaPlane {
        let (width, height) = (160, 96);
        let value = |i: usize| {
            let (column, row) = (i % width, i / width);
            let is_block =
                x.is_some_and(|x| (x..x + 8).contains(&column) && (8..16).contains(&row));
            if is_block { 220 } else { 90 }
        };
        LumaPlane {
            width,
            height,
            step: 2,
            data: (0..width * height).map(value).collect(),
        }
    }

    /// The numbers of the tiles of each frame that are looked at in any case.
    fn looked(
        params: TileParams,
        frames: u64,
        block: impl Fn(u64) -> Option<usize>,
        found: impl Fn(u64) -> Vec<RectPx>,
    ) -> Vec<Vec<usize>> {
        let mut planner = TilePlanner::new(params);
        let all = tiles_of(SIZE, params.columns, params.rows, params.overlap);
        let mut plans = Vec::new();
        for frame in 0..frames {
            planner.observe(&plane(block(frame)));
            let earlier = planner.waits_for();
            let hints = TileHints {
                frame,
                t_ms: frame as f64 * 40.0,
                size: SIZE,
                is_new: frame == 0,
                found: earlier.map_or_else(Vec::new, &found),
                inference_ms: None,
            };
            let (Region::Crops(crops), quiet) = planner.plan(&hints) else {
                panic!("no crops");
            };
            assert_eq!(crops[0].width, 320.0, "the whole frame comes first");
            let most = params.at_once.unwrap_or(4);
            assert_eq!(crops.len() - 1 + quiet.len(), most.min(4));
            let number = |rect: &RectPx| all.iter().position(|tile| tile == rect);
            plans.push(crops[1..].iter().filter_map(number).collect());
        }
        plans
    }

    /// In a new scene everything has changed, so that all tiles are looked at up to this frame.
    const SETTLED: usize = HOLD_FRAMES as usize;

    #[test]
    fn quiet_tiles_are_left_out_and_looked_at_now_and_then() {
        let plans = looked(params(), 120, |_| None, |_| Vec::new());
        assert!(
            plans[..SETTLED].iter().all(|plan| plan == &[0, 1, 2, 3]),
            "{plans:?}"
        );
        // After two seconds one after another, and again after two more.
        let (first, second) = (SETTLED - 1 + 50, SETTLED - 1 + 100);
        assert!(plans[SETTLED..first].iter().all(Vec::is_empty), "{plans:?}");
        assert_eq!(plans[first..first + 4], [[0], [1], [2], [3]]);
        assert!(
            plans[first + 4..second].iter().all(Vec::is_empty),
            "{plans:?}"
        );
        assert_eq!(plans[second..second + 4], [[0], [1], [2], [3]]);
    }

    #[test]
    fn a_tile_is_looked_at_while_something_moves_in_it_and_for_some_frames_after() {
        // A slow one, that each step moves too little to be seen.
        let block = |frame: u64| (frame >= 30).then(|| 10 + (frame.min(40) as usize - 30) / 4);
        let plans = looked(params(), 62, block, |_| Vec::new());
        assert!(plans[SETTLED..30].iter().all(Vec::is_empty), "{plans:?}");
        assert!(plans[30..40].iter().all(|plan| plan == &[0]), "{plans:?}");
        assert!(plans[60].is_empty(), "{plans:?}");
    }

    #[test]
    fn a_tile_is_looked_at_while_something_is_found_in_it() {
        let found = |earlier: u64| {
            let rect = RectPx {
                x: 250.0,
                y: 150.0,
                width: 9.0,
                height: 9.0,
            };
            if (25..50).contains(&earlier) {
                vec![rect]
            } else {
                Vec::new()
            }
        };
        let plans = looked(params(), 75, |_| None, found);
        let first = 25 + LAG_FRAMES;
        assert!(plans[SETTLED..first].iter().all(Vec::is_empty), "{plans:?}");
        assert!(
            plans[first..65].iter().all(|plan| plan == &[3]),
            "{plans:?}"
        );
        let last = 49 + LAG_FRAMES + HOLD_FRAMES as usize;
        assert!(plans[last].iter().all(|tile| *tile != 3), "{plans:?}");
    }

    #[test]
    fn those_where_something_is_take_turns_before_quiet_ones() {
        let two = TileParams {
            at_once: Some(1),
            ..params()
        };
        let rect = RectPx {
            x: 10.0,
            y: 10.0,
            width: 9.0,
            height: 170.0,
        };
        let plans = looked(two, 40, |_| None, |_| vec![rect]);
        assert_eq!(plans[..4], [[0], [1], [2], [3]]);
        assert!(
            plans[SETTLED..]
                .chunks_exact(2)
                .all(|pair| pair.concat().len() == 2)
        );
        assert!(
            plans[SETTLED..]
                .concat()
                .iter()
                .all(|tile| [0, 2].contains(tile)),
            "{plans:?}"
        );
    }

    #[test]
    fn without_the_whole_frame_no_tile_is_left_out() {
        let mut planner = TilePlanner::new(TileParams {
            whole: false,
            ..params()
        });
        for frame in 0..20 {
            planner.observe(&plane(None));
            let hints = TileHints {
                frame,
                t_ms: frame as f64 * 40.0,
                size: SIZE,
                is_new: false,
                found: Vec::new(),
                inference_ms: None,
            };
            let (region, quiet) = planner.plan(&hints);
            assert_eq!(region, Region::Crops(tiles_of(SIZE, 2, 2, 0.2)));
            assert_eq!(quiet, []);
        }
    }
}
