//! Inference plans from motion, tracks, tiles and latency.

use std::time::Instant;

use super::crops::{contains, square_around};
use super::looks::{LookPlanner, SceneHints};
use super::params::{GatingParams, InferenceInterval};
use super::tiles::{TileHints, TilePlanner};
use super::{CameraMotion, ChangeDetector, Feedback, LumaPlane};
use crate::flow::StopSignal;
use crate::frame::{InferencePlan, Region};
use mobilens_image::{Image, RectPx, Similarity, SizePx};

/// Columns of the luma plane for change detection.
const PLANE_WIDTH: usize = 160;
/// Regions that cover this share of a frame are replaced by the whole frame.
const WHOLE_SHARE: f32 = 0.6;
/// Time since the last change after which the scene is at rest, in milliseconds.
const REST_MS: f64 = 400.0;
/// Frames between two changes of the interval, per frame of interval.
const SETTLE_FRAMES: u64 = 15;

/// The frame before a frame, its media time, and when its plan was begun.
#[derive(Clone, Copy, Debug)]
struct FrameTime {
    /// The last frame that was planned; one between that could not be decoded is never published.
    before: Option<u64>,
    t_ms: f64,
    began: Instant,
}

/// Makes the inference plan of each frame, in frame order.
#[derive(Debug)]
pub struct Gating {
    params: GatingParams,
    /// Whether later stages may drop frames; then records are not waited for.
    drops: bool,
    plane: LumaPlane,
    change: ChangeDetector,
    motion: CameraMotion,
    camera: Similarity,
    scene: u64,
    inferred_ms: Option<f64>,
    changed_ms: Option<f64>,
    whole_ms: Option<f64>,
    /// The last frame that was planned.
    planned: Option<u64>,
    since_inference: u32,
    every: u32,
    settled_at: u64,
    tiles: Option<TilePlanner>,
    looks: Option<LookPlanner>,
}

impl Gating {
    /// Gating for a new stream. If later stages may drop frames (`drops`), it does not wait for tracks.
    pub fn new(params: GatingParams, drops: bool) -> Self {
        Self {
            every: match params.every {
                Some(InferenceInterval::Frames(n)) => n,
                _ => 1,
            },
            looks: params.looks.clone().map(LookPlanner::new),
            tiles: params.tiles.map(TilePlanner::new),
            params,
            drops,
            plane: LumaPlane::default(),
            change: ChangeDetector::default(),
            motion: CameraMotion::default(),
            camera: Similarity::IDENTITY,
            scene: 0,
            inferred_ms: None,
            changed_ms: None,
            whole_ms: None,
            planned: None,
            since_inference: 0,
            settled_at: 0,
        }
    }

    /// Goes on from `before`: scenes and the camera's motion are counted on, and the first frame is inferred.
    pub fn continue_from(&mut self, before: Self) {
        (self.plane, self.change) = (before.plane, before.change);
        (self.camera, self.scene) = (before.camera, before.scene);
        if before.params.camera {
            self.motion = before.motion;
        }
        self.planned = before.planned;
    }

    /// The plan of the next frame. `t_ms` is its media time.
    pub fn plan(
        &mut self,
        frame: u64,
        t_ms: f64,
        image: &Image,
        feedback: &Feedback,
        stop: &StopSignal,
    ) -> InferencePlan {
        let began = Instant::now();
        let before = self.planned.replace(frame);
        self.plane.fill(image, PLANE_WIDTH);
        let is_cut = self.change.next(&self.plane);
        self.scene += u64::from(is_cut);
        if let Some(tiles) = &mut self.tiles {
            tiles.observe(&self.plane);
        }
        let mut plan = InferencePlan {
            scene: self.scene,
            ..InferencePlan::default()
        };
        if self.params.camera {
            let step = self.motion.next(image);
            self.camera = match step {
                Some(step) if !is_cut => self.camera.then(&step),
                _ if is_cut => Similarity::IDENTITY,
                _ => self.camera,
            };
            plan.camera = Some(self.camera);
        }
        if let Some(recorded) = &self.params.recorded {
            if let Some(recorded) = recorded.get(&frame) {
                plan.region = recorded.region.clone();
                plan.is_still = recorded.is_still;
            }
            return plan;
        }
        if let Some(InferenceInterval::Latency {
            target_ms,
            max_interval,
        }) = self.params.every
        {
            self.regulate_interval(frame, target_ms, max_interval, feedback);
            plan.every = Some(self.every);
        }
        self.since_inference += 1;
        let is_forced = is_cut || self.inferred_ms.is_none();
        if !is_forced {
            if self.is_still(t_ms) {
                plan.region = Region::None;
                plan.is_still = true;
                return plan;
            }
            if self.since_inference < self.every {
                plan.region = Region::None;
                return plan;
            }
        }
        if let Some(tiles) = &mut self.tiles {
            let found = match tiles.waits_for() {
                Some(earlier) if !self.drops => feedback.found_in(earlier, stop),
                _ => feedback.found(),
            };
            let hints = TileHints {
                frame,
                t_ms,
                size: image.size(),
                is_new: is_forced,
                found,
                inference_ms: feedback.inference_ms(),
            };
            (plan.region, plan.quiet) = tiles.plan(&hints);
        } else {
            let at = FrameTime {
                before,
                t_ms,
                began,
            };
            plan.region = self.regions(is_forced, at, image.size(), feedback, stop);
        }
        if plan.region != Region::None {
            self.inferred_ms = Some(t_ms);
            self.since_inference = 0;
            // Tracking alone needs cuts only, no reference.
            let params = &self.params;
            if params.gate.is_some() || params.regions.is_some() || params.looks.is_some() {
                self.change.set_reference();
            }
        }
        plan
    }

    /// Whether the motion gate is closed.
    fn is_still(&mut self, t_ms: f64) -> bool {
        let Some(gate) = self.params.gate else {
            return false;
        };
        let within = |since: Option<f64>, ms: f64| since.is_some_and(|since| t_ms - since < ms);
        if self.change.share() >= gate.share {
            self.changed_ms = Some(t_ms);
            return false;
        }
        // Once the scene is at rest, one more inference updates what is still there.
        let rests = self.inferred_ms.is_some_and(|at| t_ms - at >= REST_MS);
        if rests && self.changed_ms == self.inferred_ms {
            return false;
        }
        within(self.inferred_ms, gate.force_ms) && !within(self.changed_ms, gate.after_ms)
    }

    /// Raises or lowers the interval by one, after the last change has taken effect.
    fn regulate_interval(
        &mut self,
        frame: u64,
        target_ms: f64,
        max_interval: u32,
        feedback: &Feedback,
    ) {
        let Some(age_ms) = feedback.age_ms() else {
            return;
        };
        if frame < self.settled_at {
            return;
        }
        let interval = if age_ms > target_ms {
            (self.every + 1).min(max_interval)
        } else if age_ms < target_ms / 2.0 {
            self.every.saturating_sub(1).max(1)
        } else {
            self.every
        };
        if interval != self.every {
            self.every = interval;
            self.settled_at = frame + SETTLE_FRAMES * u64::from(interval);
        }
    }

    fn regions(
        &mut self,
        is_forced: bool,
        at: FrameTime,
        size: SizePx,
        feedback: &Feedback,
        stop: &StopSignal,
    ) -> Region {
        let FrameTime { t_ms, began, .. } = at;
        if let Some(looks) = &mut self.looks {
            let hints = SceneHints {
                is_new: is_forced,
                t_ms,
                size,
                spent_ms: began.elapsed().as_secs_f64() * 1000.0,
                changes: self.change.areas(),
                tracks: feedback.tracks(),
            };
            return Region::Looks(feedback.with_costs(|costs| looks.plan(&hints, costs)));
        }
        let Some(regions) = self.params.regions else {
            return Region::Whole;
        };
        let whole_is_due = self.whole_ms.is_none_or(|at| t_ms - at >= regions.whole_ms);
        if is_forced || whole_is_due {
            self.whole_ms = Some(t_ms);
            return Region::Whole;
        }
        let boxes = match (regions.on_tracks, self.drops) {
            (true, false) => feedback.tracks_after(at.before, stop),
            (true, true) => feedback.tracks(),
            (false, _) => self.change.areas(),
        };
        let mut crops: Vec<RectPx> = Vec::new();
        for rect in &boxes {
            let square = square_around(rect, regions.side_px, size);
            // A box inside an earlier crop needs none of its own.
            let is_inside = crops.iter().any(|crop| contains(crop, rect));
            if crops.len() < regions.max_regions && !is_inside {
                crops.push(square);
            }
        }
        let area: f32 = crops.iter().map(RectPx::area).sum();
        if area > WHOLE_SHARE * size.width as f32 * size.height as f32 {
            self.whole_ms = Some(t_ms);
            return Region::Whole;
        }
        if crops.is_empty() {
            Region::None
        } else {
            Region::Crops(crops)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gating::{MotionGate, RegionParams, TileParams, tiles_of};
    use mobilens_image::{PixelFormat, YuvColour};

    const SIZE: SizePx = SizePx {
        width: 320,
        height: 192,
    };

    /// Grey, with a white block at `x`.
    fn image(x: Option<usize>) -> Image {
        let mut data = vec![90; PixelFormat::I420.bytes(SIZE)];
        for row in 60..100 {
            if let Some(x) = x {
                data[row * 320 + x..][..40].fill(220);
            }
        }
        Image::new(SIZE, PixelFormat::I420, YuvColour::DEFAULT, data).expect("fits")
    }

    fn plans(params: GatingParams, blocks: &[Option<usize>]) -> Vec<InferencePlan> {
        let mut gating = Gating::new(params, false);
        let (feedback, stop) = (Feedback::default(), StopSignal::new());
        let frames = blocks.iter().enumerate();
        frames
            .map(|(i, block)| {
                let plan = gating.plan(i as u64, i as f64 * 40.0, &image(*block), &feedback, &stop);
                feedback.published(i as u64, Vec::new(), None);
                plan
            })
            .collect()
    }

    #[test]
    fn the_gate_is_closed_while_nothing_moves_except_for_forced_inference() {
        let gate = MotionGate {
            share: 0.002,
            force_ms: 1000.0,
            after_ms: 100.0,
        };
        let params = GatingParams {
            gate: Some(gate),
            ..GatingParams::default()
        };
        let mut blocks = vec![None; 60];
        blocks[30] = Some(100);
        blocks[31] = Some(110);
        let plans = plans(params, &blocks);
        let at: Vec<usize> = (0..60)
            .filter(|i| plans[*i].region == Region::Whole)
            .collect();
        // The first, the forced one after a second, the block's appearance and disappearance, 100 ms
        // more, and the forced one after another second.
        assert_eq!(at, [0, 25, 30, 31, 32, 33, 34, 59]);
        assert!(plans[10].is_still && !plans[30].is_still);
    }

    #[test]
    fn every_frame_after_a_cut_shows_the_new_scene() {
        let mut gating = Gating::new(GatingParams::default(), true);
        let (feedback, stop) = (Feedback::default(), StopSignal::new());
        let noise = {
            let bytes = PixelFormat::I420.bytes(SIZE);
            // Squares of 8 pixels, so that they are not averaged away.
            let data = (0..bytes).map(|i| ((i % 320 / 8 * 97 + i / 2560 * 61) % 251) as u8);
            let data = data.collect();
            Image::new(SIZE, PixelFormat::I420, YuvColour::DEFAULT, data).expect("fits")
        };
        let scenes: Vec<u64> = [&image(None), &image(None), &noise, &noise, &noise]
            .iter()
            .enumerate()
            .map(|(i, image)| {
                let t_ms = i as f64 * 40.0;
                gating.plan(i as u64, t_ms, image, &feedback, &stop).scene
            })
            .collect();
        // Whichever of the last three arrives first, the cut is seen.
        assert_eq!(scenes, [0, 0, 1, 1, 1]);
    }

    #[test]
    fn every_third_frame_is_inferred() {
        let params = GatingParams {
            every: Some(InferenceInterval::Frames(3)),
            ..GatingParams::default()
        };
        let plans = plans(params, &[None; 10]);
        let at: Vec<usize> = (0..10)
            .filter(|i| plans[*i].region == Region::Whole)
            .collect();
        assert_eq!(at, [0, 3, 6, 9]);
        assert!(plans.iter().all(|plan| !plan.is_still));
    }

    #[test]
    fn regions_lie_around_what_moves() {
        let regions = RegionParams {
            on_tracks: false,
            max_regions: 3,
            side_px: 80.0,
            whole_ms: 1e6,
        };
        let params = GatingParams {
            regions: Some(regions),
            ..GatingParams::default()
        };
        let plans = plans(params, &[None, None, Some(100), Some(100)]);
        assert_eq!(plans[0].region, Region::Whole);
        assert_eq!(plans[1].region, Region::None);
        let Region::Crops(parts) = &plans[2].region else {
            panic!("{:?}", plans[2].region)
        };
        assert_eq!(parts.len(), 1);
        assert!(
            parts[0].x <= 100.0 && parts[0].x + parts[0].width >= 140.0,
            "{parts:?}"
        );
        assert!(parts[0].width <= 100.0);
        assert_eq!(plans[3].region, Region::None, "it is in the reference");
    }

    #[test]
    fn tiles_are_round_robin() {
        let tiles = TileParams {
            columns: 2,
            rows: 2,
            overlap: 0.2,
            at_once: Some(3),
            budget_ms: None,
            whole: true,
            skip_quiet: false,
            force_ms: 1000.0,
        };
        let params = GatingParams {
            tiles: Some(tiles),
            ..GatingParams::default()
        };
        let all = tiles_of(SIZE, 2, 2, 0.2);
        let plans = plans(params, &[None; 2]);
        let Region::Crops(second) = &plans[1].region else {
            panic!("{:?}", plans[1].region)
        };
        assert_eq!(second[1..], [all[3], all[0], all[1]]);
        assert_eq!(second[0].width, 320.0);
    }

    #[test]
    fn a_frame_that_could_not_be_decoded_is_not_waited_for() {
        let regions = RegionParams {
            on_tracks: true,
            max_regions: 3,
            side_px: 80.0,
            whole_ms: 1e6,
        };
        let params = GatingParams {
            regions: Some(regions),
            ..GatingParams::default()
        };
        let mut gating = Gating::new(params, false);
        let (feedback, stop) = (Feedback::default(), StopSignal::new());
        for frame in [0_u64, 3, 7] {
            let t_ms = frame as f64 * 40.0;
            gating.plan(frame, t_ms, &image(None), &feedback, &stop);
            feedback.published(frame, Vec::new(), None);
        }
    }

    #[test]
    fn the_interval_grows_when_records_are_old_and_shrinks_when_they_are_young() {
        let every = InferenceInterval::Latency {
            target_ms: 100.0,
            max_interval: 4,
        };
        let params = GatingParams {
            every: Some(every),
            ..GatingParams::default()
        };
        let mut gating = Gating::new(params, true);
        let (feedback, stop) = (Feedback::default(), StopSignal::new());
        let mut run = |frames: std::ops::Range<u64>, age: f64| {
            let mut last = None;
            for frame in frames {
                feedback.published(frame, Vec::new(), Some(age));
                let image = image(None);
                last = gating
                    .plan(frame, frame as f64 * 40.0, &image, &feedback, &stop)
                    .every;
            }
            last
        };
        assert_eq!(run(0..400, 300.0), Some(4));
        assert_eq!(run(400..1000, 10.0), Some(1));
        assert_eq!(
            run(1000..1100, 70.0),
            Some(1),
            "unchanged between half the target and the target"
        );
    }
}
