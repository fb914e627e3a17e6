//! Activations from raw outputs to scores, and thresholds held against raw values.

/// Activation that turns class logits into scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreActivation {
    /// None: the network's outputs are scores.
    None,
    /// Sigmoid, independently per class.
    Sigmoid,
    /// Softmax over all channels of an anchor, including the background.
    Softmax,
}

impl ScoreActivation {
    /// The lowest raw value whose score may reach `threshold`; with softmax no single value tells.
    pub(super) fn raw_threshold(self, threshold: f32) -> f32 {
        match self {
            Self::None => threshold,
            Self::Sigmoid => logit(threshold),
            Self::Softmax => f32::NEG_INFINITY,
        }
    }
}

/// The logistic function.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Slightly below the logit of `p`, so that rounding never drops what the exact test would keep.
pub(super) fn logit(p: f32) -> f32 {
    let p = p.min(0.999_999);
    let exact = (p / (1.0 - p)).ln();
    exact - exact.abs().max(1.0) * 1e-4
}
