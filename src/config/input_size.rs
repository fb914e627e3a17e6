//! Which input sizes an SSD can have.

use super::schema::CardConfig;

/// The sides that an SSD's input can have: its own, and those at which each halving of a feature map rounds
/// as it does there. At others all boxes are shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsdInputSizes {
    /// Width and height of the file's input.
    pub trained_px: (u32, u32),
    /// Sides differ from it by a multiple of this: four times the stride of the first feature map, so that
    /// this one and the next two are halved alike.
    pub step_px: u32,
}

impl SsdInputSizes {
    /// Those of a detection model's card.
    pub fn of(card: &CardConfig) -> Self {
        let trained_px = card.input.trained_size_px();
        let maps = card
            .head
            .sizable_anchors()
            .map(|anchors| &anchors.feature_maps);
        let first = maps.and_then(|maps| maps.first()).copied().unwrap_or(1);
        let stride = (trained_px.0 / first.max(1)).max(1).next_power_of_two();
        Self {
            trained_px,
            step_px: 4 * stride,
        }
    }

    /// Whether a square input, or one side of another, can have `px`.
    ///
    /// # Errors
    /// Names the nearest sizes.
    pub fn check(&self, px: u32) -> Result<(), String> {
        let (trained, step) = (self.trained_px.0, self.step_px);
        let least = trained % step;
        if px >= least && (px - least).is_multiple_of(step) && px > step {
            return Ok(());
        }
        let below = least + px.saturating_sub(least) / step * step;
        let below = if below > step { below } else { below + step };
        Err(format!(
            "expected {trained} plus or minus a multiple of {step}, at which feature maps are halved as at {trained}; \
             the nearest are {below} and {}; got {px}",
            below + step
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_sizes_are_named() {
        let sizes = SsdInputSizes {
            trained_px: (300, 300),
            step_px: 64,
        };
        for px in [108, 172, 236, 300, 364, 428, 556, 620] {
            assert_eq!(sizes.check(px), Ok(()), "{px}");
        }
        let message = sizes.check(384).expect_err("between two sizes");
        assert!(
            message.contains("the nearest are 364 and 428; got 384"),
            "{message}"
        );
        let message = sizes.check(44).expect_err("too small");
        assert!(
            message.contains("the nearest are 108 and 172; got 44"),
            "{message}"
        );
    }
}
