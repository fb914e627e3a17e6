//! The point of a box that stands for its object.

use mobilens_image::RectPx;

/// The point of a box that stands for its object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnchorPoint {
    /// The middle of its lower edge: where it stands.
    #[default]
    BottomCenter,
    /// Its middle: where it is, seen from above.
    Center,
}

impl AnchorPoint {
    /// Where it lies, in the pixels of `rect`.
    pub fn of(self, rect: &RectPx) -> [f64; 2] {
        let down = match self {
            Self::BottomCenter => rect.height,
            Self::Center => rect.height / 2.0,
        };
        [rect.x + rect.width / 2.0, rect.y + down].map(f64::from)
    }
}
