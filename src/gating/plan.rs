//! What of each frame is looked at.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::params::{GatingParams, InferenceInterval, TileParams};
use super::parts::{square_around, tiles_of};
use super::{CameraMotion, ChangeDetector, LumaPlane};
use crate::flow::StopSignal;
use crate::frame::{InferencePlan, Region};
use mobilens_image::{Image, RectPx, Similarity, SizePx};

/// Columns of the plane on which changes are sought.
const PLANE_WIDTH: usize = 160;
/// Parts of a frame this near to all of it are looked at as a whole.
const NEARLY_ALL: f32 = 0.6;
/// How long after the last change things are at rest.
const REST_MS: f64 = 400.0;
/// Frames between two decisions of the governor.
const SETTLE_FRAMES: u64 = 15;

/// What those further on tell whoever decides where to look.
#[derive(Debug, Default)]
pub struct Feedback {
    known: Mutex<Known>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    /// Frames up to this one have their record.
    done: Option<u64>,
    tracks: Vec<RectPx>,
    /// Age of records when they are made, averaged.
    age_ms: Option<f64>,
    /// What one look takes, averaged.
    look_ms: Option<f64>,
}

impl Feedback {
    /// The record of a frame is made.
    pub fn published(&self, frame: u64, tracks: Vec<RectPx>, age_ms: Option<f64>) {
        let mut known = self.lock();
        known.done = Some(frame);
        known.tracks = tracks;
        if let Some(age) = age_ms {
            known.age_ms = Some(known.age_ms.map_or(age, |a| a + (age - a) * 0.2));
        }
        self.news.notify_all();
    }

    /// A look took so long.
    pub fn inferred(&self, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        let mut known = self.lock();
        known.look_ms = Some(known.look_ms.map_or(ms, |a| a + (ms - a) * 0.1));
    }

    /// Waits until the frame before `frame` has its record; where tracks were then.
    fn tracks_before(&self, frame: u64, stop: &StopSignal) -> Vec<RectPx> {
        let mut known = self.lock();
        while known.done.map_or(0, |done| done + 1) < frame && !stop.is_stopped() {
            let waited = self.news.wait_timeout(known, Duration::from_millis(50));
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        known.tracks.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decides, frame by frame and in order, what is looked at.
#[derive(Debug)]
pub struct Gating {
    params: GatingParams,
    /// Whether a frame may be lost on the way: then nobody waits for the record of one.
    drops: bool,
    plane: LumaPlane,
    change: ChangeDetector,
    motion: CameraMotion,
    camera: Similarity,
    scene: u64,
    looked_ms: Option<f64>,
    changed_ms: Option<f64>,
    whole_ms: Option<f64>,
    since_look: u32,
    every: u32,
    settled: u64,
    turn: usize,
}

impl Gating {
    /// Nothing seen yet. Where frames may be lost on the way (`drops`), nobody waits for tracks.
    pub fn new(params: GatingParams, drops: bool) -> Self {
        Self {
            every: match params.every {
                Some(InferenceInterval::Frames(n)) => n,
                _ => 1,
            },
            params,
            drops,
            plane: LumaPlane::default(),
            change: ChangeDetector::default(),
            motion: CameraMotion::default(),
            camera: Similarity::IDENTITY,
            scene: 0,
            looked_ms: None,
            changed_ms: None,
            whole_ms: None,
            since_look: 0,
            settled: 0,
            turn: 0,
        }
    }

    /// What of the next frame is looked at.
    pub fn plan(
        &mut self,
        frame: u64,
        t_ms: f64,
        image: &Image,
        feedback: &Feedback,
        stop: &StopSignal,
    ) -> InferencePlan {
        self.plane.fill(image, PLANE_WIDTH);
        let is_cut = self.change.next(&self.plane);
        self.scene += u64::from(is_cut);
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
        if let Some(InferenceInterval::Latency { target_ms, most }) = self.params.every {
            self.govern(frame, target_ms, most, feedback);
            plan.every = Some(self.every);
        }
        self.since_look += 1;
        let must_look = is_cut || self.looked_ms.is_none();
        if !must_look {
            if self.is_still(t_ms) {
                plan.region = Region::None;
                plan.is_still = true;
                return plan;
            }
            if self.since_look < self.every {
                plan.region = Region::None;
                return plan;
            }
        }
        plan.region = self.regions(must_look, frame, t_ms, image.size(), feedback, stop);
        if plan.region != Region::None {
            self.looked_ms = Some(t_ms);
            self.since_look = 0;
            // Tracking alone wants to know of cuts only.
            if self.params.gate.is_some() || self.params.regions.is_some() {
                self.change.remember();
            }
        }
        plan
    }

    /// Whether the gate is closed.
    fn is_still(&mut self, t_ms: f64) -> bool {
        let Some(gate) = self.params.gate else {
            return false;
        };
        let within = |since: Option<f64>, ms: f64| since.is_some_and(|since| t_ms - since < ms);
        if self.change.share() >= gate.share {
            self.changed_ms = Some(t_ms);
            return false;
        }
        // Once things have come to rest one more look tells whether they are still there.
        let rests = self
            .looked_ms
            .is_some_and(|looked| t_ms - looked >= REST_MS);
        if rests && self.changed_ms == self.looked_ms {
            return false;
        }
        within(self.looked_ms, gate.force_ms) && !within(self.changed_ms, gate.after_ms)
    }

    /// One more or one less frame between looks, once the last decision has shown its effect.
    fn govern(&mut self, frame: u64, target_ms: f64, most: u32, feedback: &Feedback) {
        let Some(age_ms) = feedback.lock().age_ms else {
            return;
        };
        if frame < self.settled {
            return;
        }
        let wanted = if age_ms > target_ms {
            (self.every + 1).min(most)
        } else if age_ms < target_ms / 2.0 {
            self.every.saturating_sub(1).max(1)
        } else {
            self.every
        };
        if wanted != self.every {
            self.every = wanted;
            self.settled = frame + SETTLE_FRAMES * u64::from(wanted);
        }
    }

    fn regions(
        &mut self,
        must_look: bool,
        frame: u64,
        t_ms: f64,
        size: SizePx,
        feedback: &Feedback,
        stop: &StopSignal,
    ) -> Region {
        if let Some(tiles) = self.params.tiles {
            return self.tiles(&tiles, size, feedback);
        }
        let Some(regions) = self.params.regions else {
            return Region::Whole;
        };
        let whole_is_due = self.whole_ms.is_none_or(|at| t_ms - at >= regions.whole_ms);
        if must_look || whole_is_due {
            self.whole_ms = Some(t_ms);
            return Region::Whole;
        }
        let wanted = match (regions.on_tracks, self.drops) {
            (true, false) => feedback.tracks_before(frame, stop),
            (true, true) => feedback.lock().tracks.clone(),
            (false, _) => self.change.areas(),
        };
        let mut parts: Vec<RectPx> = Vec::new();
        for rect in &wanted {
            let square = square_around(rect, regions.side_px, size);
            // What a region shows already needs none of its own.
            let shows = |part: &RectPx| {
                part.x <= rect.x
                    && part.y <= rect.y
                    && part.x + part.width >= rect.x + rect.width
                    && part.y + part.height >= rect.y + rect.height
            };
            if parts.len() < regions.most && !parts.iter().any(shows) {
                parts.push(square);
            }
        }
        let area: f32 = parts.iter().map(RectPx::area).sum();
        if area > NEARLY_ALL * size.width as f32 * size.height as f32 {
            self.whole_ms = Some(t_ms);
            return Region::Whole;
        }
        if parts.is_empty() {
            Region::None
        } else {
            Region::Crops(parts)
        }
    }

    fn tiles(&mut self, spec: &TileParams, size: SizePx, feedback: &Feedback) -> Region {
        let all = tiles_of(size, spec.columns, spec.rows, spec.overlap);
        let whole = RectPx {
            x: 0.0,
            y: 0.0,
            width: size.width as f32,
            height: size.height as f32,
        };
        let by_budget = spec.budget_ms.map(|budget| {
            let look_ms = feedback.lock().look_ms.unwrap_or(budget);
            let looks = (budget / look_ms.max(0.01)) as usize;
            looks.saturating_sub(usize::from(spec.whole)).max(1)
        });
        let n = by_budget
            .or(spec.at_once)
            .unwrap_or(all.len())
            .min(all.len());
        let mut parts: Vec<RectPx> = spec.whole.then_some(whole).into_iter().collect();
        parts.extend((0..n).map(|i| all[(self.turn + i) % all.len()]));
        self.turn = (self.turn + n) % all.len();
        Region::Crops(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gating::{MotionGate, RegionParams};
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
    fn the_gate_is_closed_while_nothing_moves_and_opens_by_itself_now_and_then() {
        let gate = MotionGate {
            share: 0.002,
            force_ms: 1000.0,
            after_ms: 100.0,
        };
        let spec = GatingParams {
            gate: Some(gate),
            ..GatingParams::default()
        };
        let mut blocks = vec![None; 60];
        blocks[30] = Some(100);
        blocks[31] = Some(110);
        let plans = plans(spec, &blocks);
        let at: Vec<usize> = (0..60)
            .filter(|i| plans[*i].region == Region::Whole)
            .collect();
        // The first, the forced one after a second, the block's coming and going, a while on, and
        // once more after a second.
        assert_eq!(at, [0, 25, 30, 31, 32, 33, 34, 59]);
        assert!(plans[10].is_still && !plans[30].is_still);
    }

    #[test]
    fn every_frame_after_a_cut_shows_the_new_scene() {
        let mut attention = Gating::new(GatingParams::default(), true);
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
                attention
                    .plan(i as u64, t_ms, image, &feedback, &stop)
                    .scene
            })
            .collect();
        // Whichever of the last three arrives first, the cut is seen.
        assert_eq!(scenes, [0, 0, 1, 1, 1]);
    }

    #[test]
    fn one_of_three_is_looked_at() {
        let spec = GatingParams {
            every: Some(InferenceInterval::Frames(3)),
            ..GatingParams::default()
        };
        let plans = plans(spec, &[None; 10]);
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
            most: 3,
            side_px: 80.0,
            whole_ms: 1e6,
        };
        let spec = GatingParams {
            regions: Some(regions),
            ..GatingParams::default()
        };
        let plans = plans(spec, &[None, None, Some(100), Some(100)]);
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
        assert_eq!(plans[3].region, Region::None, "it was seen");
    }

    #[test]
    fn tiles_take_turns() {
        let tiles = TileParams {
            columns: 2,
            rows: 2,
            overlap: 0.2,
            at_once: Some(3),
            budget_ms: None,
            whole: true,
        };
        let spec = GatingParams {
            tiles: Some(tiles),
            ..GatingParams::default()
        };
        let all = tiles_of(SIZE, 2, 2, 0.2);
        let plans = plans(spec, &[None; 2]);
        let Region::Crops(second) = &plans[1].region else {
            panic!("{:?}", plans[1].region)
        };
        assert_eq!(second[1..], [all[3], all[0], all[1]]);
        assert_eq!(second[0].width, 320.0);
    }

    #[test]
    fn the_governor_looks_less_often_when_records_are_old_and_more_when_they_are_young() {
        let every = InferenceInterval::Latency {
            target_ms: 100.0,
            most: 4,
        };
        let spec = GatingParams {
            every: Some(every),
            ..GatingParams::default()
        };
        let mut attention = Gating::new(spec, true);
        let (feedback, stop) = (Feedback::default(), StopSignal::new());
        let mut run = |frames: std::ops::Range<u64>, age: f64| {
            let mut last = None;
            for frame in frames {
                feedback.published(frame, Vec::new(), Some(age));
                let image = image(None);
                last = attention
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
            "between half and all of it nothing changes"
        );
    }
}
