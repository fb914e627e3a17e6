//! At which input sizes, and at which parts of it, the network looks at a frame, within a time budget.

use super::crops::{contains, even};
use super::{InputSizes, LookCosts};
use crate::frame::Look;
use mobilens_image::{RectPx, SizePx};

/// Input sizes that are run together on the whole frame, from the cheapest to the dearest, in steps above the
/// trained size: each level finds more than the one before. Measured with SSDLite-MobileNetV2 (300 pixels, steps
/// of 64) on 160 pictures of COCO: AP .282, .300, .318, .337, .346, .362, .370.
const LEVELS: [&[u32]; 7] = [
    &[0],
    &[0, 1],
    &[0, 2],
    &[0, 4],
    &[0, 6],
    &[0, 4, 8],
    &[0, 4, 8, 12],
];
/// An input side of more than this many times the frame's longer side shows nothing more.
const MOST_ENLARGED: f64 = 2.0;
/// Longest time without a look at the whole frame at all sizes of the level, in milliseconds.
const SURVEY_MS: f64 = 1000.0;
/// An object whose sides are shorter than this in the smallest input (in pixels, geometric mean) gains from a
/// larger one: on COCO those between 15 and 45 pixels gain as much as smaller ones.
const SMALL_PX: f32 = 45.0;
/// Room around an object in its crop, as a multiple of the object's sides.
const ROOM: f32 = 1.5;

/// Parameters of [`LookPlanner`].
#[derive(Clone, Debug, PartialEq)]
pub struct LookParams {
    /// Time for all looks at a frame, in milliseconds.
    pub budget_ms: f64,
    /// The input sizes, as [`look_scales`] lists them.
    pub sizes: InputSizes,
    /// Whether objects are tracked, so that what a frame's looks leave out is not forgotten.
    pub is_tracked: bool,
    /// Whether frames follow one another in time; pictures do not.
    pub is_video: bool,
}

/// All input sides that [`LookPlanner`] may use for a network that was trained at `trained_px`, smallest first,
/// each with the next smaller one that it is run together with.
pub fn look_scales(trained_px: u32, step_px: u32) -> Vec<(u32, Option<u32>)> {
    let px = |steps: u32| trained_px + steps * step_px;
    let mut scales: Vec<(u32, Option<u32>)> = Vec::new();
    for level in LEVELS {
        for (i, steps) in level.iter().enumerate() {
            let smaller = i.checked_sub(1).map(|before| px(level[before]));
            scales.push((px(*steps), smaller));
        }
    }
    scales.sort_unstable();
    scales.dedup();
    scales
}

/// What is known of a frame before the network looks at it.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneHints {
    /// Whether it is the first frame of its scene.
    pub is_new: bool,
    /// Media time in milliseconds.
    pub t_ms: f64,
    /// Size of the frame.
    pub size: SizePx,
    /// Time that was already spent on the frame, in milliseconds.
    pub spent_ms: f64,
    /// Where it differs from the frame before.
    pub changes: Vec<RectPx>,
    /// Tracked objects in earlier frames.
    pub tracks: Vec<RectPx>,
}

/// Plans the looks at each frame.
///
/// Once a second, at cuts, and at pictures that do not follow one another, the whole frame is looked at with the
/// best level of input sizes that fits into the budget. In the frames between, the smallest size alone looks at
/// the whole frame; where small objects are tracked or something small moves, crops are looked at with the
/// magnification of the level's largest size, or again the whole level where that is cheaper.
#[derive(Debug)]
pub struct LookPlanner {
    params: LookParams,
    surveyed_ms: Option<f64>,
}

impl LookPlanner {
    /// A planner for a new stream.
    pub fn new(params: LookParams) -> Self {
        Self {
            params,
            surveyed_ms: None,
        }
    }

    /// The looks at a frame.
    pub fn plan(&mut self, hints: &SceneHints, costs: &LookCosts) -> Vec<Look> {
        let level = self.level(hints, costs);
        let params = &self.params;
        let survey_is_due = self
            .surveyed_ms
            .is_none_or(|at| hints.t_ms - at >= SURVEY_MS);
        if hints.is_new || survey_is_due || !params.is_tracked || !params.is_video {
            self.surveyed_ms = Some(hints.t_ms);
            return level;
        }
        let base = level[..1].to_vec();
        if level.len() == 1 {
            return base;
        }
        let cost = |looks: &[Look]| costs.expected_ms(looks.iter().map(|look| look.input));
        let limit = cost(&level).unwrap_or(f64::INFINITY);
        let Some(crops) = self.crops(hints, &level) else {
            return level;
        };
        let mut looks = base;
        looks.extend(crops);
        if cost(&looks).is_none_or(|ms| ms >= limit) {
            self.surveyed_ms = Some(hints.t_ms);
            return level;
        }
        looks
    }

    /// The best level that fits into the budget; the smallest size alone if none does.
    fn level(&self, hints: &SceneHints, costs: &LookCosts) -> Vec<Look> {
        let params = &self.params;
        let (size, budget_ms) = (hints.size, params.budget_ms - hints.spent_ms);
        let (trained, step) = (params.sizes.trained.width, params.sizes.step_px);
        let longer = f64::from(size.width.max(size.height));
        let looks = |level: &[u32]| -> Vec<Look> {
            let sides = level.iter().map(|steps| trained + steps * step);
            let input = |side: u32| params.sizes.of_side(side, size);
            let look = |side: u32| Look {
                input: input(side),
                region: None,
            };
            sides.map(look).collect()
        };
        let fits = |looks: &Vec<Look>| {
            let largest = looks
                .last()
                .map_or(0, |l| l.input.width.max(l.input.height));
            let ms = costs.expected_ms(looks.iter().map(|look| look.input));
            f64::from(largest) <= MOST_ENLARGED * longer && ms.is_some_and(|ms| ms <= budget_ms)
        };
        let levels = LEVELS.iter().skip(1).rev().map(|level| looks(level));
        levels
            .into_iter()
            .find(fits)
            .unwrap_or_else(|| looks(LEVELS[0]))
    }

    /// Crops around what is small, with the magnification of the level's largest size; `None` if something
    /// larger than a crop moves that no track explains.
    fn crops(&self, hints: &SceneHints, level: &[Look]) -> Option<Vec<Look>> {
        let (base, largest) = (level.first()?.input, level.last()?.input);
        let size = hints.size;
        let (width, height) = (size.width as f32, size.height as f32);
        let share = |base: u32, largest: u32| base as f32 / largest.max(1) as f32;
        let crop_width = width * share(base.width, largest.width);
        let crop_height = height * share(base.height, largest.height);
        let in_base = |rect: &RectPx| {
            let (w, h) = (
                rect.width * base.width as f32 / width,
                rect.height * base.height as f32 / height,
            );
            (w * h).sqrt()
        };
        let mut targets: Vec<RectPx> = Vec::new();
        for track in &hints.tracks {
            if in_base(track) < SMALL_PX {
                targets.push(*track);
            }
        }
        for change in &hints.changes {
            let is_explained = hints
                .tracks
                .iter()
                .any(|track| overlap(change, track) > 0.5 * change.area());
            if is_explained {
                continue;
            }
            if change.width * ROOM > crop_width || change.height * ROOM > crop_height {
                return None;
            }
            targets.push(*change);
        }
        let mut crops: Vec<RectPx> = Vec::new();
        for target in &targets {
            if crops.iter().any(|crop| contains(crop, target)) {
                continue;
            }
            let start = |middle: f32, side: f32, all: f32| {
                (middle - side / 2.0).clamp(0.0, (all - side).max(0.0))
            };
            let crop = RectPx {
                x: start(target.x + target.width / 2.0, crop_width, width),
                y: start(target.y + target.height / 2.0, crop_height, height),
                width: crop_width,
                height: crop_height,
            };
            crops.push(even(&crop, size));
        }
        let input = |crop: &RectPx| {
            let size = SizePx {
                width: crop.width as u32,
                height: crop.height as u32,
            };
            self.params.sizes.of_part(size)
        };
        let look = |crop: RectPx| Look {
            input: input(&crop),
            region: Some(crop),
        };
        Some(crops.into_iter().map(look).collect())
    }
}

/// Pixels that two boxes share.
fn overlap(a: &RectPx, b: &RectPx) -> f32 {
    let w = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
    let h = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
    w.max(0.0) * h.max(0.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gating::InputScale;

    const SIZE: SizePx = SizePx {
        width: 1280,
        height: 720,
    };

    fn square(px: u32) -> SizePx {
        SizePx {
            width: px,
            height: px,
        }
    }

    fn params(budget_ms: f64) -> LookParams {
        let scales = look_scales(300, 64).into_iter();
        let scale = |(px, beside): (u32, Option<u32>)| InputScale {
            px: square(px),
            beside: beside.map(square),
        };
        LookParams {
            budget_ms,
            sizes: InputSizes {
                scales: scales.map(scale).collect(),
                rectangle: false,
                trained: square(300),
                step_px: 64,
            },
            is_tracked: true,
            is_video: true,
        }
    }

    /// Each size costs by its pixels, 300 x 300 costs 4 ms.
    fn costs() -> LookCosts {
        let mut costs = LookCosts::default();
        costs.calibrate(square(300), Duration::from_millis(4));
        costs
    }

    fn hints(t_ms: f64) -> SceneHints {
        SceneHints {
            is_new: false,
            t_ms,
            size: SIZE,
            spent_ms: 0.0,
            changes: Vec::new(),
            tracks: Vec::new(),
        }
    }

    fn rect(x: f32, y: f32, width: f32, height: f32) -> RectPx {
        RectPx {
            x,
            y,
            width,
            height,
        }
    }

    fn sides(looks: &[Look]) -> Vec<(u32, bool)> {
        let side = |look: &Look| (look.input.width, look.region.is_some());
        looks.iter().map(side).collect()
    }

    #[test]
    fn all_scales_and_what_they_are_run_with() {
        let expected = [
            (300, None),
            (364, Some(300)),
            (428, Some(300)),
            (556, Some(300)),
            (684, Some(300)),
            (812, Some(556)),
            (1068, Some(812)),
        ];
        assert_eq!(look_scales(300, 64), expected);
    }

    #[test]
    fn a_larger_budget_buys_a_better_level() {
        let of = |budget| {
            let mut planner = LookPlanner::new(params(budget));
            let looks = planner.plan(&hints(0.0), &costs());
            let sides: Vec<u32> = looks.iter().map(|look| look.input.width).collect();
            sides
        };
        assert_eq!(of(3.0), [300], "one inference is always made");
        assert_eq!(of(16.0), [300, 364]);
        assert_eq!(of(30.0), [300, 556]);
        assert_eq!(of(75.0), [300, 556, 812]);
        assert_eq!(of(1000.0), [300, 556, 812, 1068]);
    }

    #[test]
    fn between_surveys_the_smallest_size_is_enough_unless_something_small_is_there() {
        let mut planner = LookPlanner::new(params(30.0));
        let costs = costs();
        let mut plan = |hints: SceneHints| sides(&planner.plan(&hints, &costs));
        assert_eq!(plan(hints(0.0)), [(300, false), (556, false)]);
        assert_eq!(plan(hints(40.0)), [(300, false)]);
        let large = SceneHints {
            tracks: vec![rect(100.0, 100.0, 400.0, 300.0)],
            changes: vec![rect(120.0, 120.0, 300.0, 200.0)],
            ..hints(80.0)
        };
        assert_eq!(plan(large), [(300, false)], "it is large enough");
        let small = SceneHints {
            tracks: vec![
                rect(600.0, 300.0, 60.0, 40.0),
                rect(660.0, 320.0, 60.0, 40.0),
            ],
            ..hints(120.0)
        };
        assert_eq!(
            plan(small),
            [(300, false), (300, true)],
            "one crop holds both"
        );
        let far_apart = SceneHints {
            tracks: vec![
                rect(0.0, 0.0, 60.0, 40.0),
                rect(1200.0, 0.0, 60.0, 40.0),
                rect(0.0, 600.0, 60.0, 40.0),
                rect(1200.0, 600.0, 60.0, 40.0),
            ],
            ..hints(160.0)
        };
        assert_eq!(
            plan(far_apart),
            [(300, false), (556, false)],
            "four crops cost more than the larger size"
        );
        assert_eq!(plan(hints(900.0)), [(300, false)]);
        assert_eq!(plan(hints(1160.0)), [(300, false), (556, false)]);
        let cut = SceneHints {
            is_new: true,
            ..hints(1200.0)
        };
        assert_eq!(plan(cut), [(300, false), (556, false)]);
        let moving_camera = SceneHints {
            changes: vec![rect(0.0, 0.0, 1280.0, 720.0)],
            ..hints(1240.0)
        };
        assert_eq!(plan(moving_camera), [(300, false), (556, false)]);
    }

    #[test]
    fn crops_lie_around_their_objects_with_the_magnification_of_the_largest_size() {
        let mut planner = LookPlanner::new(params(30.0));
        let costs = costs();
        planner.plan(&hints(0.0), &costs);
        for target in [
            rect(0.0, 0.0, 30.0, 30.0),
            rect(1270.0, 700.0, 10.0, 20.0),
            rect(633.0, 351.0, 31.0, 17.0),
        ] {
            let seen = SceneHints {
                changes: vec![target],
                ..hints(40.0)
            };
            let looks = planner.plan(&seen, &costs);
            let crop = looks[1].region.expect("a crop");
            assert!(contains(&crop, &target), "{crop:?} {target:?}");
            assert!(contains(&rect(0.0, 0.0, 1280.0, 720.0), &crop), "{crop:?}");
            assert!(
                (crop.width / 1280.0 - 300.0 / 556.0).abs() < 0.01,
                "{crop:?}"
            );
            assert!(
                (crop.height / 720.0 - 300.0 / 556.0).abs() < 0.01,
                "{crop:?}"
            );
        }
    }

    #[test]
    fn without_tracking_and_on_pictures_every_frame_is_surveyed() {
        for (is_tracked, is_video) in [(false, true), (true, false)] {
            let mut planner = LookPlanner::new(LookParams {
                is_tracked,
                is_video,
                ..params(30.0)
            });
            for i in 0..5 {
                let looks = planner.plan(&hints(f64::from(i) * 40.0), &costs());
                assert_eq!(sides(&looks), [(300, false), (556, false)]);
            }
        }
    }

    #[test]
    fn a_small_picture_is_not_enlarged_without_end() {
        let mut planner = LookPlanner::new(params(1000.0));
        let small = SceneHints {
            size: SizePx {
                width: 320,
                height: 240,
            },
            ..hints(0.0)
        };
        let looks = planner.plan(&small, &costs());
        assert_eq!(sides(&looks), [(300, false), (556, false)]);
    }
}
