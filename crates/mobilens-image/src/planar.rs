//! I420 pictures with even sides, as video encoders need them.

use image::RgbImage;

use crate::{Image, PixelFormat, SizePx, YuvColour, rgb_from_image};

/// Y, U and V at half the columns and rows each; sides are even, of an odd picture the last column or
/// row is missing.
#[derive(Clone, Debug)]
pub struct Planar {
    size: SizePx,
    colour: YuvColour,
    data: Vec<u8>,
    /// For formats that have no planes.
    rgb: RgbImage,
}

impl Default for Planar {
    fn default() -> Self {
        Self {
            size: SizePx {
                width: 0,
                height: 0,
            },
            colour: YuvColour::DEFAULT,
            data: Vec::new(),
            rgb: RgbImage::new(0, 0),
        }
    }
}

impl Planar {
    /// Columns and rows.
    pub fn size(&self) -> SizePx {
        self.size
    }

    /// How samples are to be read as colours.
    pub fn colour(&self) -> YuvColour {
        self.colour
    }

    /// Y, U and V, tight.
    pub fn planes(&self) -> [&[u8]; 3] {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let (y, chroma) = self.data.split_at(width * height);
        let (u, v) = chroma.split_at(width * height / 4);
        [y, u, v]
    }

    /// Takes the samples of `image` as they are, where it has planes; other formats go through RGB.
    pub fn take_image(&mut self, image: &Image) {
        let size = image.size();
        if image.format() != PixelFormat::I420 {
            let mut rgb = std::mem::take(&mut self.rgb);
            if (rgb.width(), rgb.height()) != (size.width, size.height) {
                rgb = RgbImage::new(size.width, size.height);
            }
            rgb_from_image(image, &mut rgb);
            self.take_rgb(&rgb);
            self.rgb = rgb;
            return;
        }
        self.begin(size, image.colour());
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let (from_width, from_height) = (size.width as usize, size.height as usize);
        let mut from = image.data();
        for (cut, full, rows, kept) in [
            (width, from_width, from_height, height),
            (
                width / 2,
                from_width.div_ceil(2),
                from_height.div_ceil(2),
                height / 2,
            ),
            (
                width / 2,
                from_width.div_ceil(2),
                from_height.div_ceil(2),
                height / 2,
            ),
        ] {
            let (plane, rest) = from.split_at(full * rows);
            for row in plane.chunks_exact(full).take(kept) {
                self.data.extend_from_slice(&row[..cut]);
            }
            from = rest;
        }
    }

    /// Converts `rgb` (BT.601, limited range; chroma is the mean of four pixels).
    pub fn take_rgb(&mut self, rgb: &RgbImage) {
        let size = SizePx {
            width: rgb.width(),
            height: rgb.height(),
        };
        self.begin(size, YuvColour::DEFAULT);
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let stride = rgb.width() as usize * 3;
        self.data.resize(width * height * 3 / 2, 0);
        let (luma, chroma) = self.data.split_at_mut(width * height);
        let (us, vs) = chroma.split_at_mut(width * height / 4);
        let rows = rgb
            .as_raw()
            .chunks_exact(2 * stride)
            .zip(luma.chunks_exact_mut(2 * width));
        let chroma = us
            .chunks_exact_mut(width / 2)
            .zip(vs.chunks_exact_mut(width / 2));
        for ((rows, luma), (us, vs)) in rows.zip(chroma) {
            let (upper, lower) = rows.split_at(stride);
            let (upper_luma, lower_luma) = luma.split_at_mut(width);
            for (x, (u, v)) in us.iter_mut().zip(vs).enumerate() {
                let mut sum = [0; 3];
                for (row, luma) in [(upper, &mut *upper_luma), (lower, &mut *lower_luma)] {
                    for x in [2 * x, 2 * x + 1] {
                        let pixel = [0, 1, 2].map(|i| i32::from(row[3 * x + i]));
                        luma[x] = luma_of(pixel);
                        for (sum, value) in sum.iter_mut().zip(pixel) {
                            *sum += value;
                        }
                    }
                }
                [*u, *v] = chroma_of(sum);
            }
        }
    }

    fn begin(&mut self, size: SizePx, colour: YuvColour) {
        self.size = SizePx {
            width: size.width & !1,
            height: size.height & !1,
        };
        self.colour = colour;
        self.data.clear();
    }
}

fn luma_of([r, g, b]: [i32; 3]) -> u8 {
    ((16_829 * r + 33_039 * g + 6_416 * b + (16 << 16) + (1 << 15)) >> 16) as u8
}

/// Of the sum of four pixels.
fn chroma_of([r, g, b]: [i32; 3]) -> [u8; 2] {
    let round = (128 << 18) + (1 << 17);
    let u = (-9_714 * r - 19_071 * g + 28_785 * b + round) >> 18;
    let v = (28_785 * r - 24_103 * g - 4_682 * b + round) >> 18;
    [u as u8, v as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rgb_there_and_back_is_near() {
        let rgb = RgbImage::from_fn(35, 21, |x, y| {
            image::Rgb([
                (x / 2 * 13 % 256) as u8,
                (y / 2 * 29 % 256) as u8,
                ((x / 2 + y / 2) * 7 % 256) as u8,
            ])
        });
        let mut planar = Planar::default();
        planar.take_rgb(&rgb);
        assert_eq!((planar.size().width, planar.size().height), (34, 20));
        let data = planar.planes().concat();
        let image = Image::new(planar.size(), PixelFormat::I420, planar.colour(), data);
        let image = image.expect("planes of that size");
        let mut again = Planar::default();
        again.take_image(&image);
        assert_eq!(again.planes().concat(), planar.planes().concat());
        let mut back = RgbImage::new(34, 20);
        rgb_from_image(&image, &mut back);
        for (x, y, pixel) in back.enumerate_pixels() {
            // Where the decoder's chroma lies between samples, it is a mix.
            let inside = x > 2 && y > 2 && x < 32 && y < 18;
            let near = pixel
                .0
                .iter()
                .zip(rgb.get_pixel(x, y).0)
                .all(|(a, b)| a.abs_diff(b) < 90);
            assert!(
                !inside || near,
                "{x},{y}: {pixel:?} {:?}",
                rgb.get_pixel(x, y)
            );
        }
    }

    #[test]
    fn flat_colours_come_back() {
        for colour in [
            [0, 0, 0],
            [255, 255, 255],
            [200, 30, 90],
            [0, 255, 0],
            [10, 20, 250],
        ] {
            let mut planar = Planar::default();
            planar.take_rgb(&RgbImage::from_pixel(4, 4, image::Rgb(colour)));
            let data = planar.planes().concat();
            let image = Image::new(planar.size(), PixelFormat::I420, planar.colour(), data);
            let mut back = RgbImage::new(4, 4);
            rgb_from_image(&image.expect("planes"), &mut back);
            let got = back.get_pixel(1, 1).0;
            let off = got.iter().zip(colour).map(|(a, b)| a.abs_diff(b)).max();
            assert!(off.is_some_and(|off| off <= 3), "{colour:?} {got:?}");
        }
    }

    #[test]
    fn odd_planes_lose_their_last_column_and_row() {
        let size = SizePx {
            width: 5,
            height: 3,
        };
        let data: Vec<u8> = (0..27).collect();
        let image = Image::new(size, PixelFormat::I420, YuvColour::DEFAULT, data);
        let mut planar = Planar::default();
        planar.take_image(&image.expect("27 bytes"));
        let planes = planar.planes().map(<[u8]>::to_vec);
        assert_eq!(
            planes,
            [vec![0, 1, 2, 3, 5, 6, 7, 8], vec![15, 16], vec![21, 22]]
        );
    }
}
