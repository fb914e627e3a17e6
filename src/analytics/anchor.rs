//! Anchor point of a box, for zones and lines.

use mobilens_image::RectPx;

/// The point of a box that is tested against zones and lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnchorPoint {
    /// Centre of the lower edge: the ground contact point.
    #[default]
    BottomCenter,
    /// Centre of the box, for views from above.
    Center,
}

impl AnchorPoint {
    /// The anchor of `rect`, in the same pixels.
    pub fn of(self, rect: &RectPx) -> [f64; 2] {
        let down = match self {
            Self::BottomCenter => rect.height,
            Self::Center => rect.height / 2.0,
        };
        [rect.x + rect.width / 2.0, rect.y + down].map(f64::from)
    }
}
