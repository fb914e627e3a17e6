//! Analysis: adds tracks and events to the record of a frame.
//!
//! Works on records alone, with their rounded numbers, so that an analysis of saved records gives the
//! same events as the live run.

mod reload;

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
    /// What is kept, and tracked, of the stream's further models; the fields above are of the first.
    pub others: Vec<OtherModel>,
    /// Keypoints of the last detection of each track that has any.
    pub keypoints: HashMap<u64, Vec<KeypointRecord>>,
    /// Track ids that were given before the settings were reloaded.
    pub ids_before: u64,
}

/// Detections of a model that runs after the first one of its stream. They are filtered and tracked by
/// themselves: a box of one model never continues the track of another's.
#[derive(Default)]
pub struct OtherModel {
    /// Its name in the records.
    pub name: String,
    /// Detections below are dropped, where their class has no threshold of its own.
    pub score_threshold: f64,
    /// Filters by label.
    pub classes: BTreeMap<String, ClassFilter>,
    /// Tracks its objects.
    pub tracker: Option<Tracker>,
    /// The model inside of whose detections it runs.
    pub inside: Option<String>,
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
        let is_clear = |d: &DetectionRecord| d.score >= self.threshold(d);
        (record.detections, record.faint) = all.into_iter().partition(is_clear);
        if let Some(mut tracker) = self.tracker.take() {
            tracker.skip_ids(self.ids_before);
            let mut tracks = self.update_tracks(&mut tracker, None, record, size);
            let mut last = tracker.last_id();
            for i in 0..self.others.len() {
                if let Some(mut of_other) = self.others[i].tracker.take() {
                    of_other.skip_ids(last);
                    let other = Some(&self.others[i]);
                    tracks.extend(self.update_tracks(&mut of_other, other, record, size));
                    last = of_other.last_id();
                    self.others[i].tracker = Some(of_other);
                }
            }
            tracker.skip_ids(last);
            tracks.sort_by_key(|track| track.id);
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

    /// The common threshold and the filters of the model that a detection is of.
    fn filters(&self, detection: &DetectionRecord) -> (f64, &BTreeMap<String, ClassFilter>) {
        let is_of = |other: &&OtherModel| detection.model.as_ref() == Some(&other.name);
        match self.others.iter().find(is_of) {
            Some(other) => (other.score_threshold, &other.classes),
            None => (self.score_threshold, &self.classes),
        }
    }

    fn threshold(&self, detection: &DetectionRecord) -> f64 {
        let (common, classes) = self.filters(detection);
        let class = classes
            .get(&detection.label)
            .and_then(|c| c.score_threshold);
        // Rounded as scores in records are.
        rounded(class.map_or(common, f64::from), 10_000.0)
    }

    fn is_wanted(&self, detection: &DetectionRecord, size: SizePx) -> bool {
        if let Some(class) = self.filters(detection).1.get(&detection.label) {
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
            model: self.labels.model(track.category_id).map(str::to_owned),
            state: match track.state {
                TrackState::Seen => TrackStateRecord::Seen,
                TrackState::Held => TrackStateRecord::Held,
                TrackState::Lost => TrackStateRecord::Lost,
            },
            bbox: RecordBox::from(&track.rect),
            attributes: BTreeMap::new(),
            keypoints: self.keypoints.get(&track.id).cloned().unwrap_or_default(),
        }
    }

    /// Sets the track ids of the record's detections of the first model, or of `other`; returns all its
    /// confirmed tracks.
    fn update_tracks(
        &self,
        tracker: &mut Tracker,
        other: Option<&OtherModel>,
        record: &mut FrameRecord,
        size: SizePx,
    ) -> Vec<TrackView> {
        let looked = match other {
            None => looked_at(record.inferred, record.regions.as_deref()),
            Some(other) => looked_at_by(other, &self.others, record),
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
        let is_of = |detection: &DetectionRecord| match other {
            Some(other) => detection.model.as_ref() == Some(&other.name),
            None => !self
                .others
                .iter()
                .any(|o| detection.model.as_ref() == Some(&o.name)),
        };
        let all = record.detections.iter_mut().chain(&mut record.faint);
        let all = all.enumerate().filter(|(_, detection)| is_of(detection));
        let (mut seen, mut of_model) = (Vec::new(), Vec::new());
        for (i, detection) in all {
            seen.push(Observation {
                category_id: detection.category_id,
                score: detection.score,
                rect: detection.bbox.into(),
                is_faint: i >= clear,
            });
            of_model.push(detection);
        }
        let ids = tracker.update(&scene, &seen);
        for (detection, id) in of_model.into_iter().zip(ids) {
            detection.track_id = id;
        }
        tracker.tracks().collect()
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
            let events = zone_events(&self.labels, zone, changes, record);
            record.events.extend(events);
        }
    }

    fn count_lines(&mut self, record: &mut FrameRecord, tracks: &[TrackView], size: SizePx) {
        let alive: HashSet<u64> = tracks.iter().map(|track| track.id).collect();
        for line in &mut self.lines {
            if line.counter.as_ref().is_none_or(|(of, _)| *of != size) {
                line.counter = Some((size, line.new_counter(size)));
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
                    model: self.labels.model(track.category_id).map(str::to_owned),
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

/// The events of changes of a zone's occupancy, at the frame of `record`.
fn zone_events(
    labels: &Labels,
    zone: &MonitoredZone,
    changes: Vec<ZoneEvent>,
    record: &FrameRecord,
) -> Vec<EventRecord> {
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
    let mut events = Vec::new();
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
            label: Some(labels.name(presence.category_id).to_owned()),
            model: labels.model(presence.category_id).map(str::to_owned),
            duration_ms: Some(rounded(presence.duration_ms(), 1000.0)),
            counts: Some(counts_by_name(&counted)),
            ..EventRecord::of(record, kind, phase, &zone.name)
        };
        let ends_loitering = kind == "zone" && phase == "end" && presence.loiters;
        if ends_loitering {
            events.push(EventRecord {
                kind: "loiter".to_owned(),
                ..event.clone()
            });
        }
        events.push(event);
    }
    events
}

impl MonitoredZone {
    fn contains(&self, rect: &RectPx, size: SizePx) -> bool {
        self.polygon
            .contains(normalised(self.anchor.of(rect), size))
    }
}

/// The regions that a model ran on; `None` if that was the whole frame.
fn looked_at(inferred: Option<bool>, regions: Option<&[RecordBox]>) -> Option<Vec<RectPx>> {
    match (inferred, regions) {
        (Some(false), _) => Some(Vec::new()),
        (_, Some(regions)) => Some(regions.iter().map(|&r| r.into()).collect()),
        _ => None,
    }
}

/// The same of one of the further models. Inside the detections of another it has looked wherever that one
/// has: where nothing was detected there is nothing inside.
fn looked_at_by(
    model: &OtherModel,
    all: &[OtherModel],
    record: &FrameRecord,
) -> Option<Vec<RectPx>> {
    let run = record.models.get(&model.name);
    if run.is_some_and(|run| run.inferred)
        && let Some(outer) = &model.inside
    {
        return match all.iter().find(|other| other.name == *outer) {
            Some(other) => looked_at_by(other, all, record),
            None => looked_at(record.inferred, record.regions.as_deref()),
        };
    }
    let regions = run.and_then(|run| run.regions.as_deref());
    looked_at(run.map(|run| run.inferred), regions)
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

#[cfg(test)]
mod tests;
