//! Thumbnails: the part of a frame that shows an object best.

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use crate::records::RecordBox;
use crate::store::Thumbnail;

/// Longest side of a thumbnail in pixels.
const LONGEST_PX: f64 = 320.0;
/// What is shown around an object on each side, in shares of its longer side.
const MARGIN: f64 = 0.2;
/// Least side of what is shown, in pixels of the frame.
const LEAST_PX: f64 = 48.0;
/// JPEG quality.
const QUALITY: u8 = 80;
/// A later picture must be better by so much.
const BETTER: f64 = 1.05;
/// What an object that is cut by the frame's border counts.
const CUT: f64 = 0.5;
/// How close to the border a box is cut by it.
const BORDER_PX: f64 = 1.5;

/// How well a detection shows its object: by score and size, less where the border of the frame cuts it.
pub fn quality(score: f64, bbox: &RecordBox, frame_size: Option<[u32; 2]>) -> f64 {
    let quality = score * (bbox.width * bbox.height).max(0.0).sqrt();
    let is_cut = frame_size.is_some_and(|[width, height]| {
        let (right, bottom) = (f64::from(width) - BORDER_PX, f64::from(height) - BORDER_PX);
        bbox.x < BORDER_PX
            || bbox.y < BORDER_PX
            || bbox.x + bbox.width > right
            || bbox.y + bbox.height > bottom
    });
    if is_cut { quality * CUT } else { quality }
}

/// Whether a picture of quality `new` takes the place of one of quality `old`.
pub fn is_better(new: f64, old: f64) -> bool {
    new > old * BETTER
}

/// A part of a frame, made small.
#[derive(Clone, Debug)]
pub struct Cutting {
    pixels: RgbImage,
    bbox: RecordBox,
}

impl Cutting {
    /// What shows the object in `bbox`, with some of what is around it.
    pub fn of_object(frame: &RgbImage, bbox: &RecordBox) -> Option<Self> {
        let margin = MARGIN * bbox.width.max(bbox.height);
        let side = |from: f64, length: f64, all: u32| {
            let shown = (length + 2.0 * margin).max(LEAST_PX);
            let center = from + length / 2.0;
            let all = f64::from(all);
            let begin = (center - shown / 2.0).floor().clamp(0.0, all);
            let end = (center + shown / 2.0).ceil().clamp(0.0, all);
            (begin, end - begin)
        };
        let (x, width) = side(bbox.x, bbox.width, frame.width());
        let (y, height) = side(bbox.y, bbox.height, frame.height());
        if !(width >= 1.0 && height >= 1.0) {
            return None;
        }
        Some(Self::scaled(frame, [x, y, width, height], bbox))
    }

    /// The whole frame.
    pub fn of_frame(frame: &RgbImage) -> Option<Self> {
        let [width, height] = [frame.width(), frame.height()].map(f64::from);
        let all = [0.0, 0.0, width, height];
        (width >= 1.0 && height >= 1.0).then(|| Self::scaled(frame, all, &all.into()))
    }

    fn scaled(frame: &RgbImage, [x, y, width, height]: [f64; 4], bbox: &RecordBox) -> Self {
        let scale = (LONGEST_PX / width.max(height)).min(1.0);
        let cut = imageops::crop_imm(frame, x as u32, y as u32, width as u32, height as u32);
        let length = |length: f64| ((length * scale).round() as u32).max(1);
        let size = (length(width), length(height));
        let pixels = if scale < 1.0 {
            imageops::resize(&*cut, size.0, size.1, FilterType::Triangle)
        } else {
            cut.to_image()
        };
        let (left, top) = ((bbox.x - x).max(0.0), (bbox.y - y).max(0.0));
        let right = (bbox.x + bbox.width - x).clamp(left, width);
        let bottom = (bbox.y + bbox.height - y).clamp(top, height);
        let scaled = [left, top, right - left, bottom - top];
        Self {
            pixels,
            bbox: scaled.map(|v| (v * scale * 100.0).round() / 100.0).into(),
        }
    }

    /// As a JPEG file.
    pub fn encode(&self) -> Thumbnail {
        let (width, height) = self.pixels.dimensions();
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
            .write_image(&self.pixels, width, height, ExtendedColorType::Rgb8)
            .expect("memory takes a picture of at most 320 pixels");
        Thumbnail {
            width,
            height,
            bbox: self.bbox,
            jpeg,
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn an_object_is_cut_out_with_what_is_around_it() {
        let mut frame = RgbImage::from_pixel(640, 480, Rgb([20, 20, 20]));
        for (x, y) in (300..400).flat_map(|x| (200..300).map(move |y| (x, y))) {
            frame.put_pixel(x, y, Rgb([220, 40, 40]));
        }
        let bbox = [300.0, 200.0, 100.0, 100.0].into();
        let thumbnail = Cutting::of_object(&frame, &bbox).expect("inside").encode();
        assert_eq!((thumbnail.width, thumbnail.height), (140, 140));
        assert_eq!(thumbnail.bbox, [20.0, 20.0, 100.0, 100.0].into());
        let back = image::load_from_memory(&thumbnail.jpeg)
            .expect("a JPEG file")
            .into_rgb8();
        assert!(back.get_pixel(70, 70)[0] > 190 && back.get_pixel(5, 5)[0] < 50);
        // Larger ones are made smaller, and the border cuts.
        let bbox = [-20.0, 0.0, 700.0, 480.0].into();
        let thumbnail = Cutting::of_object(&frame, &bbox).expect("inside").encode();
        assert_eq!((thumbnail.width, thumbnail.height), (320, 240));
        assert_eq!(thumbnail.bbox, [0.0, 0.0, 320.0, 240.0].into());
        let whole = Cutting::of_frame(&frame).expect("a picture").encode();
        assert_eq!(
            (whole.width, whole.bbox),
            (320, [0.0, 0.0, 320.0, 240.0].into())
        );
    }

    #[test]
    fn any_box_gives_a_picture_or_none() {
        let frame = RgbImage::new(64, 48);
        for (bbox, is_inside) in [
            ([900.0, 10.0, 5.0, 5.0], false),
            ([-900.0, 10.0, 5.0, 5.0], false),
            ([10.0, f64::NAN, 5.0, 5.0], false),
            ([63.9, 47.9, 0.0, 0.0], true),
            ([-1e9, -1e9, 2e9, 2e9], true),
        ] {
            let cutting = Cutting::of_object(&frame, &bbox.into());
            assert_eq!(cutting.is_some(), is_inside, "{bbox:?}");
            if let Some(cutting) = cutting {
                let thumbnail = cutting.encode();
                assert!(thumbnail.width >= 1 && thumbnail.height >= 1);
            }
        }
        assert!(Cutting::of_frame(&RgbImage::new(0, 0)).is_none());
    }

    #[test]
    fn a_large_sure_whole_object_is_best() {
        let size = Some([640, 480]);
        let of = |score, bbox: [f64; 4]| quality(score, &bbox.into(), size);
        let middle = of(0.8, [100.0, 100.0, 50.0, 80.0]);
        assert!(is_better(of(0.9, [100.0, 100.0, 50.0, 80.0]), middle));
        assert!(is_better(of(0.8, [100.0, 100.0, 60.0, 90.0]), middle));
        assert!(!is_better(of(0.81, [100.0, 100.0, 50.0, 80.0]), middle));
        assert!(
            !is_better(of(0.9, [0.0, 100.0, 60.0, 90.0]), middle),
            "it is cut"
        );
        assert!(is_better(of(0.1, [0.0, 0.0, 1.0, 1.0]), 0.0));
    }
}
