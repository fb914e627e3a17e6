//! Rendering: draws the results on the frame, for the window and for folders of pictures.

use std::sync::Arc;

use image::RgbImage;

use crate::flow::{Latency, Receiver, Sender};
use crate::frame::FrameMeta;
use crate::overlay::{Counters, FramePictures, Overlay, Trails};
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
    /// The image, and the pictures that are made from it.
    pub pictures: FramePictures,
}

impl AnalyzedFrame {
    /// The picture with the results drawn by `overlay`, or by an overlay of the same style before.
    pub fn annotated(&self, overlay: &mut Overlay) -> Arc<RgbImage> {
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

/// Turns frames into annotated pictures.
pub struct Renderer {
    /// How to draw.
    pub overlay: Overlay,
    /// Edges to the window and the image sinks. One that closes is passed over.
    pub viewers: Vec<Sender<RenderedFrame>>,
    /// Time to convert and draw.
    pub latency: Latency,
}

impl Renderer {
    /// Works until no more frames come, or all viewers are gone.
    pub fn run(mut self, frames: &Receiver<Arc<AnalyzedFrame>>) {
        while let Some(frame) = frames.recv() {
            let overlay = &mut self.overlay;
            let rendered = RenderedFrame {
                meta: frame.meta.clone(),
                picture: self.latency.time(|| frame.annotated(overlay)),
            };
            self.viewers
                .retain(|viewer| viewer.send(rendered.clone()).is_ok());
            if self.viewers.is_empty() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
                state: TrackStateRecord::Seen,
                bbox: [20.0, f64::from(4 * i), 16.0, 16.0].into(),
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
        let (tx, frames) = edge("overlay", 1, Policy::Block);
        let (viewers, pictures): (Vec<_>, Vec<_>) =
            (0..2).map(|_| edge("viewer", 1, Policy::Block)).unzip();
        let renderer = Renderer {
            overlay: overlay(&style),
            viewers,
            latency: Latency::new("overlay"),
        };
        let frame = Arc::new(frame());
        tx.send(Arc::clone(&frame)).expect("open");
        drop(tx);
        renderer.run(&frames);
        // As the recording and the web page do, each with an overlay of its own.
        let again = frame.annotated(&mut overlay(&style));
        for pictures in pictures {
            let rendered = pictures.recv().expect("a picture");
            assert!(Arc::ptr_eq(&rendered.picture, &again));
        }
        let clean = OverlayStyle {
            hide_boxes: true,
            hide_zones: true,
            ..style
        };
        let clean = frame.annotated(&mut overlay(&clean));
        assert_eq!(clean, frame.pictures.rgb());
        assert_ne!(clean, again);
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
            let _ = often.annotated(&mut overlay(&style(line_px)));
        }
        let mut overlay = overlay(&style(5));
        assert_eq!(often.annotated(&mut overlay), once.annotated(&mut overlay));
    }
}
