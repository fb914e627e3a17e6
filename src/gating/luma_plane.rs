//! Luma plane: a downsampled image of brightness.

use mobilens_image::{Image, PixelFormat};

/// A downsampled image of brightness: each value is the mean of a square of pixels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LumaPlane {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Side of a value's square in pixels of the frame.
    pub step: usize,
    /// The values, row after row.
    pub data: Vec<u8>,
}

impl LumaPlane {
    /// Fills the plane from `image`, downsampled to at most `max_width` columns. Incomplete squares at
    /// the right and lower edge are ignored.
    pub fn fill(&mut self, image: &Image, max_width: usize) {
        let (width, height) = (image.size().width as usize, image.size().height as usize);
        let step = width.div_ceil(max_width).min(height).max(1);
        (self.width, self.height, self.step) = (width / step, height / step, step);
        self.data.clear();
        self.data.reserve(self.width * self.height);
        let plane = image.planes()[0];
        // Bytes from one pixel to the next, and offset of the luma byte.
        let (pitch, first) = match image.format() {
            PixelFormat::I420 | PixelFormat::Nv12 => (1, 0),
            PixelFormat::Yuyv => (2, 0),
            // Green is the largest part of luma.
            PixelFormat::Rgb8 => (3, 1),
        };
        let mut sums = vec![0_u32; self.width];
        let divisor = (step * step) as u32;
        for y in 0..self.height {
            sums.fill(0);
            for row in plane.data[y * step * plane.stride..]
                .chunks(plane.stride)
                .take(step)
            {
                let squares = row.chunks_exact(step * pitch);
                for (sum, square) in sums.iter_mut().zip(squares) {
                    let values = square[first..].iter().step_by(pitch);
                    *sum += values.map(|v| u32::from(*v)).sum::<u32>();
                }
            }
            let means = sums.iter().map(|sum| ((sum + divisor / 2) / divisor) as u8);
            self.data.extend(means);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mobilens_image::{SizePx, YuvColour};

    #[test]
    fn squares_become_their_means() {
        let size = SizePx {
            width: 5,
            height: 4,
        };
        let luma: Vec<u8> = (0..20).map(|i| i * 10).collect();
        let image =
            |format, data| Image::new(size, format, YuvColour::DEFAULT, data).expect("fits");
        let mut plane = LumaPlane::default();
        let mut i420 = luma.clone();
        i420.resize(PixelFormat::I420.bytes(size), 128);
        plane.fill(&image(PixelFormat::I420, i420), 3);
        assert_eq!((plane.width, plane.height, plane.step), (2, 2, 2));
        // (0 + 10 + 50 + 60) / 4, and so on.
        assert_eq!(plane.data, [30, 50, 130, 150]);
        let rgb = luma.iter().flat_map(|v| [9, *v, 9]).collect();
        let mut other = LumaPlane::default();
        other.fill(&image(PixelFormat::Rgb8, rgb), 3);
        assert_eq!(other, plane);
    }

    #[test]
    fn extreme_sizes_are_accepted() {
        for (width, height) in [(1, 1), (3, 2000), (2000, 1)] {
            let size = SizePx { width, height };
            let data = vec![7; PixelFormat::Rgb8.bytes(size)];
            let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, data);
            let mut plane = LumaPlane::default();
            plane.fill(&image.expect("fits"), 160);
            assert!(plane.data.iter().all(|v| *v == 7) && !plane.data.is_empty());
        }
    }
}
