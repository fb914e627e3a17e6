//! Several detection models on one stream: the first runs as its plan says, each further one after it, on the
//! frames of its rhythm and on the parts of them that it is for.

use std::sync::Arc;

use crate::flow::Latency;
use crate::frame::{FrameMeta, InferencePlan, MediaTime, Packet, Region};
use crate::gating::{Feedback, Rhythm, enlarged_crop};
use crate::pipeline::options::ModelError;
use crate::postprocess::{Detection, Prediction};
use mobilens_image::{Polygon, RectPx, SizePx};

use super::detect::{Detector, DetectorModel};
use super::infer::{InferenceLatency, InferenceWorker};

/// On which part of a frame a model runs.
#[derive(Clone, Debug)]
pub enum Place {
    /// All of it.
    Whole,
    /// The rectangle around a zone, for objects whose centre is in the zone.
    Zone(Polygon),
    /// Crops around detections of another model.
    Inside(InsideParams),
}

/// Detections of another model, inside of which a model runs.
#[derive(Clone, Debug, PartialEq)]
pub struct InsideParams {
    /// The number of that model; it stands before this one.
    pub model: usize,
    /// Its label ids, with the score from which a detection counts.
    pub classes: Vec<(u32, f32)>,
    /// By how much a box is enlarged on each side, as a share of that side.
    pub grow: f32,
    /// Most crops of a frame.
    pub max: usize,
}

/// A model that runs after the first one of its stream; shared by the workers.
#[derive(Clone, Debug)]
pub struct LaterModel {
    /// Its network.
    pub model: Arc<DetectorModel>,
    /// Added to its label ids.
    pub first_id: u32,
    /// On which frames it runs; on all without.
    pub rhythm: Option<Arc<Rhythm>>,
    /// On which part of them.
    pub place: Place,
    /// Latencies of its steps.
    pub steps: InferenceLatency,
    /// Latency of all that it does on a frame.
    pub latency: Latency,
}

/// Runs several detection models in one worker.
pub struct SeveralDetectors {
    first: Detector,
    /// Latency of all that the first does on a frame.
    latency: Latency,
    later: Vec<(LaterModel, Detector)>,
}

impl SeveralDetectors {
    /// Runs `later` after `first`, with `threads` threads inside one inference.
    ///
    /// # Errors
    /// When a network cannot be prepared.
    pub fn new(
        first: Detector,
        latency: Latency,
        later: &[LaterModel],
        threads: usize,
    ) -> Result<Self, ModelError> {
        let later = later.iter().map(|later| {
            // The gating governs the first model by its own times.
            let feedback = Arc::<Feedback>::default();
            let detector = Detector::new(&later.model, threads, &later.steps, &feedback)?;
            Ok((later.clone(), detector))
        });
        Ok(Self {
            first,
            latency,
            later: later.collect::<Result<_, ModelError>>()?,
        })
    }
}

impl LaterModel {
    /// The part of a frame of `size` to run on. `regions` and `found` are what the models before it ran on
    /// and detected.
    fn region(
        &self,
        meta: &FrameMeta,
        previous: Option<MediaTime>,
        size: SizePx,
        regions: &[Region],
        found: &[Vec<Detection>],
    ) -> Region {
        if let Place::Inside(inside) = &self.place
            && matches!(regions.get(inside.model), None | Some(Region::None))
        {
            return Region::None;
        }
        let is_due = |rhythm: &Arc<Rhythm>| rhythm.take(meta.frame, meta.pts, previous);
        if !self.rhythm.as_ref().is_none_or(is_due) {
            return Region::None;
        }
        match &self.place {
            Place::Whole => Region::Whole,
            Place::Zone(zone) => Region::Crops(
                enlarged_crop(&rect_of(zone, size), 0.0, size)
                    .into_iter()
                    .collect(),
            ),
            Place::Inside(inside) => {
                let found = found.get(inside.model).map_or(&[][..], Vec::as_slice);
                Region::Crops(inside.crops(found, size))
            }
        }
    }

    /// Its detections as those of the stream: with the stream's label ids, and without what is outside its
    /// zone.
    fn finish(&self, detections: &mut Vec<Detection>, size: SizePx) {
        if let Place::Zone(zone) = &self.place {
            detections.retain(|detection| {
                let rect = &detection.rect;
                let x = f64::from(rect.x + rect.width / 2.0) / f64::from(size.width);
                let y = f64::from(rect.y + rect.height / 2.0) / f64::from(size.height);
                zone.contains([x, y])
            });
        }
        for detection in detections {
            detection.category_id += self.first_id;
        }
    }
}

impl InsideParams {
    /// The crops around `found`, best score first, in a picture of `size`.
    fn crops(&self, found: &[Detection], size: SizePx) -> Vec<RectPx> {
        let counts = |detection: &&Detection| {
            let class = self
                .classes
                .iter()
                .find(|(id, _)| *id == detection.category_id);
            class.is_some_and(|(_, threshold)| detection.score >= *threshold)
        };
        let crops = found.iter().filter(counts);
        let crops = crops.filter_map(|found| enlarged_crop(&found.rect, self.grow, size));
        crops.take(self.max).collect()
    }
}

/// The rectangle around a zone in a picture of `size`.
fn rect_of(zone: &Polygon, size: SizePx) -> RectPx {
    let along = |axis: usize, pixels: u32| {
        let at = zone.corners().iter().map(|corner| corner[axis]);
        let (least, most) = at.fold((1.0_f32, 0.0_f32), |(least, most), v| {
            (least.min(v), most.max(v))
        });
        (least * pixels as f32, (most - least) * pixels as f32)
    };
    let ((x, width), (y, height)) = (along(0, size.width), along(1, size.height));
    RectPx {
        x,
        y,
        width,
        height,
    }
}

impl InferenceWorker for SeveralDetectors {
    fn run(&mut self, packet: Packet<InferencePlan>) -> Result<Packet<Prediction>, String> {
        let Packet {
            meta,
            image,
            payload: plan,
        } = packet.clone();
        let is_run = plan.region != Region::None;
        // Nothing moves: what there is to see was seen.
        let is_still = plan.is_still && !is_run;
        let mut packet = if is_run {
            self.latency.time(|| self.first.run(packet))?
        } else {
            self.first.run(packet)?
        };
        let size = image.size();
        let prediction = &mut packet.payload;
        let mut regions = vec![prediction.plan.region.clone()];
        let mut found = vec![std::mem::take(&mut prediction.detections)];
        for (later, detector) in &mut self.later {
            let region = if is_still {
                Region::None
            } else {
                later.region(&meta, plan.previous_pts, size, &regions, &found)
            };
            let mut detections = Vec::new();
            if !matches!(&region, Region::None) && region != Region::Crops(Vec::new()) {
                let part = Packet {
                    meta: meta.clone(),
                    image: Arc::clone(&image),
                    payload: InferencePlan {
                        region: region.clone(),
                        ..InferencePlan::default()
                    },
                };
                let done = later.latency.time(|| detector.run(part))?;
                detections = done.payload.detections;
            }
            later.finish(&mut detections, size);
            regions.push(region);
            found.push(detections);
        }
        prediction.detections = found.concat();
        let detections = &mut prediction.detections;
        // Stable: of equal scores that of the first model comes first.
        detections.sort_by(|a, b| b.score.total_cmp(&a.score));
        prediction.models = regions;
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: SizePx = SizePx {
        width: 640,
        height: 272,
    };

    fn found(category_id: u32, score: f32, x: f32) -> Detection {
        Detection {
            category_id,
            score,
            rect: RectPx {
                x,
                y: 100.0,
                width: 40.0,
                height: 80.0,
            },
            keypoints: Vec::new(),
            mask: None,
        }
    }

    #[test]
    fn crops_are_the_enlarged_boxes_of_the_named_classes() {
        let inside = InsideParams {
            model: 0,
            classes: vec![(1, 0.4)],
            grow: 0.1,
            max: 2,
        };
        let seen = [
            found(1, 0.9, 100.0),
            found(3, 0.8, 200.0),
            found(1, 0.7, 620.0),
            found(1, 0.5, 300.0),
            found(1, 0.3, 400.0),
        ];
        let rect = |x, width| RectPx {
            x,
            y: 92.0,
            width,
            height: 96.0,
        };
        // Class 3 and what is below the threshold do not count; the second ends with the picture.
        assert_eq!(
            inside.crops(&seen, SIZE),
            [rect(96.0, 48.0), rect(616.0, 24.0)]
        );
        assert_eq!(inside.crops(&[], SIZE), []);
    }

    #[test]
    fn a_zone_is_looked_at_by_the_rectangle_around_it() {
        let zone = Polygon::new(vec![[0.25, 0.5], [0.75, 0.5], [0.5, 1.0]]).expect("a triangle");
        let expected = RectPx {
            x: 160.0,
            y: 136.0,
            width: 320.0,
            height: 136.0,
        };
        assert_eq!(rect_of(&zone, SIZE), expected);
    }
}
