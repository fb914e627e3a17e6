//! Rendering: draws the results on the frame, for the window and for folders of pictures.

use std::sync::Arc;

use image::RgbImage;

use crate::flow::{Latency, Receiver, Sender};
use crate::frame::FrameMeta;
use crate::overlay::{Counters, CurrentOverlay, Drawing, FramePictures, Overlay, Trails};
use crate::postprocess::Prediction;
use crate::records::FrameRecord;

/// A frame whose record is made, with all that can be drawn of it. One is shared by all who make
/// pictures of it.
#[derive(Debug)]
pub struct AnalyzedFrame {
    /// Identity and time.
    pub meta: FrameMeta,
    /// What the network found.
    pub prediction: Prediction,
    /// Its record.
    pub record: Arc<FrameRecord>,
    /// What zones and lines have counted, and which tracks they count now.
    pub counters: Counters,
    /// Where the tracked objects were, up to this frame.
    pub trails: Arc<Trails>,
    /// How it is drawn.
    pub drawing: Arc<Drawing>,
    /// The image, and the pictures that are made from it.
    pub pictures: FramePictures,
}

impl AnalyzedFrame {
    /// The picture as it is to be drawn.
    pub fn annotated(&self, overlay: &mut CurrentOverlay) -> Arc<RgbImage> {
        self.annotated_by(overlay.of(&self.drawing))
    }

    /// The picture with the results drawn by `overlay`, or by an overlay of the same style before.
    pub fn annotated_by(&self, overlay: &mut Overlay) -> Arc<RgbImage> {
        let style = overlay.style().clone();
        self.pictures.annotated(&style, |picture| {
            overlay.draw_mut(picture, &self.prediction);
            overlay.draw_tracks_mut(picture, &self.record, &self.counters, &self.trails);
        })
    }
}

/// A frame with its annotated picture.
#[derive(Clone)]
pub struct RenderedFrame {
    /// Identity and time.
    pub meta: FrameMeta,
    /// The picture at its original size.
    pub picture: Arc<RgbImage>,
}

/// Turns frames into annotated pictures, for the window or a folder of pictures.
pub struct Renderer {
    /// Edge to the viewer.
    pub viewer: Sender<RenderedFrame>,
    /// Time to convert and draw.
    pub latency: Latency,
}

impl Renderer {
    /// Works until no more frames come, or the viewer is gone.
    pub fn run(self, frames: &Receiver<Arc<AnalyzedFrame>>) {
        let mut overlay = CurrentOverlay::default();
        while let Some(frame) = frames.recv() {
            let rendered = RenderedFrame {
                meta: frame.meta.clone(),
                picture: self.latency.time(|| frame.annotated(&mut overlay)),
            };
            if self.viewer.send(rendered).is_err() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::*;
    use crate::flow::{Policy, edge};
    use crate::frame::MediaTime;
    use crate::overlay::OverlayStyle;
    use crate::records::{TrackRecord, TrackStateRecord};
    use mobilens_image::{Image, PixelFormat, SizePx, YuvColour};

    /// An object that went down, tracked over some frames.
    fn frame() -> AnalyzedFrame {
        let size = SizePx {
            width: 64,
            height: 64,
        };
        let data = vec![128; 64 * 64 * 3 / 2];
        let image = Image::new(size, PixelFormat::I420, YuvColour::DEFAULT, data);
        let mut trails = Trails::new(2000.0);
        let mut record = FrameRecord::default();
        for i in 0..10 {
            record.pts_ms = f64::from(i) * 40.0;
            record.tracks = Some(vec![TrackRecord {
                track_id: 1,
                category_id: 1,
                label: "person".to_owned(),
                model: None,
                state: TrackStateRecord::Seen,
                bbox: [20.0, f64::from(4 * i), 16.0, 16.0].into(),
                attributes: BTreeMap::new(),
                keypoints: Vec::new(),
            }]);
            trails.update(&record);
        }
        AnalyzedFrame {
            meta: FrameMeta {
                stream: "test".into(),
                frame: 9,
                pts: MediaTime::ZERO,
                captured_at: Instant::now(),
                name: None,
                telemetry: None,
            },
            prediction: Prediction::default(),
            record: Arc::new(record),
            counters: Counters::default(),
            trails: Arc::new(trails),
            drawing: Arc::default(),
            pictures: FramePictures::new(Arc::new(image.expect("planes"))),
        }
    }

    fn overlay(style: &OverlayStyle) -> Overlay {
        Overlay::new(style.clone(), Arc::default())
    }

    #[test]
    fn all_viewers_get_the_picture_that_was_drawn_first() {
        let style = OverlayStyle {
            tracks: true,
            ..OverlayStyle::default()
        };
        let frame = Arc::new(AnalyzedFrame {
            drawing: Arc::new(Drawing {
                style: style.clone(),
                ..Drawing::default()
            }),
            ..frame()
        });
        // As the recording and the web page do, each with an overlay of its own.
        let first = frame.annotated(&mut CurrentOverlay::default());
        for _ in 0..2 {
            let (tx, frames) = edge("overlay", 1, Policy::Block);
            let (viewer, pictures) = edge("viewer", 1, Policy::Block);
            tx.send(Arc::clone(&frame)).expect("open");
            drop(tx);
            let latency = Latency::new("overlay");
            Renderer { viewer, latency }.run(&frames);
            let rendered = pictures.recv().expect("a picture");
            assert!(Arc::ptr_eq(&rendered.picture, &first));
        }
        let clean = OverlayStyle {
            hide_boxes: true,
            hide_zones: true,
            ..style
        };
        let clean = frame.annotated_by(&mut overlay(&clean));
        assert_eq!(clean, frame.pictures.rgb());
        assert_ne!(clean, first);
    }

    #[test]
    fn frames_are_drawn_as_each_says() {
        let mut current = CurrentOverlay::default();
        let drawn = |hide_boxes: bool| AnalyzedFrame {
            drawing: Arc::new(Drawing {
                style: OverlayStyle {
                    tracks: true,
                    hide_boxes,
                    ..OverlayStyle::default()
                },
                ..Drawing::default()
            }),
            ..frame()
        };
        for hides in [true, false, true] {
            let frame = drawn(hides);
            let is_clean = frame.annotated(&mut current) == frame.pictures.rgb();
            assert_eq!(is_clean, hides);
        }
    }

    #[test]
    fn a_trail_does_not_depend_on_how_often_it_was_drawn() {
        let style = |line_px| OverlayStyle {
            tracks: true,
            line_px: Some(line_px),
            ..OverlayStyle::default()
        };
        let (once, often) = (frame(), frame());
        for line_px in 1..5 {
            let _ = often.annotated_by(&mut overlay(&style(line_px)));
        }
        let mut overlay = overlay(&style(5));
        let again = often.annotated_by(&mut overlay);
        assert_eq!(again, once.annotated_by(&mut overlay));
    }
}
