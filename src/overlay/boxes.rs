//! Overlay renderer; boxes and labels.

use std::collections::HashMap;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use imageproc::drawing::{draw_filled_rect_mut, draw_hollow_rect_mut, draw_line_segment_mut};
use imageproc::rect::Rect;

use super::instances::{draw_instance_mut, draw_keypoints_mut};
use super::legend::draw_legend_mut;
use super::mask::{ClassColours, draw_classes_mut, draw_safe_ground_mut, voc_colour};
use super::palette::colour_of;
use super::text::TextRenderer;
use super::tracks::{Counters, Trails, draw_counters_mut, draw_line_mut};
use crate::postprocess::{Classification, InstanceMask, Labels, Prediction, Segmentation};
use crate::records::{FrameRecord, TrackStateRecord};
use mobilens_image::{Polygon, RectPx};

/// The label of what is no class of its own, and is left as it is.
const BACKGROUND: &str = "background";

/// How results are drawn. By default without trails, and with outlines alone of segmented areas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OverlayStyle {
    /// Width of the lines; from the picture's size if `None`.
    pub line_px: Option<u32>,
    /// Height of the letters; from the picture's size if `None`.
    pub text_px: Option<u32>,
    /// Leave the label out.
    pub hide_labels: bool,
    /// Leave the score out.
    pub hide_scores: bool,
    /// Colours by category id, before the palette's.
    pub colours: HashMap<u32, [u8; 3]>,
    /// How much of a segmented class's colour covers the picture, 0 to 1.
    pub alpha: f32,
    /// Draw no lines around segmented areas.
    pub hide_edges: bool,
    /// Leave the legend of segmented areas out.
    pub hide_legend: bool,
    /// Zones to outline.
    pub zones: Vec<Polygon>,
    /// Lines to draw, from where to where.
    pub lines: Vec<([f32; 2], [f32; 2])>,
    /// Length of a trail in milliseconds; 0: no trail.
    pub trail_ms: f64,
    /// Leave boxes, keypoints, trails, masks of objects and the classes of the whole picture out.
    pub hide_boxes: bool,
    /// Leave zones, lines and counts out.
    pub hide_zones: bool,
    /// Leave segmented areas out.
    pub hide_masks: bool,
    /// Objects are tracked: their boxes are drawn, not the detections'.
    pub tracks: bool,
}

/// Draws detections, segmented areas and the classes of the whole picture.
pub struct Overlay {
    style: OverlayStyle,
    labels: Arc<Labels>,
    text: TextRenderer,
    class_colours: Box<ClassColours>,
}

impl Overlay {
    /// Draws in `style`, with the names of `labels`.
    pub fn new(style: OverlayStyle, labels: Arc<Labels>) -> Self {
        let mut class_colours = Box::new([None; 256]);
        for (id, name) in labels.iter() {
            if let Some(class) = u8::try_from(id).ok().filter(|_| name != BACKGROUND) {
                let colour = style.colours.get(&id).copied();
                class_colours[usize::from(class)] = Some(colour.unwrap_or(voc_colour(class)));
            }
        }
        Self {
            style,
            labels,
            text: TextRenderer::default(),
            class_colours,
        }
    }

    /// How it draws.
    pub fn style(&self) -> &OverlayStyle {
        &self.style
    }

    /// The colours of segmented classes, by label id; `None` for what is not drawn.
    pub fn class_colours(&self) -> &ClassColours {
        &self.class_colours
    }

    /// Draws `prediction` on the picture it was made from. Nothing is drawn outside the picture;
    /// labels are moved so that they can be read in it. The best detection is drawn last, on top.
    pub fn draw_mut(&mut self, picture: &mut RgbImage, prediction: &Prediction) {
        let (line, letters) = self.widths(picture);
        let segmentation = prediction.segmentation.as_ref();
        if let Some(segmentation) = segmentation.filter(|_| !self.style.hide_masks) {
            self.draw_segmentation_mut(picture, segmentation, line, letters);
        }
        if !self.style.hide_zones {
            for zone in &self.style.zones {
                draw_zone_mut(picture, zone);
            }
        }
        if self.style.tracks || self.style.hide_boxes {
            return;
        }
        if let Some(classes) = &prediction.classification {
            self.draw_classes_of_picture_mut(picture, classes, letters);
        }
        for detection in prediction.detections.iter().rev() {
            let colour = self.colour(detection.category_id);
            let mask = detection.mask.as_ref().filter(|_| !self.style.hide_masks);
            if let Some(mask) = mask {
                self.draw_mask_mut(picture, mask, colour);
            }
            draw_box_mut(picture, &detection.rect, line, colour);
            let points = detection.keypoints.iter();
            let points: Vec<_> = points
                .map(|point| [point.x, point.y, point.score].map(f64::from))
                .collect();
            draw_keypoints_mut(picture, &points, line, colour);
            let percent = (detection.score * 100.0).round();
            let score = (!self.style.hide_scores).then(|| format!("{percent} %"));
            self.draw_label(
                picture,
                detection.category_id,
                score,
                &detection.rect,
                letters,
                colour,
            );
        }
    }

    /// Draws the objects that are followed, with their trails up to this frame; the lines that they
    /// cross; and what was counted. While a zone counts an object that was not detected in this frame,
    /// its box is dashed and kept in sight, so that each object that is counted is shown. Others are
    /// thin where nobody looked, and left out where they were not found.
    pub fn draw_tracks_mut(
        &mut self,
        picture: &mut RgbImage,
        record: &FrameRecord,
        counters: &Counters,
        trails: &Trails,
    ) {
        let (line, letters) = self.widths(picture);
        if !self.style.hide_zones {
            for (from, to) in &self.style.lines {
                draw_line_mut(picture, *from, *to, line);
            }
            draw_counters_mut(picture, &mut self.text, &counters.texts, letters);
        }
        if self.style.hide_boxes {
            return;
        }
        for detection in &record.detections {
            let mask = detection.segmentation.as_ref();
            let mask = mask.filter(|_| !self.style.hide_masks && detection.track_id.is_some());
            if let Some(mask) = mask.and_then(|rle| rle.to_mask().ok()) {
                self.draw_mask_mut(picture, &mask, self.colour(detection.category_id));
            }
        }
        for track in record.tracks.iter().flatten() {
            let is_counted = counters.inside.contains(&track.track_id);
            let draw: fn(&mut RgbImage, &RectPx, u32, [u8; 3]) = match track.state {
                TrackStateRecord::Seen => draw_box_mut,
                TrackStateRecord::Held | TrackStateRecord::Lost if is_counted => {
                    draw_dashed_box_mut
                }
                TrackStateRecord::Held => |picture, rect, _, colour| {
                    draw_box_mut(picture, rect, 1, colour);
                },
                TrackStateRecord::Lost => continue,
            };
            let colour = self.colour(track.category_id);
            let mut rect = RectPx::from(track.bbox);
            if is_counted {
                rect = in_sight(&rect, picture);
            }
            trails.draw_mut(picture, track.track_id, colour, line);
            draw(picture, &rect, line, colour);
            if track.state == TrackStateRecord::Seen {
                draw_keypoints_mut(picture, &track.keypoints, line, colour);
            }
            let number = (!self.style.hide_labels).then(|| track.track_id.to_string());
            self.draw_label(picture, track.category_id, number, &rect, letters, colour);
        }
    }

    fn draw_mask_mut(&self, picture: &mut RgbImage, mask: &InstanceMask, colour: [u8; 3]) {
        let edges = !self.style.hide_edges;
        draw_instance_mut(picture, mask, colour, self.style.alpha, edges);
    }

    /// Width of lines and height of letters.
    fn widths(&self, picture: &RgbImage) -> (u32, u32) {
        let rows = picture.height();
        let line = self.style.line_px.unwrap_or((rows / 240).max(2));
        (line, self.style.text_px.unwrap_or(rows / 40).max(12))
    }

    fn colour(&self, category_id: u32) -> [u8; 3] {
        let given = self.style.colours.get(&category_id);
        given.copied().unwrap_or_else(|| colour_of(category_id))
    }

    fn draw_segmentation_mut(
        &mut self,
        picture: &mut RgbImage,
        segmentation: &Segmentation,
        line: u32,
        letters: u32,
    ) {
        let mask = &*segmentation.mask;
        let alpha = self.style.alpha;
        let edges = !self.style.hide_edges;
        draw_classes_mut(picture, mask, &self.class_colours, alpha, edges);
        if let Some(ground) = &segmentation.safe_ground {
            draw_safe_ground_mut(picture, ground, line + 1);
        }
        if self.style.hide_legend {
            return;
        }
        let mut shares = mask.shares();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        let lines = shares.into_iter().filter_map(|(class, share)| {
            let colour = self.class_colours[usize::from(class)]?;
            let label = self.labels.name(class.into());
            Some((format!("{label} {:.1} %", share * 100.0), colour))
        });
        draw_legend_mut(picture, &mut self.text, lines, letters);
    }

    /// The classes of the whole picture, best first, in the upper left corner.
    fn draw_classes_of_picture_mut(
        &mut self,
        picture: &mut RgbImage,
        classes: &[Classification],
        letters: u32,
    ) {
        let style = &self.style;
        if style.hide_labels && style.hide_scores {
            return;
        }
        let lines = classes.iter().map(|class| {
            let mut parts = Vec::new();
            if !style.hide_labels {
                parts.push(self.labels.name(class.category_id).to_owned());
            }
            if !style.hide_scores {
                parts.push(format!("{:.1} %", class.score * 100.0));
            }
            (parts.join(" "), self.colour(class.category_id))
        });
        let lines: Vec<_> = lines.collect();
        draw_legend_mut(picture, &mut self.text, lines.into_iter(), letters);
    }

    fn draw_label(
        &mut self,
        picture: &mut RgbImage,
        category_id: u32,
        note: Option<String>,
        rect: &RectPx,
        letters: u32,
        colour: [u8; 3],
    ) {
        let label = self.labels.name(category_id);
        let text = match (self.style.hide_labels, note) {
            (true, None) => return,
            (true, Some(note)) => note,
            (false, None) => label.to_owned(),
            (false, Some(note)) => format!("{label} {note}"),
        };
        let (width, height) = self.text.plate_size(&text, letters);
        // The plate's outline goes on from the box's.
        let (left, top) = (rect.x.round() as i32 - 1, rect.y.round() as i32 - 1);
        let room_x = (picture.width() as i32 - width as i32).max(0);
        let room_y = (picture.height() as i32 - height as i32).max(0);
        // Above the box, sharing its outline, or inside it where there is no room above.
        let above = top - height as i32 + 1;
        let y = if above >= 0 { above } else { top };
        let at = (left.clamp(0, room_x), y.clamp(0, room_y));
        self.text
            .draw_plate_mut(picture, &text, letters, at, colour);
    }
}

/// A thin line around a zone, light over dark.
fn draw_zone_mut(picture: &mut RgbImage, zone: &Polygon) {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    // The last column and row still belong to the picture.
    let at = |corner: [f32; 2]| (corner[0] * (width - 1.0), corner[1] * (height - 1.0));
    let corners = zone.corners();
    for (i, corner) in corners.iter().enumerate() {
        let (from, to) = (at(*corner), at(corners[(i + 1) % corners.len()]));
        for (shift, colour) in [(1.0, [0; 3]), (0.0, [255; 3])] {
            let shifted = |(x, y): (f32, f32)| (x + shift, y + shift);
            draw_line_segment_mut(picture, shifted(from), shifted(to), Rgb(colour));
        }
    }
}

/// Draws a coloured line of `line` pixels with a dark one on both sides, so that it shows on any
/// background. What lies outside the picture is cut off.
pub fn draw_box_mut(picture: &mut RgbImage, rect: &RectPx, line: u32, colour: [u8; 3]) {
    let (x0, y0) = (rect.x.round() as i32, rect.y.round() as i32);
    let (x1, y1) = (
        (rect.x + rect.width).round() as i32,
        (rect.y + rect.height).round() as i32,
    );
    for ring in -1..=line as i32 {
        let (width, height) = (x1 - x0 - 2 * ring, y1 - y0 - 2 * ring);
        if width < 1 || height < 1 {
            break;
        }
        let is_edge = ring == -1 || ring == line as i32;
        let colour = if is_edge { [0, 0, 0] } else { colour };
        let at = Rect::at(x0 + ring, y0 + ring).of_size(width as u32, height as u32);
        draw_hollow_rect_mut(picture, at, Rgb(colour));
    }
}

/// `rect`, moved so that its centre is in the picture: a box that is predicted for a while may be
/// anywhere.
fn in_sight(rect: &RectPx, picture: &RgbImage) -> RectPx {
    let within = |begin: f32, length: f32, end: u32| {
        let middle = begin + length / 2.0;
        begin + middle.clamp(0.0, end as f32) - middle
    };
    RectPx {
        x: within(rect.x, rect.width, picture.width()),
        y: within(rect.y, rect.height, picture.height()),
        ..*rect
    }
}

/// Like [`draw_box_mut`], in dashes from corner to corner.
fn draw_dashed_box_mut(picture: &mut RgbImage, rect: &RectPx, line: u32, colour: [u8; 3]) {
    let (x0, y0) = (rect.x.round() - 1.0, rect.y.round() - 1.0);
    // As wide as the box that is not dashed, with its dark lines on both sides.
    let thick = line as f32 + 2.0;
    let (x1, y1) = (
        (rect.x + rect.width).round() + 1.0,
        (rect.y + rect.height).round() + 1.0,
    );
    let (x1, y1) = (x1.max(x0 + thick), y1.max(y0 + thick));
    let (columns, rows) = (picture.width() as f32, picture.height() as f32);
    let dash = (4 * line).max(8) as f32;
    for (from, to) in dashes(x0, x1, columns, dash) {
        for y in [y0, y1 - thick] {
            draw_dash_mut(picture, [from, y, to, y + thick], colour);
        }
    }
    for (from, to) in dashes(y0, y1, rows, dash) {
        for x in [x0, x1 - thick] {
            draw_dash_mut(picture, [x, from, x + thick, to], colour);
        }
    }
}

/// The dashes of a line from `from` to `to`, about `dash` long: one at each end. Only those between 0
/// and `end`.
fn dashes(from: f32, to: f32, end: f32, dash: f32) -> impl Iterator<Item = (f32, f32)> {
    let pairs = ((to - from) / dash / 2.0).floor().max(0.0);
    let step = (to - from) / (2.0 * pairs + 1.0);
    let first = ((-from / step / 2.0).floor() - 1.0).clamp(0.0, pairs);
    let last = ((end - from) / step / 2.0).ceil().clamp(0.0, pairs);
    (first as u64..=last as u64).map(move |i| {
        let begin = from + 2.0 * i as f32 * step;
        (begin, begin + step)
    })
}

/// A filled rectangle from `[x, y]` to `[x, y]` with a dark outline.
fn draw_dash_mut(picture: &mut RgbImage, [x0, y0, x1, y1]: [f32; 4], colour: [u8; 3]) {
    // To just outside the picture: the coordinates of an object out of sight may be anything.
    let within = |value: f32, end: u32| value.round().clamp(-8.0, end as f32 + 8.0) as i32;
    let (width, height) = picture.dimensions();
    let (x0, x1) = (within(x0, width), within(x1, width));
    let (y0, y1) = (within(y0, height), within(y1, height));
    for (inset, colour) in [(0, [0; 3]), (1, colour)] {
        let (columns, rows) = (x1 - x0 - 2 * inset, y1 - y0 - 2 * inset);
        if columns > 0 && rows > 0 {
            let dash = Rect::at(x0 + inset, y0 + inset).of_size(columns as u32, rows as u32);
            draw_filled_rect_mut(picture, dash, Rgb(colour));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postprocess::Detection;

    fn detection(category_id: u32, score: f32, [x, y, width, height]: [f32; 4]) -> Detection {
        let rect = RectPx {
            x,
            y,
            width,
            height,
        };
        Detection {
            category_id,
            score,
            rect,
            ..Detection::default()
        }
    }

    fn overlay() -> Overlay {
        let labels = [(1, "person"), (3, "car")].map(|(id, name)| (id, name.to_owned()));
        Overlay::new(
            OverlayStyle::default(),
            Arc::new(Labels::new(labels.to_vec())),
        )
    }

    #[test]
    fn nothing_is_drawn_outside_and_nothing_panics() {
        for (width, height) in [(1, 1), (3, 200), (200, 3), (40, 40)] {
            let mut picture = RgbImage::new(width, height);
            let (w, h) = (width as f32, height as f32);
            let prediction = Prediction {
                detections: vec![
                    detection(1, 0.5, [0.0, 0.0, w, h]),
                    detection(77, 0.999, [w - 0.5, h - 0.5, 0.5, 0.5]),
                    detection(3, 0.1, [0.0, h / 2.0, 0.1, 0.1]),
                ],
                ..Prediction::default()
            };
            overlay().draw_mut(&mut picture, &prediction);
        }
    }

    #[test]
    fn classes_of_the_picture_are_in_its_corner_and_nowhere_else() {
        let classes = [(1, 0.9), (3, 0.05), (77, 0.01)];
        let classes = classes.map(|(category_id, score)| Classification { category_id, score });
        let prediction = Prediction {
            classification: Some(classes.to_vec()),
            ..Prediction::default()
        };
        let drawn = |hides: bool, size: (u32, u32)| {
            let style = OverlayStyle {
                hide_labels: hides,
                hide_scores: hides,
                ..OverlayStyle::default()
            };
            let labels = vec![(1, "person".to_owned()), (3, "car".to_owned())];
            let mut picture = RgbImage::from_pixel(size.0, size.1, Rgb([9; 3]));
            let mut overlay = Overlay::new(style, Arc::new(Labels::new(labels)));
            overlay.draw_mut(&mut picture, &prediction);
            picture
        };
        let picture = drawn(false, (300, 200));
        let changed = picture.enumerate_pixels().filter(|p| *p.2 != Rgb([9; 3]));
        let (right, bottom) = changed.fold((0, 0), |(x, y), at| (x.max(at.0), y.max(at.1)));
        assert!(
            (40..200).contains(&right) && (40..80).contains(&bottom),
            "{right} {bottom}"
        );
        for (i, id) in [1, 3, 77].into_iter().enumerate() {
            let row = 4 + i as u32 * (bottom - 3) / 3 + 2;
            assert_eq!(picture.get_pixel(6, row), &Rgb(colour_of(id)), "{id}");
        }
        assert!(drawn(true, (300, 200)).pixels().all(|p| *p == Rgb([9; 3])));
        for size in [(1, 1), (3, 200), (200, 3), (40, 40)] {
            let _ = drawn(false, size);
        }
    }

    #[test]
    fn dashes_begin_and_end_a_line_and_stay_in_the_picture() {
        let all: Vec<_> = dashes(10.0, 100.0, 200.0, 10.0).collect();
        assert_eq!(all.len(), 5);
        assert_eq!((all[0], all[4]), ((10.0, 20.0), (90.0, 100.0)));
        assert_eq!(
            dashes(0.0, 3.0, 200.0, 10.0).collect::<Vec<_>>(),
            [(0.0, 3.0)]
        );
        // However far an object is out of sight.
        assert!(dashes(-1e9, 1e9, 200.0, 10.0).count() < 100);
        for rect in [
            [-1e9, -1e9, 2e9, 2e9],
            [500.0, 0.0, 9.0, 9.0],
            [3.0, 3.0, 0.0, 0.0],
        ] {
            let mut picture = RgbImage::new(40, 40);
            let rect = detection(1, 1.0, rect).rect;
            draw_dashed_box_mut(&mut picture, &rect, 2, [255; 3]);
        }
    }
}
