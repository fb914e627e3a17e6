//! Rows under way: from the records of frames and events to events that begin, last and end.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::picture::{Cutting, is_better, quality};
use crate::overlay::FramePictures;
use crate::records::{
    AttributeRecord, DetectionRecord, EventRecord, FrameRecord, TrackRecord, TrackStateRecord,
};
use crate::store::{StoredEvent, Thumbnail};

/// What tells an event from others: kind, name, object and first frame.
pub type EventKey = (String, String, Option<u64>, u64);

/// Kinds of event records that become rows.
const KINDS: [&str; 6] = [
    "zone",
    "loiter",
    "line",
    "area_above",
    "area_below",
    "source",
];

/// A row that is not written, or may still change.
#[derive(Debug, Default)]
pub struct EventRow {
    /// As it stands; the number is 0 before it is written.
    pub event: StoredEvent,
    /// What a clip of it is told by.
    pub key: EventKey,
    /// Whether it differs from what is written.
    pub is_dirty: bool,
    /// The row of its object's track.
    pub track: Option<u64>,
    /// A new picture of it.
    pub cutting: Option<Cutting>,
    /// The same, encoded.
    pub thumbnail: Option<Thumbnail>,
    /// Media time from which durations count.
    since_ms: f64,
    /// How well the best picture shows it.
    quality: f64,
}

/// The rows of one stream.
#[derive(Debug, Default)]
pub struct EventRows {
    /// In the order in which they began.
    pub rows: BTreeMap<u64, EventRow>,
    next: u64,
    /// The rows of tracks that are alive.
    tracks: HashMap<u64, u64>,
    /// The rows of events that last: by kind, name and object.
    lasting: HashMap<(String, String, Option<u64>), u64>,
    /// The clock at the beginning of the media time.
    pub base_ms: f64,
    frame_size: Option<[u32; 2]>,
    has_thumbnails: bool,
}

impl EventRows {
    /// None yet; `base_ms` is the clock at the beginning of the media time, `frame_size` that of all frames
    /// where they have the same.
    pub fn new(base_ms: f64, frame_size: Option<[u32; 2]>, has_thumbnails: bool) -> Self {
        Self {
            base_ms,
            frame_size,
            has_thumbnails,
            ..Self::default()
        }
    }

    /// Takes a frame with its tracks and events.
    pub fn take_frame(&mut self, record: &FrameRecord, pictures: Option<&FramePictures>) {
        if let Some(tracks) = &record.tracks {
            let all = record.detections.iter().chain(&record.faint);
            let detections: HashMap<u64, &DetectionRecord> =
                all.filter_map(|d| Some((d.track_id?, d))).collect();
            for track in tracks {
                let detection = detections.get(&track.track_id).copied();
                self.take_track(record, track, detection, pictures);
            }
            let alive: HashSet<u64> = tracks.iter().map(|track| track.track_id).collect();
            let ended: Vec<u64> = self
                .tracks
                .keys()
                .filter(|id| !alive.contains(id))
                .copied()
                .collect();
            for id in ended {
                self.end_track(id);
            }
        }
        for at in self.lasting.values() {
            let track = self.rows.get(at).and_then(|row| row.track);
            let score = track
                .and_then(|at| self.rows.get(&at))
                .and_then(|row| row.event.score);
            if let Some(row) = self.rows.get_mut(at)
                && row.event.kind != "source"
            {
                row.last_until(record.pts_ms);
                if score > row.event.score {
                    row.event.score = score;
                }
            }
        }
        for event in &record.events {
            self.take_event(event, Some((record, pictures)));
        }
    }

    fn end_track(&mut self, id: u64) {
        if let Some(row) = self
            .tracks
            .remove(&id)
            .and_then(|at| self.rows.get_mut(&at))
        {
            row.event.ended = true;
            row.is_dirty = true;
        }
    }

    fn take_track(
        &mut self,
        record: &FrameRecord,
        track: &TrackRecord,
        detection: Option<&DetectionRecord>,
        pictures: Option<&FramePictures>,
    ) {
        let at = match self.tracks.get(&track.track_id) {
            Some(at) => *at,
            None => {
                let row = EventRow {
                    event: StoredEvent {
                        track_id: Some(track.track_id),
                        model: track.model.clone(),
                        ..self.begun(&record.stream, "track", record.frame, record.pts_ms)
                    },
                    since_ms: record.pts_ms,
                    ..EventRow::default()
                };
                let at = self.add(row);
                self.tracks.insert(track.track_id, at);
                at
            }
        };
        let frame_size = record.size.or(self.frame_size);
        let Some(row) = self.rows.get_mut(&at) else {
            return;
        };
        row.event.label = Some(track.label.clone());
        if !track.attributes.is_empty() {
            row.event.attributes = labels_of(&track.attributes);
        }
        if track.state == TrackStateRecord::Seen {
            row.last_until(record.pts_ms);
        }
        row.is_dirty = true;
        let Some(detection) = detection else {
            return;
        };
        let score = row.event.score.unwrap_or(0.0);
        row.event.score = Some(score.max(detection.score));
        let quality = quality(detection.score, &detection.bbox, frame_size);
        if row.event.best_frame.is_none() || is_better(quality, row.quality) {
            row.quality = quality;
            row.show(record, detection);
            if let Some(pictures) = pictures.filter(|_| self.has_thumbnails) {
                row.cutting = Cutting::of_object(&pictures.rgb(), &detection.bbox);
            }
        }
    }

    /// Takes an event, with its frame if it has one.
    pub fn take_event(
        &mut self,
        event: &EventRecord,
        of: Option<(&FrameRecord, Option<&FramePictures>)>,
    ) {
        let kind = event.kind.as_str();
        if !KINDS.contains(&kind) {
            return;
        }
        // An outage begins as `lost` and ends as `back`.
        let name = if kind == "source" { "" } else { &*event.name };
        let lasting = (kind.to_owned(), name.to_owned(), event.track_id);
        match event.phase.as_str() {
            "new" => {
                let at = self.begin(event, of);
                if let Some(before) = self.lasting.insert(lasting, at) {
                    self.end(before);
                }
            }
            _ if kind == "line" => {
                let at = self.begin(event, of);
                self.end(at);
            }
            "update" => {
                let at = self.lasting.get(&lasting);
                if let Some(row) = at.and_then(|at| self.rows.get_mut(at)) {
                    row.take_update(event);
                }
            }
            "end" => {
                let Some(at) = self.lasting.remove(&lasting) else {
                    return;
                };
                if let Some(row) = self.rows.get_mut(&at) {
                    row.take_update(event);
                    let lasted_ms = event.duration_ms.map(|ms| row.since_ms + ms);
                    row.set_end(lasted_ms.unwrap_or(event.pts_ms));
                }
                self.end(at);
            }
            _ => {}
        }
    }

    /// Adds the row of an event that begins.
    fn begin(
        &mut self,
        event: &EventRecord,
        of: Option<(&FrameRecord, Option<&FramePictures>)>,
    ) -> u64 {
        let kind = event.kind.as_str();
        let is_area = kind.starts_with("area_");
        let is_place = ["zone", "loiter", "line"].contains(&kind);
        let track = event.track_id.and_then(|id| self.tracks.get(&id)).copied();
        // A crossing has lasted; nothing else is older than its beginning, but for a stay that becomes loitering.
        let before_ms = event.duration_ms.filter(|_| kind == "loiter");
        let mut row = EventRow {
            event: StoredEvent {
                rule: is_area.then(|| event.name.clone()),
                zone: event.zone.clone().or(is_place.then(|| event.name.clone())),
                direction: event.direction.clone(),
                label: event.label.clone(),
                attributes: labels_of(&event.attributes),
                model: event.model.clone(),
                score: event.share,
                track_id: event.track_id,
                ..self.begun(&event.stream, kind, event.frame, event.pts_ms)
            },
            key: (
                kind.to_owned(),
                event.name.clone(),
                event.track_id,
                event.frame,
            ),
            track,
            since_ms: event.pts_ms - before_ms.unwrap_or(0.0),
            ..EventRow::default()
        };
        let of_track = track
            .and_then(|at| self.rows.get(&at))
            .map(|row| &row.event);
        if let Some(of_track) = of_track {
            row.event.score = of_track.score;
            row.event.best_frame = of_track.best_frame;
            row.event.bbox = of_track.bbox;
            row.event.latitude = of_track.latitude;
            row.event.longitude = of_track.longitude;
        }
        if let Some((record, pictures)) = of {
            let of_object =
                |d: &&DetectionRecord| d.track_id.is_some() && d.track_id == event.track_id;
            if let Some(detection) = record
                .detections
                .iter()
                .chain(&record.faint)
                .find(of_object)
            {
                row.show(record, detection);
            } else if is_area {
                row.event.latitude = record.telemetry.and_then(|t| t.latitude);
                row.event.longitude = record.telemetry.and_then(|t| t.longitude);
                if let Some(pictures) = pictures.filter(|_| self.has_thumbnails) {
                    row.cutting = Cutting::of_frame(&pictures.rgb());
                }
            }
        }
        self.add(row)
    }

    /// An event that begins in a frame.
    fn begun(&self, stream: &str, kind: &str, frame: u64, pts_ms: f64) -> StoredEvent {
        let start_ms = (self.base_ms + pts_ms).round() as i64;
        StoredEvent {
            stream: stream.to_owned(),
            kind: kind.to_owned(),
            frame,
            pts_ms,
            start_ms,
            end_ms: start_ms,
            ..StoredEvent::default()
        }
    }

    fn add(&mut self, mut row: EventRow) -> u64 {
        row.is_dirty = true;
        let at = self.next;
        self.next += 1;
        self.rows.insert(at, row);
        at
    }

    fn end(&mut self, at: u64) {
        if let Some(row) = self.rows.get_mut(&at) {
            row.event.ended = true;
            row.is_dirty = true;
        }
    }

    /// The stream has ended, and with it what still lasts.
    pub fn end_all(&mut self) {
        self.tracks.clear();
        self.lasting.clear();
        for row in self.rows.values_mut().filter(|row| !row.event.ended) {
            row.event.ended = true;
            row.is_dirty = true;
        }
    }

    /// Drops the oldest rows that have ended, so that at most `most` are left; returns how many went.
    pub fn trim(&mut self, most: usize) -> u64 {
        let excess = self.rows.len().saturating_sub(most);
        let ended = self.rows.iter().filter(|(_, row)| row.event.ended);
        let gone: Vec<u64> = ended.map(|(at, _)| *at).take(excess).collect();
        for at in &gone {
            self.rows.remove(at);
        }
        gone.len() as u64
    }
}

impl EventRow {
    /// What changes while it lasts, without its end.
    fn take_update(&mut self, event: &EventRecord) {
        if !event.attributes.is_empty() {
            self.event.attributes = labels_of(&event.attributes);
        }
        if event.share > self.event.score {
            self.event.score = event.share;
        }
        self.is_dirty = true;
    }

    /// It still lasts at media time `pts_ms`.
    fn last_until(&mut self, pts_ms: f64) {
        self.event.end_ms = self.event.end_ms.max(self.clock_ms(pts_ms));
        self.is_dirty = true;
    }

    /// It ended at media time `pts_ms`.
    fn set_end(&mut self, pts_ms: f64) {
        self.event.end_ms = self.clock_ms(pts_ms).max(self.event.start_ms);
    }

    /// By the clock on which it began: that may be set while it lasts.
    fn clock_ms(&self, pts_ms: f64) -> i64 {
        self.event.start_ms + (pts_ms - self.event.pts_ms).round() as i64
    }

    /// This frame shows it.
    fn show(&mut self, record: &FrameRecord, detection: &DetectionRecord) {
        self.event.best_frame = Some(record.frame);
        self.event.bbox = Some(detection.bbox);
        let telemetry = record.telemetry;
        let own = detection.position.map(|at| (at.latitude, at.longitude));
        let of_drone = telemetry.and_then(|t| t.latitude.zip(t.longitude));
        let position = own.or(of_drone);
        self.event.latitude = position.map(|(latitude, _)| latitude);
        self.event.longitude = position.map(|(_, longitude)| longitude);
    }
}

fn labels_of(attributes: &BTreeMap<String, AttributeRecord>) -> BTreeMap<String, String> {
    let labels = attributes.iter();
    labels
        .map(|(name, attribute)| (name.clone(), attribute.label.clone()))
        .collect()
}
