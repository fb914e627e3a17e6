//! What of each frame is looked at.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::parts::{square_around, tiles_of};
use super::spec::{AttentionSpec, Every, Tiles};
use super::{CameraMotion, ChangeDetector, LumaPlane};
use crate::flow::StopSignal;
use crate::frame::{Image, Look, LookAt, RectPx, Similarity, SizePx};

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
    pub fn done(&self, frame: u64, tracks: Vec<RectPx>, age_ms: Option<f64>) {
        let mut known = self.lock();
        known.done = Some(frame);
        known.tracks = tracks;
        if let Some(age) = age_ms {
            known.age_ms = Some(known.age_ms.map_or(age, |a| a + (age - a) * 0.2));
        }
        self.news.notify_all();
    }

    /// A look took so long.
    pub fn looked(&self, took: Duration) {
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
pub struct Attention {
    spec: AttentionSpec,
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

impl Attention {
    /// Nothing seen yet. Where frames may be lost on the way (`drops`), nobody waits for tracks.
    pub fn new(spec: AttentionSpec, drops: bool) -> Self {
        Self {
            every: match spec.every {
                Some(Every::Frames(n)) => n,
                _ => 1,
            },
            spec,
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
    pub fn look(
        &mut self,
        frame: u64,
        t_ms: f64,
        image: &Image,
        feedback: &Feedback,
        stop: &StopSignal,
    ) -> Look {
        self.plane.fill(image, PLANE_WIDTH);
        let is_cut = self.change.next(&self.plane);
        self.scene += u64::from(is_cut);
        let mut look = Look {
            scene: self.scene,
            ..Look::default()
        };
        if self.spec.camera {
            let step = self.motion.next(image);
            self.camera = match step {
                Some(step) if !is_cut => self.camera.then(&step),
                _ if is_cut => Similarity::IDENTITY,
                _ => self.camera,
            };
            look.camera = Some(self.camera);
        }
        if let Some(Every::Latency { target_ms, most }) = self.spec.every {
            self.govern(frame, target_ms, most, feedback);
            look.every = Some(self.every);
        }
        self.since_look += 1;
        let must_look = is_cut || self.looked_ms.is_none();
        if !must_look {
            if self.is_still(t_ms) {
                look.at = LookAt::Nothing;
                look.is_still = true;
                return look;
            }
            if self.since_look < self.every {
                look.at = LookAt::Nothing;
                return look;
            }
        }
        look.at = self.parts(must_look, frame, t_ms, image.size(), feedback, stop);
        if look.at != LookAt::Nothing {
            self.looked_ms = Some(t_ms);
            self.since_look = 0;
            // Tracking alone wants to know of cuts only.
            if self.spec.gate.is_some() || self.spec.regions.is_some() {
                self.change.remember();
            }
        }
        look
    }

    /// Whether the gate is closed.
    fn is_still(&mut self, t_ms: f64) -> bool {
        let Some(gate) = self.spec.gate else {
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

    fn parts(
        &mut self,
        must_look: bool,
        frame: u64,
        t_ms: f64,
        size: SizePx,
        feedback: &Feedback,
        stop: &StopSignal,
    ) -> LookAt {
        if let Some(tiles) = self.spec.tiles {
            return self.tiles(&tiles, size, feedback);
        }
        let Some(regions) = self.spec.regions else {
            return LookAt::Whole;
        };
        let whole_is_due = self.whole_ms.is_none_or(|at| t_ms - at >= regions.whole_ms);
        if must_look || whole_is_due {
            self.whole_ms = Some(t_ms);
            return LookAt::Whole;
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
            return LookAt::Whole;
        }
        if parts.is_empty() {
            LookAt::Nothing
        } else {
            LookAt::Parts(parts)
        }
    }

    fn tiles(&mut self, spec: &Tiles, size: SizePx, feedback: &Feedback) -> LookAt {
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
        LookAt::Parts(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{Gate, Regions};
    use crate::frame::{PixelFormat, YuvColour};

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

    fn looks(spec: AttentionSpec, blocks: &[Option<usize>]) -> Vec<Look> {
        let mut attention = Attention::new(spec, false);
        let (feedback, stop) = (Feedback::default(), StopSignal::new());
        let frames = blocks.iter().enumerate();
        frames
            .map(|(i, block)| {
                let look =
                    attention.look(i as u64, i as f64 * 40.0, &image(*block), &feedback, &stop);
                feedback.done(i as u64, Vec::new(), None);
                look
            })
            .collect()
    }

    #[test]
    fn the_gate_is_closed_while_nothing_moves_and_opens_by_itself_now_and_then() {
        let gate = Gate {
            share: 0.002,
            force_ms: 1000.0,
            after_ms: 100.0,
        };
        let spec = AttentionSpec {
            gate: Some(gate),
            ..AttentionSpec::default()
        };
        let mut blocks = vec![None; 60];
        blocks[30] = Some(100);
        blocks[31] = Some(110);
        let looks = looks(spec, &blocks);
        let at: Vec<usize> = (0..60).filter(|i| looks[*i].at == LookAt::Whole).collect();
        // The first, the forced one after a second, the block's coming and going, a while on, and
        // once more after a second.
        assert_eq!(at, [0, 25, 30, 31, 32, 33, 34, 59]);
        assert!(looks[10].is_still && !looks[30].is_still);
    }

    #[test]
    fn every_frame_after_a_cut_shows_the_new_scene() {
        let mut attention = Attention::new(AttentionSpec::default(), true);
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
                    .look(i as u64, t_ms, image, &feedback, &stop)
                    .scene
            })
            .collect();
        // Whichever of the last three arrives first, the cut is seen.
        assert_eq!(scenes, [0, 0, 1, 1, 1]);
    }

    #[test]
    fn one_of_three_is_looked_at() {
        let spec = AttentionSpec {
            every: Some(Every::Frames(3)),
            ..AttentionSpec::default()
        };
        let looks = looks(spec, &[None; 10]);
        let at: Vec<usize> = (0..10).filter(|i| looks[*i].at == LookAt::Whole).collect();
        assert_eq!(at, [0, 3, 6, 9]);
        assert!(looks.iter().all(|look| !look.is_still));
    }

    #[test]
    fn regions_lie_around_what_moves() {
        let regions = Regions {
            on_tracks: false,
            most: 3,
            side_px: 80.0,
            whole_ms: 1e6,
        };
        let spec = AttentionSpec {
            regions: Some(regions),
            ..AttentionSpec::default()
        };
        let looks = looks(spec, &[None, None, Some(100), Some(100)]);
        assert_eq!(looks[0].at, LookAt::Whole);
        assert_eq!(looks[1].at, LookAt::Nothing);
        let LookAt::Parts(parts) = &looks[2].at else {
            panic!("{:?}", looks[2].at)
        };
        assert_eq!(parts.len(), 1);
        assert!(
            parts[0].x <= 100.0 && parts[0].x + parts[0].width >= 140.0,
            "{parts:?}"
        );
        assert!(parts[0].width <= 100.0);
        assert_eq!(looks[3].at, LookAt::Nothing, "it was seen");
    }

    #[test]
    fn tiles_take_turns() {
        let tiles = Tiles {
            columns: 2,
            rows: 2,
            overlap: 0.2,
            at_once: Some(3),
            budget_ms: None,
            whole: true,
        };
        let spec = AttentionSpec {
            tiles: Some(tiles),
            ..AttentionSpec::default()
        };
        let all = tiles_of(SIZE, 2, 2, 0.2);
        let looks = looks(spec, &[None; 2]);
        let LookAt::Parts(second) = &looks[1].at else {
            panic!("{:?}", looks[1].at)
        };
        assert_eq!(second[1..], [all[3], all[0], all[1]]);
        assert_eq!(second[0].width, 320.0);
    }

    #[test]
    fn the_governor_looks_less_often_when_records_are_old_and_more_when_they_are_young() {
        let every = Every::Latency {
            target_ms: 100.0,
            most: 4,
        };
        let spec = AttentionSpec {
            every: Some(every),
            ..AttentionSpec::default()
        };
        let mut attention = Attention::new(spec, true);
        let (feedback, stop) = (Feedback::default(), StopSignal::new());
        let mut run = |frames: std::ops::Range<u64>, age: f64| {
            let mut last = None;
            for frame in frames {
                feedback.done(frame, Vec::new(), Some(age));
                let image = image(None);
                last = attention
                    .look(frame, frame as f64 * 40.0, &image, &feedback, &stop)
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
