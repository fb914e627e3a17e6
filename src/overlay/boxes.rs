//! Overlay renderer; boxes and labels.

use std::collections::HashMap;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use imageproc::drawing::{draw_hollow_rect_mut, draw_line_segment_mut};
use imageproc::rect::Rect;

use super::mask::{ClassColours, draw_classes_mut, draw_safe_ground_mut, voc_colour};
use super::palette::colour_of;
use super::text::TextRenderer;
use super::tracks::{Trails, draw_counters_mut, draw_line_mut};
use crate::postprocess::{Labels, Prediction, Segmentation};
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
    /// Leave boxes and trails out.
    pub hide_boxes: bool,
    /// Leave zones, lines and counts out.
    pub hide_zones: bool,
    /// Leave segmented areas out.
    pub hide_masks: bool,
    /// Objects are tracked: their boxes are drawn, not the detections'.
    pub tracks: bool,
}

/// Draws detections and segmented areas.
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
        for detection in prediction.detections.iter().rev() {
            let colour = self.colour(detection.category_id);
            draw_box_mut(picture, &detection.rect, line, colour);
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

    /// Draws the objects that are followed, thinner where nobody looked, with their trails up to this
    /// frame; the lines that they cross; and what was counted.
    pub fn draw_tracks_mut(
        &mut self,
        picture: &mut RgbImage,
        record: &FrameRecord,
        counters: &[(String, String)],
        trails: &Trails,
    ) {
        let (line, letters) = self.widths(picture);
        if !self.style.hide_zones {
            for (from, to) in &self.style.lines {
                draw_line_mut(picture, *from, *to, line);
            }
            draw_counters_mut(picture, &mut self.text, counters, letters);
        }
        if self.style.hide_boxes {
            return;
        }
        for track in record.tracks.iter().flatten() {
            let thickness = match track.state {
                TrackStateRecord::Seen => line,
                TrackStateRecord::Held => 1,
                TrackStateRecord::Lost => continue,
            };
            let colour = self.colour(track.category_id);
            let rect = RectPx::from(track.bbox);
            trails.draw_mut(picture, track.track_id, colour, line);
            draw_box_mut(picture, &rect, thickness, colour);
            let number = (!self.style.hide_labels).then(|| track.track_id.to_string());
            self.draw_label(picture, track.category_id, number, &rect, letters, colour);
        }
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
        let mut y = 4;
        for (class, share) in shares {
            let Some(colour) = self.class_colours[usize::from(class)] else {
                continue;
            };
            let text = format!("{} {:.1} %", self.labels.name(class.into()), share * 100.0);
            let (_, height) = self.text.plate_size(&text, letters);
            if y + height as i32 > picture.height() as i32 {
                break;
            }
            self.text
                .draw_plate_mut(picture, &text, letters, (4, y), colour);
            y += height as i32 - 1;
        }
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
}
