//! From the record of a frame to the tracks and events in it.
//!
//! Works on records alone, with their rounded numbers, so that a saved run leads to the same events
//! as the live one did.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::analytics::{
    Crossing, Direction, LineCounts, LineWatch, ZoneChange, ZoneCounts, ZoneWatch,
};
use crate::config::{AnchorPoint, ClassSpec, PipelineConfig};
use crate::frame::{Polygon, RectPx, Similarity, SizePx};
use crate::postprocess::Labels;
use crate::records::{
    DetectionRecord, EventRecord, FrameRecord, TrackRecord, TrackStateRecord, bbox, rounded,
};
use crate::track::{Observation, Scene, TrackState, TrackView, Tracker, TrackerSpec};

use super::rules::{SCORE_LOW, SCORE_THRESHOLD, polygon};

/// Defaults of the pipeline's keys.
const MATCH_IOU: f64 = 0.2;
const CONFIRM_FRAMES: u32 = 3;
const MEMORY_MS: u64 = 1500;
const LEAVE_MS: u64 = 500;
const HYSTERESIS: f64 = 0.2;

/// Tracks and events, record by record.
#[derive(Default)]
pub struct Analyst {
    labels: Arc<Labels>,
    score_threshold: f64,
    classes: BTreeMap<String, ClassSpec>,
    ignored: Vec<(Polygon, AnchorPoint)>,
    tracker: Option<Tracker>,
    zones: Vec<Zone>,
    lines: Vec<Line>,
}

struct Zone {
    name: String,
    polygon: Polygon,
    classes: Vec<String>,
    anchor: AnchorPoint,
    watch: ZoneWatch,
}

struct Line {
    name: String,
    from: [f64; 2],
    to: [f64; 2],
    classes: Vec<String>,
    anchor: AnchorPoint,
    hysteresis: f64,
    /// Made for the frames' size.
    watch: Option<(SizePx, LineWatch)>,
}

impl Analyst {
    /// For a pipeline that has no fault.
    pub fn new(config: &PipelineConfig, labels: &Arc<Labels>) -> Self {
        let spec = &config.spec;
        let (mut zones, mut ignored) = (Vec::new(), Vec::new());
        for (name, zone) in &spec.zones {
            let Some(polygon) = polygon(config, name) else {
                continue;
            };
            if zone.ignore {
                ignored.push((polygon, zone.anchor));
                continue;
            }
            let ms = |ms: Option<u64>| ms.map(|ms| ms as f64);
            let leave_ms = zone.leave_ms.unwrap_or(LEAVE_MS) as f64;
            zones.push(Zone {
                name: name.clone(),
                polygon,
                classes: zone.classes.clone(),
                anchor: zone.anchor,
                watch: ZoneWatch::new(leave_ms, ms(zone.loiter_ms), ms(zone.update_ms)),
            });
        }
        let lines = spec.lines.iter().map(|(name, line)| Line {
            name: name.clone(),
            from: line.from.map(f64::from),
            to: line.to.map(f64::from),
            classes: line.classes.clone(),
            anchor: line.anchor,
            hysteresis: line.hysteresis.unwrap_or(HYSTERESIS),
            watch: None,
        });
        let tracker = spec.track.as_ref().map(|track| {
            Tracker::new(TrackerSpec {
                score_low: track.score_low.unwrap_or(SCORE_LOW),
                match_iou: track.match_iou.unwrap_or(MATCH_IOU),
                confirm_frames: track.confirm_frames.unwrap_or(CONFIRM_FRAMES),
                memory_ms: track.memory_ms.unwrap_or(MEMORY_MS) as f64,
            })
        });
        Self {
            labels: Arc::clone(labels),
            score_threshold: spec
                .detect
                .score_threshold
                .unwrap_or(SCORE_THRESHOLD)
                .into(),
            classes: spec.detect.classes.clone(),
            ignored,
            tracker,
            zones,
            lines: lines.collect(),
        }
    }

    /// Adds tracks, zones and events to the record of a frame of `size`; drops what the pipeline
    /// does not want.
    pub fn update(&mut self, record: &mut FrameRecord, size: SizePx) {
        let mut all = std::mem::take(&mut record.detections);
        all.append(&mut record.faint);
        all.retain(|detection| self.is_wanted(detection, size));
        let is_clear = |d: &DetectionRecord| d.score >= self.threshold(&d.label);
        (record.detections, record.faint) = all.into_iter().partition(is_clear);
        if let Some(mut tracker) = self.tracker.take() {
            let tracks = follow(&mut tracker, record);
            record.tracks = Some(tracks.iter().map(|t| self.track_record(t)).collect());
            self.watch_zones(record, &tracks, size);
            self.watch_lines(record, &tracks, size);
            self.tracker = Some(tracker);
        } else {
            record.faint.clear();
        }
        for detection in &mut record.detections {
            let rect = rect_of(&detection.bbox);
            let zones = self.zones.iter().filter(|zone| {
                counts(&zone.classes, &detection.label) && zone.contains(&rect, size)
            });
            detection.zones = zones.map(|zone| zone.name.clone()).collect();
        }
    }

    /// What zones and lines have counted so far, to be shown.
    pub fn board(&self) -> Vec<(String, String)> {
        let zones = self
            .zones
            .iter()
            .filter(|_| self.tracker.is_some())
            .map(|zone| {
                let ZoneCounts { now, entered, .. } = zone.watch.counts();
                (
                    zone.name.clone(),
                    format!("{}: {now} now, {entered} in all", zone.name),
                )
            });
        let lines = self.lines.iter().map(|line| {
            let watch = line.watch.as_ref();
            let LineCounts { inward, outward } = watch.map(|(_, w)| w.counts()).unwrap_or_default();
            (
                line.name.clone(),
                format!("{}: {inward} in, {outward} out", line.name),
            )
        });
        zones.chain(lines).collect()
    }

    fn threshold(&self, label: &str) -> f64 {
        let class = self.classes.get(label).and_then(|c| c.score_threshold);
        // As records round scores.
        rounded(class.map_or(self.score_threshold, f64::from), 10_000.0)
    }

    fn is_wanted(&self, detection: &DetectionRecord, size: SizePx) -> bool {
        if let Some(class) = self.classes.get(&detection.label) {
            let longer = detection.bbox[2].max(detection.bbox[3]);
            let too_short = class.min_px.is_some_and(|min| longer < min);
            let too_long = class.max_px.is_some_and(|max| longer > max);
            if too_short || too_long {
                return false;
            }
        }
        let rect = rect_of(&detection.bbox);
        let is_inside = |(polygon, point): &(Polygon, AnchorPoint)| {
            polygon.contains(normalised(anchor(&rect, *point), size))
        };
        !self.ignored.iter().any(is_inside)
    }

    fn track_record(&self, track: &TrackView) -> TrackRecord {
        TrackRecord {
            track_id: track.id,
            category_id: track.category_id,
            label: self.labels.name(track.category_id).to_owned(),
            state: match track.state {
                TrackState::Seen => TrackStateRecord::Seen,
                TrackState::Held => TrackStateRecord::Held,
                TrackState::Lost => TrackStateRecord::Lost,
            },
            bbox: bbox(&track.rect),
        }
    }

    fn watch_zones(&mut self, record: &mut FrameRecord, tracks: &[TrackView], size: SizePx) {
        let alive: HashSet<u64> = tracks.iter().map(|track| track.id).collect();
        for zone in &mut self.zones {
            let mut changes = Vec::new();
            for track in tracks
                .iter()
                .filter(|track| track.state != TrackState::Lost)
            {
                let inside = zone.contains(&track.rect, size)
                    && counts(&zone.classes, self.labels.name(track.category_id));
                let watch = &mut zone.watch;
                changes.extend(watch.see(track.id, track.category_id, inside, record.pts_ms));
            }
            changes.extend(zone.watch.update(record.pts_ms, |id| alive.contains(&id)));
            let ZoneCounts {
                now,
                entered,
                left,
                peak,
            } = zone.watch.counts();
            let counted = [
                ("now", now),
                ("entered", entered),
                ("left", left),
                ("peak", peak),
            ];
            for change in changes {
                let (kind, phase, presence) = match change {
                    ZoneChange::Entered(presence) => ("zone", "new", presence),
                    ZoneChange::Stays(presence) => ("zone", "update", presence),
                    ZoneChange::Loiters(presence) => ("loiter", "new", presence),
                    ZoneChange::Left(presence) => ("zone", "end", presence),
                };
                let event = EventRecord {
                    zone: Some(zone.name.clone()),
                    track_id: Some(presence.track_id),
                    label: Some(self.labels.name(presence.category_id).to_owned()),
                    duration_ms: Some(rounded(presence.duration_ms(), 1000.0)),
                    counts: Some(named(&counted)),
                    ..EventRecord::of(record, kind, phase, &zone.name)
                };
                let ends_loitering = kind == "zone" && phase == "end" && presence.loiters;
                if ends_loitering {
                    record.events.push(EventRecord {
                        kind: "loiter".to_owned(),
                        ..event.clone()
                    });
                }
                record.events.push(event);
            }
        }
    }

    fn watch_lines(&mut self, record: &mut FrameRecord, tracks: &[TrackView], size: SizePx) {
        let alive: HashSet<u64> = tracks.iter().map(|track| track.id).collect();
        for line in &mut self.lines {
            let (width, height) = (f64::from(size.width), f64::from(size.height));
            if line.watch.as_ref().is_none_or(|(of, _)| *of != size) {
                let at = |[x, y]: [f64; 2]| [x * width, y * height];
                line.watch = Some((size, LineWatch::new(at(line.from), at(line.to))));
            }
            let Some((_, watch)) = &mut line.watch else {
                continue;
            };
            // Where nobody looked, nobody saw a crossing.
            for track in tracks
                .iter()
                .filter(|track| track.state == TrackState::Seen)
            {
                let label = self.labels.name(track.category_id);
                if !counts(&line.classes, label) {
                    continue;
                }
                let at = anchor(&track.rect, line.anchor);
                let margin = line.hysteresis * f64::from(track.rect.height);
                let Some(crossing) = watch.see(track.id, at, record.pts_ms, margin) else {
                    continue;
                };
                let Crossing {
                    direction,
                    duration_ms,
                    ..
                } = crossing;
                let LineCounts { inward, outward } = watch.counts();
                let event = EventRecord {
                    track_id: Some(track.id),
                    label: Some(label.to_owned()),
                    direction: Some(match direction {
                        Direction::In => "in".to_owned(),
                        Direction::Out => "out".to_owned(),
                    }),
                    duration_ms: Some(rounded(duration_ms, 1000.0)),
                    counts: Some(named(&[("in", inward), ("out", outward)])),
                    ..EventRecord::of(record, "line", "update", &line.name)
                };
                record.events.push(event);
            }
            watch.retain(|id| alive.contains(&id));
        }
    }
}

impl Zone {
    fn contains(&self, rect: &RectPx, size: SizePx) -> bool {
        self.polygon
            .contains(normalised(anchor(rect, self.anchor), size))
    }
}

/// Gives the record's detections their tracks; all tracks that are known now.
fn follow(tracker: &mut Tracker, record: &mut FrameRecord) -> Vec<TrackView> {
    let regions = record.regions.as_ref();
    let looked: Option<Vec<RectPx>> = match (record.inferred, regions) {
        (Some(false), _) => Some(Vec::new()),
        (_, Some(regions)) => Some(regions.iter().map(rect_of).collect()),
        _ => None,
    };
    let camera = record.camera.map(|[a, b, x, y]| Similarity { a, b, x, y });
    let scene = Scene {
        t_ms: record.pts_ms,
        is_cut: record.cut,
        camera: camera.as_ref(),
        looked: looked.as_deref(),
        is_still: record.still,
    };
    let clear = record.detections.len();
    let all = record.detections.iter().chain(&record.faint).enumerate();
    let seen: Vec<Observation> = all
        .map(|(i, detection)| Observation {
            category_id: detection.category_id,
            score: detection.score,
            rect: rect_of(&detection.bbox),
            is_faint: i >= clear,
        })
        .collect();
    let ids = tracker.update(&scene, &seen);
    let all = record.detections.iter_mut().chain(&mut record.faint);
    for (detection, id) in all.zip(ids) {
        detection.track_id = id;
    }
    tracker.tracks().collect()
}

fn named(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts
        .iter()
        .map(|(name, n)| ((*name).to_owned(), *n))
        .collect()
}

/// Whether a label is one of those that count; all do if none is named.
fn counts(classes: &[String], label: &str) -> bool {
    classes.is_empty() || classes.iter().any(|class| class == label)
}

/// A record's box.
pub fn rect_of(bbox: &[f64; 4]) -> RectPx {
    let [x, y, width, height] = bbox.map(|v| v as f32);
    RectPx {
        x,
        y,
        width,
        height,
    }
}

fn anchor(rect: &RectPx, point: AnchorPoint) -> [f64; 2] {
    let down = match point {
        AnchorPoint::BottomCenter => rect.height,
        AnchorPoint::Center => rect.height / 2.0,
    };
    [rect.x + rect.width / 2.0, rect.y + down].map(f64::from)
}

fn normalised([x, y]: [f64; 2], size: SizePx) -> [f64; 2] {
    [x / f64::from(size.width), y / f64::from(size.height)]
}
