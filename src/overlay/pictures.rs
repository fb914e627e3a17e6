//! The pictures of one frame, shared by all who show or store it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use image::RgbImage;
use mobilens_image::{Image, rgb_from_image};

use super::OverlayStyle;

/// A picture that is made by whoever needs it first; others wait for it.
type Lazy = OnceLock<Arc<RgbImage>>;

/// A captured image with its RGB conversion and the annotated pictures that are made from it. Each is
/// made when it is first asked for, by the thread that asks, and once: nothing is converted or drawn
/// for a frame that nobody looks at.
#[derive(Debug)]
pub struct FramePictures {
    image: Arc<Image>,
    rgb: Lazy,
    annotated: Mutex<Vec<(OverlayStyle, Arc<Lazy>)>>,
}

impl FramePictures {
    /// Of `image`; nothing is made yet.
    pub fn new(image: Arc<Image>) -> Self {
        Self {
            image,
            rgb: OnceLock::new(),
            annotated: Mutex::default(),
        }
    }

    /// The image as it was captured.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The image in RGB, at its original size.
    pub fn rgb(&self) -> Arc<RgbImage> {
        let converted = self.rgb.get_or_init(|| {
            let size = self.image.size();
            let mut picture = RgbImage::new(size.width, size.height);
            rgb_from_image(&self.image, &mut picture);
            Arc::new(picture)
        });
        Arc::clone(converted)
    }

    /// The picture in `style`: `draw` draws it on a copy of the RGB picture, unless somebody did
    /// before. `draw` must depend on the frame and the style alone.
    pub fn annotated(
        &self,
        style: &OverlayStyle,
        draw: impl FnOnce(&mut RgbImage),
    ) -> Arc<RgbImage> {
        let picture = self.of_style(style);
        let drawn = picture.get_or_init(|| {
            let mut picture = RgbImage::clone(&self.rgb());
            draw(&mut picture);
            Arc::new(picture)
        });
        Arc::clone(drawn)
    }

    /// The lock is held for the look-up only, not while somebody draws.
    fn of_style(&self, style: &OverlayStyle) -> Arc<Lazy> {
        let mut all = self
            .annotated
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, picture)) = all.iter().find(|(known, _)| known == style) {
            return Arc::clone(picture);
        }
        let picture = Arc::<Lazy>::default();
        all.push((style.clone(), Arc::clone(&picture)));
        picture
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use image::Rgb;
    use mobilens_image::{PixelFormat, SizePx, YuvColour};

    use super::*;

    fn pictures() -> FramePictures {
        let size = SizePx {
            width: 4,
            height: 2,
        };
        let data = (0..24).collect();
        let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, data);
        FramePictures::new(Arc::new(image.expect("24 bytes")))
    }

    #[test]
    fn viewers_at_the_same_time_share_one_conversion_and_one_drawing_per_style() {
        let pictures = pictures();
        let styles = [
            OverlayStyle::default(),
            OverlayStyle {
                hide_boxes: true,
                ..OverlayStyle::default()
            },
        ];
        let drawings = AtomicU32::new(0);
        let barrier = Barrier::new(8);
        let seen: Vec<_> = std::thread::scope(|scope| {
            let viewers: Vec<_> = (0..8)
                .map(|i| {
                    let (pictures, drawings, barrier) = (&pictures, &drawings, &barrier);
                    let style = &styles[i % 2];
                    scope.spawn(move || {
                        barrier.wait();
                        let annotated = pictures.annotated(style, |picture| {
                            drawings.fetch_add(1, Ordering::SeqCst);
                            picture.put_pixel(0, 0, Rgb([200 + (i % 2) as u8; 3]));
                        });
                        (annotated, pictures.rgb())
                    })
                })
                .collect();
            let viewers = viewers.into_iter();
            viewers.map(|v| v.join().expect("no panic")).collect()
        });
        assert_eq!(drawings.load(Ordering::SeqCst), 2);
        for (i, (annotated, rgb)) in seen.iter().enumerate() {
            assert!(Arc::ptr_eq(annotated, &seen[i % 2].0));
            assert!(Arc::ptr_eq(rgb, &seen[0].1));
            assert_eq!(annotated.get_pixel(0, 0), &Rgb([200 + (i % 2) as u8; 3]));
            assert_eq!(annotated.get_pixel(1, 0), rgb.get_pixel(1, 0));
        }
        assert_eq!(seen[0].1.get_pixel(0, 0), &Rgb([0, 1, 2]));
    }

    #[test]
    fn nothing_is_made_before_it_is_asked_for() {
        let pictures = pictures();
        assert!(pictures.rgb.get().is_none());
        let _ = pictures.rgb();
        assert!(pictures.rgb.get().is_some());
        let annotated = pictures.annotated.lock().expect("not poisoned");
        assert!(annotated.is_empty());
    }
}
