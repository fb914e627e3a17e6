//! Analysis: adds tracks and events to the record of a frame.
//!
//! Works on records alone, with their rounded numbers, so that an analysis of saved records gives the
//! same events as the live run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::analytics::{
    AnchorPoint, Crossing, Direction, LineCounter, LineCounts, ZoneCounts, ZoneEvent, ZoneMonitor,
};
use crate::overlay::Counters;
use crate::postprocess::Labels;
use crate::records::{
    DetectionRecord, EventRecord, FrameRecord, KeypointRecord, RecordBox, TrackRecord,
    TrackStateRecord, rounded,
};
use crate::track::{FrameContext, Observation, TrackState, TrackView, Tracker};
use mobilens_image::{Polygon, RectPx, Similarity, SizePx};

/// Adds tracks and events to records.
#[derive(Default)]
pub struct Analyzer {
    /// Names of the categories.
    pub labels: Arc<Labels>,
    /// Detections below are dropped, where their class has no threshold of its own.
    pub score_threshold: f64,
    /// Filters by label; classes without one have the common threshold.
    pub classes: BTreeMap<String, ClassFilter>,
    /// Zones in which detections are dropped, and the point of a box that decides.
    pub ignored: Vec<(Polygon, AnchorPoint)>,
    /// Tracks objects; without it there are no tracks, zones and lines.
    pub tracker: Option<Tracker>,
    /// Zones to monitor.
    pub zones: Vec<MonitoredZone>,
    /// Lines to count at.
    pub lines: Vec<CountedLine>,
    /// Keypoints of the last detection of each track that has any.
    pub keypoints: HashMap<u64, Vec<KeypointRecord>>,
}

/// Which detections of a class are kept.
#[derive(Clone, Debug, Default)]
pub struct ClassFilter {
    /// Detections below are dropped; the common threshold without.
    pub score_threshold: Option<f32>,
    /// Objects whose longer side is shorter are dropped.
    pub min_px: Option<f64>,
    /// Objects whose longer side is longer are dropped.
    pub max_px: Option<f64>,
}

/// A zone in which objects are monitored.
pub struct MonitoredZone {
    /// Name in the events.
    pub name: String,
    /// Corners, 0 to 1.
    pub polygon: Polygon,
    /// Labels that count; all if empty.
    pub classes: Vec<String>,
    /// Which point of a box must be inside.
    pub anchor: AnchorPoint,
    /// The objects inside, and since when.
    pub monitor: ZoneMonitor,
}

/// A line at which objects are counted.
pub struct CountedLine {
    /// Name in the events.
    pub name: String,
    /// Start point, 0 to 1.
    pub from: [f64; 2],
    /// End point, 0 to 1.
    pub to: [f64; 2],
    /// Labels that count; all if empty.
    pub classes: Vec<String>,
    /// Which point of a box crosses it.
    pub anchor: AnchorPoint,
    /// Distance from the line from which an object is on one side, in heights of the object.
    pub hysteresis: f64,
    /// The counter, and the size of the frames that it was made for.
    pub counter: Option<(SizePx, LineCounter)>,
}

impl Analyzer {
    /// Adds tracks, zones and events to the record of a frame of `size`; drops detections that the
    /// pipeline filters out.
    pub fn update(&mut self, record: &mut FrameRecord, size: SizePx) {
        let mut all = std::mem::take(&mut record.detections);
        all.append(&mut record.faint);
        all.retain(|detection| self.is_wanted(detection, size));
        let is_clear = |d: &DetectionRecord| d.score >= self.threshold(&d.label);
        (record.detections, record.faint) = all.into_iter().partition(is_clear);
        if let Some(mut tracker) = self.tracker.take() {
            let tracks = update_tracks(&mut tracker, record, size);
            self.keep_keypoints(record, &tracks);
            record.tracks = Some(tracks.iter().map(|t| self.track_record(t)).collect());
            self.monitor_zones(record, &tracks, size);
            self.count_lines(record, &tracks, size);
            self.tracker = Some(tracker);
        } else {
            record.faint.clear();
        }
        for detection in &mut record.detections {
            let rect = RectPx::from(detection.bbox);
            let zones = self.zones.iter().filter(|zone| {
                includes(&zone.classes, &detection.label) && zone.contains(&rect, size)
            });
            detection.zones = zones.map(|zone| zone.name.clone()).collect();
        }
    }

    /// What zones and lines have counted so far, for the overlay.
    pub fn counters(&self) -> Counters {
        let zones = self
            .zones
            .iter()
            .filter(|_| self.tracker.is_some())
            .map(|zone| {
                let ZoneCounts { now, entered, .. } = zone.monitor.counts();
                (
                    zone.name.clone(),
                    format!("{}: {now} now, {entered} in all", zone.name),
                )
            });
        let lines = self.lines.iter().map(|line| {
            let counter = line.counter.as_ref();
            let LineCounts { inward, outward } =
                counter.map(|(_, c)| c.counts()).unwrap_or_default();
            (
                line.name.clone(),
                format!("{}: {inward} in, {outward} out", line.name),
            )
        });
        Counters {
            texts: zones.chain(lines).collect(),
            inside: self.zones.iter().flat_map(|z| z.monitor.tracks()).collect(),
        }
    }

    fn threshold(&self, label: &str) -> f64 {
        let class = self.classes.get(label).and_then(|c| c.score_threshold);
        // Rounded as scores in records are.
        rounded(class.map_or(self.score_threshold, f64::from), 10_000.0)
    }

    fn is_wanted(&self, detection: &DetectionRecord, size: SizePx) -> bool {
        if let Some(class) = self.classes.get(&detection.label) {
            let longer = detection.bbox.width.max(detection.bbox.height);
            let too_short = class.min_px.is_some_and(|min| longer < min);
            let too_long = class.max_px.is_some_and(|max| longer > max);
            if too_short || too_long {
                return false;
            }
        }
        let rect = RectPx::from(detection.bbox);
        let is_inside = |(polygon, point): &(Polygon, AnchorPoint)| {
            polygon.contains(normalised(point.of(&rect), size))
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
            bbox: RecordBox::from(&track.rect),
            keypoints: self.keypoints.get(&track.id).cloned().unwrap_or_default(),
        }
    }

    /// Takes the keypoints of the detections that belong to tracks; forgets those of tracks that have ended.
    fn keep_keypoints(&mut self, record: &FrameRecord, tracks: &[TrackView]) {
        for detection in record.detections.iter().chain(&record.faint) {
            if let Some(id) = detection.track_id
                && (!detection.keypoints.is_empty() || self.keypoints.contains_key(&id))
            {
                self.keypoints.insert(id, detection.keypoints.clone());
            }
        }
        self.keypoints
            .retain(|id, _| tracks.iter().any(|track| track.id == *id));
    }

    fn monitor_zones(&mut self, record: &mut FrameRecord, tracks: &[TrackView], size: SizePx) {
        let alive: HashSet<u64> = tracks.iter().map(|track| track.id).collect();
        for zone in &mut self.zones {
            let mut changes = Vec::new();
            for track in tracks
                .iter()
                .filter(|track| track.state != TrackState::Lost)
            {
                let inside = zone.contains(&track.rect, size)
                    && includes(&zone.classes, self.labels.name(track.category_id));
                let monitor = &mut zone.monitor;
                changes.extend(monitor.observe(track.id, track.category_id, inside, record.pts_ms));
            }
            changes.extend(zone.monitor.update(record.pts_ms, |id| alive.contains(&id)));
            let ZoneCounts {
                now,
                entered,
                left,
                peak,
            } = zone.monitor.counts();
            let counted = [
                ("now", now),
                ("entered", entered),
                ("left", left),
                ("peak", peak),
            ];
            for change in changes {
                let (kind, phase, presence) = match change {
                    ZoneEvent::Entered(presence) => ("zone", "new", presence),
                    ZoneEvent::Stays(presence) => ("zone", "update", presence),
                    ZoneEvent::Loiters(presence) => ("loiter", "new", presence),
                    ZoneEvent::Left(presence) => ("zone", "end", presence),
                };
                let event = EventRecord {
                    zone: Some(zone.name.clone()),
                    track_id: Some(presence.track_id),
                    label: Some(self.labels.name(presence.category_id).to_owned()),
                    duration_ms: Some(rounded(presence.duration_ms(), 1000.0)),
                    counts: Some(counts_by_name(&counted)),
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

    fn count_lines(&mut self, record: &mut FrameRecord, tracks: &[TrackView], size: SizePx) {
        let alive: HashSet<u64> = tracks.iter().map(|track| track.id).collect();
        for line in &mut self.lines {
            let (width, height) = (f64::from(size.width), f64::from(size.height));
            if line.counter.as_ref().is_none_or(|(of, _)| *of != size) {
                let at = |[x, y]: [f64; 2]| [x * width, y * height];
                line.counter = Some((size, LineCounter::new(at(line.from), at(line.to))));
            }
            let Some((_, counter)) = &mut line.counter else {
                continue;
            };
            // Held tracks are predicted; only detected ones cross.
            for track in tracks
                .iter()
                .filter(|track| track.state == TrackState::Seen)
            {
                let label = self.labels.name(track.category_id);
                if !includes(&line.classes, label) {
                    continue;
                }
                let at = line.anchor.of(&track.rect);
                let margin = line.hysteresis * f64::from(track.rect.height);
                let Some(crossing) = counter.observe(track.id, at, record.pts_ms, margin) else {
                    continue;
                };
                let Crossing {
                    direction,
                    duration_ms,
                    ..
                } = crossing;
                let LineCounts { inward, outward } = counter.counts();
                let event = EventRecord {
                    track_id: Some(track.id),
                    label: Some(label.to_owned()),
                    direction: Some(match direction {
                        Direction::In => "in".to_owned(),
                        Direction::Out => "out".to_owned(),
                    }),
                    duration_ms: Some(rounded(duration_ms, 1000.0)),
                    counts: Some(counts_by_name(&[("in", inward), ("out", outward)])),
                    ..EventRecord::of(record, "line", "update", &line.name)
                };
                record.events.push(event);
            }
            counter.retain(|id| alive.contains(&id));
        }
    }
}

impl MonitoredZone {
    fn contains(&self, rect: &RectPx, size: SizePx) -> bool {
        self.polygon
            .contains(normalised(self.anchor.of(rect), size))
    }
}

/// Sets the track ids of the record's detections; returns all confirmed tracks.
fn update_tracks(tracker: &mut Tracker, record: &mut FrameRecord, size: SizePx) -> Vec<TrackView> {
    let regions = record.regions.as_ref();
    let looked: Option<Vec<RectPx>> = match (record.inferred, regions) {
        (Some(false), _) => Some(Vec::new()),
        (_, Some(regions)) => Some(regions.iter().map(|&r| r.into()).collect()),
        _ => None,
    };
    let camera = record.camera.map(|[a, b, x, y]| Similarity { a, b, x, y });
    let scene = FrameContext {
        t_ms: record.pts_ms,
        size: Some(size),
        is_cut: record.cut,
        camera: camera.as_ref(),
        inferred: looked.as_deref(),
        is_still: record.still,
    };
    let clear = record.detections.len();
    let all = record.detections.iter().chain(&record.faint).enumerate();
    let seen: Vec<Observation> = all
        .map(|(i, detection)| Observation {
            category_id: detection.category_id,
            score: detection.score,
            rect: detection.bbox.into(),
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

fn counts_by_name(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts
        .iter()
        .map(|(name, n)| ((*name).to_owned(), *n))
        .collect()
}

/// Whether `classes` has the label; an empty list has all.
fn includes(classes: &[String], label: &str) -> bool {
    classes.is_empty() || classes.iter().any(|class| class == label)
}

fn normalised([x, y]: [f64; 2], size: SizePx) -> [f64; 2] {
    [x / f64::from(size.width), y / f64::from(size.height)]
}
