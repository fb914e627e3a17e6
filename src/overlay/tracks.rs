//! Trails of tracks, counting lines, counters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use image::{Rgb, RgbImage};
use imageproc::drawing::draw_line_segment_mut;

use super::text::TextRenderer;
use crate::records::{FrameRecord, TrackRecord};
use mobilens_image::RectPx;

/// Points of a trail that are kept at most.
const MOST_POINTS: usize = 512;

/// What zones and lines have counted up to a frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Each zone's and line's name, and the text to show.
    pub texts: Vec<(String, String)>,
    /// The tracks that a zone counts as inside now, detected in this frame or not.
    pub inside: BTreeSet<u64>,
}

/// Where tracked objects were in the last frames, by track: updated once for each frame of a stream,
/// however many pictures are made of it.
#[derive(Clone, Debug)]
pub struct Trails {
    length_ms: f64,
    points: BTreeMap<u64, VecDeque<(f64, [f32; 2])>>,
}

impl Trails {
    /// Empty, for trails of `length_ms` of media time.
    pub fn new(length_ms: f64) -> Self {
        Self {
            length_ms,
            points: BTreeMap::new(),
        }
    }

    /// How long they are, in milliseconds of media time.
    pub fn length_ms(&self) -> f64 {
        self.length_ms
    }

    /// Adds a frame's tracks; removes points that are too old, and tracks that the record has not.
    pub fn update(&mut self, record: &FrameRecord) {
        let length_ms = self.length_ms;
        let tracks = record.tracks.as_deref().unwrap_or_default();
        self.points
            .retain(|id, _| tracks.iter().any(|track| track.track_id == *id));
        for track in tracks {
            let rect = RectPx::from(track.bbox);
            let points = self.points.entry(track.track_id).or_default();
            points.push_back((
                record.pts_ms,
                [rect.x + rect.width / 2.0, rect.y + rect.height],
            ));
            let is_old = |(t, _): &(f64, [f32; 2])| record.pts_ms - t > length_ms;
            while points.len() > MOST_POINTS || points.front().is_some_and(is_old) {
                points.pop_front();
            }
        }
    }

    /// Draws the trail of a track.
    pub fn draw_mut(&self, picture: &mut RgbImage, track_id: u64, colour: [u8; 3], line: u32) {
        let Some(points) = self.points.get(&track_id) else {
            return;
        };
        for ((_, [x0, y0]), (_, [x1, y1])) in points.iter().zip(points.iter().skip(1)) {
            for i in 0..line {
                let aside = i as f32 - line as f32 / 2.0;
                let from = (x0 + aside, y0 + aside);
                draw_line_segment_mut(picture, from, (x1 + aside, y1 + aside), Rgb(colour));
            }
        }
    }
}

/// Lines that objects cross, as arrows to the side that is `in`.
pub fn draw_line_mut(picture: &mut RgbImage, from: [f32; 2], to: [f32; 2], line: u32) {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let at = |[x, y]: [f32; 2]| [x * (width - 1.0), y * (height - 1.0)];
    let (from, to) = (at(from), at(to));
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let length = dx.hypot(dy).max(1.0);
    // To the right of its direction; rows grow downwards.
    let (nx, ny) = (-dy / length, dx / length);
    let middle = [(from[0] + to[0]) / 2.0, (from[1] + to[1]) / 2.0];
    let reach = height / 20.0;
    let tip = [middle[0] + nx * reach, middle[1] + ny * reach];
    let barb = |side: f32| {
        let (bx, by) = (-nx + side * dx / length, -ny + side * dy / length);
        [tip[0] + bx * reach * 0.4, tip[1] + by * reach * 0.4]
    };
    let strokes = [
        (from, to),
        (middle, tip),
        (tip, barb(1.0)),
        (tip, barb(-1.0)),
    ];
    for (a, b) in strokes {
        for i in 0..=line {
            let colour = if i == line { [0; 3] } else { [255, 255, 0] };
            let aside = i as f32 - line as f32 / 2.0;
            let shifted = |p: [f32; 2]| (p[0] + aside, p[1] + aside);
            draw_line_segment_mut(picture, shifted(a), shifted(b), Rgb(colour));
        }
    }
}

/// Draws the counters in the lower left corner.
pub fn draw_counters_mut(
    picture: &mut RgbImage,
    text: &mut TextRenderer,
    counters: &[(String, String)],
    letters: u32,
) {
    let mut y = picture.height() as i32 - 4;
    for (_, line) in counters.iter().rev() {
        let (_, height) = text.plate_size(line, letters);
        y -= height as i32 - 1;
        if y < 0 {
            break;
        }
        text.draw_plate_mut(picture, line, letters, (4, y), [255, 255, 255]);
    }
}

/// What stands behind a track's label: its number, and what second networks say of it.
pub fn note_of(track: &TrackRecord) -> String {
    let said = track.attributes.values().map(|said| said.label.as_str());
    let said: Vec<&str> = said.collect();
    if said.is_empty() {
        return track.track_id.to_string();
    }
    format!("{}: {}", track.track_id, said.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{AttributeRecord, TrackStateRecord};

    #[test]
    fn a_track_says_what_second_networks_say() {
        let said = |label: &str| AttributeRecord {
            label: label.to_owned(),
            ..AttributeRecord::default()
        };
        let mut track = TrackRecord {
            track_id: 7,
            category_id: 1,
            label: "car".to_owned(),
            state: TrackStateRecord::Seen,
            bbox: [0.0; 4].into(),
            attributes: [
                ("kind".to_owned(), said("van")),
                ("colour".to_owned(), said("red")),
            ]
            .into(),
            model: None,
            keypoints: Vec::new(),
        };
        assert_eq!(note_of(&track), "7: red, van");
        track.attributes.clear();
        assert_eq!(note_of(&track), "7");
    }
}
