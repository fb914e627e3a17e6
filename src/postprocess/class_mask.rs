//! Class mask: one class per pixel of a frame.

use mobilens_image::SizePx;

/// Class of pixels below the confidence floor.
pub const UNKNOWN: u8 = 255;

/// The class of each pixel of the original frame, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassMask {
    size: SizePx,
    classes: Vec<u8>,
}

impl ClassMask {
    /// A mask from one class per pixel, row-major; `None` if the length does not match.
    pub fn new(size: SizePx, classes: Vec<u8>) -> Option<Self> {
        let pixels = size.width as usize * size.height as usize;
        (classes.len() == pixels).then_some(Self { size, classes })
    }

    /// Columns and rows.
    pub fn size(&self) -> SizePx {
        self.size
    }

    /// The classes, row by row.
    pub fn classes(&self) -> &[u8] {
        &self.classes
    }

    /// The classes of one row.
    pub fn row(&self, y: usize) -> &[u8] {
        let width = self.size.width as usize;
        &self.classes[y * width..][..width]
    }

    /// Rows from the top.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        // `chunks_exact` panics on 0.
        self.classes.chunks_exact((self.size.width as usize).max(1))
    }

    /// The classes in the mask, ascending, and their shares of its area; [`UNKNOWN`] last.
    pub fn shares(&self) -> Vec<(u8, f64)> {
        let counts = self.counts();
        let all = counts.iter().sum::<u64>().max(1) as f64;
        let held = (0..=UNKNOWN).zip(counts).filter(|(_, count)| *count > 0);
        held.map(|(class, count)| (class, count as f64 / all))
            .collect()
    }

    /// Number of pixels per class; [`UNKNOWN`] last.
    pub fn counts(&self) -> [u64; 256] {
        let mut counts = [0; 256];
        // Four tables, as neighbouring pixels mostly have one class and would serialise on one counter.
        let mut parts = [[0_u32; 256]; 4];
        let (fours, rest) = self.classes.as_chunks::<4>();
        for four in fours {
            for (part, class) in parts.iter_mut().zip(four) {
                part[usize::from(*class)] += 1;
            }
        }
        for class in rest {
            parts[0][usize::from(*class)] += 1;
        }
        for part in parts {
            for (count, part) in counts.iter_mut().zip(part) {
                *count += u64::from(part);
            }
        }
        counts
    }
}
