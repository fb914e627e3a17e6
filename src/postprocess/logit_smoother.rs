//! Temporal smoothing of logits, reset at scene cuts.

/// Mean absolute difference of two frames at a scene cut, in grey levels (of 255).
const CUT_LEVELS: f32 = 24.0;
/// Number of input values that are compared.
const SAMPLES: usize = 4096;

/// Exponential moving average of the logits of a scene; frames come in order.
#[derive(Debug)]
pub struct LogitSmoother {
    /// Weight of the previous average.
    past: f32,
    /// Grey levels per unit of the input.
    levels: f32,
    average: Vec<f32>,
    samples: Vec<f32>,
    before: Vec<f32>,
}

impl LogitSmoother {
    /// `past` is the weight (0 to 1) of the previous average; one unit of the network's input is `levels`
    /// grey levels.
    pub fn new(past: f32, levels: f32) -> Self {
        Self {
            past,
            levels,
            average: Vec::new(),
            samples: Vec::new(),
            before: Vec::new(),
        }
    }

    /// Compares the network's input with that of the previous frame; on a scene cut resets the average
    /// and returns true.
    pub fn observe(&mut self, input: impl ExactSizeIterator<Item = f32>) -> bool {
        let step = (input.len() / SAMPLES).max(1);
        // An odd step samples all channels in either tensor layout.
        let samples = input.step_by(step | 1);
        std::mem::swap(&mut self.samples, &mut self.before);
        self.samples.clear();
        self.samples.extend(samples);
        if self.before.len() != self.samples.len() {
            self.average.clear();
            return false;
        }
        let pairs = self.samples.iter().zip(&self.before);
        let difference: f32 = pairs.map(|(a, b)| (a - b).abs()).sum();
        let is_cut = difference * self.levels > CUT_LEVELS * self.samples.len() as f32;
        if is_cut {
            self.average.clear();
        }
        is_cut
    }

    /// Updates the average with this frame's logits.
    pub fn average(&mut self, logits: &[f32]) -> &[f32] {
        if self.average.len() == logits.len() {
            for (average, logit) in self.average.iter_mut().zip(logits) {
                *average = *average * self.past + logit * (1.0 - self.past);
            }
        } else {
            self.average.clear();
            self.average.extend_from_slice(logits);
        }
        &self.average
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_decays_and_a_cut_resets_it() {
        let mut smoother = LogitSmoother::new(0.75, 127.5);
        let scene = |level: f32| std::iter::repeat_n(level, 9000);
        assert!(!smoother.observe(scene(0.0)), "nothing to compare with");
        assert_eq!(smoother.average(&[4.0, 0.0]), [4.0, 0.0]);
        assert!(!smoother.observe(scene(0.1)), "13 grey levels");
        assert_eq!(smoother.average(&[0.0, 4.0]), [3.0, 1.0]);
        assert!(smoother.observe(scene(0.5)), "51 grey levels");
        assert_eq!(smoother.average(&[0.0, 4.0]), [0.0, 4.0]);
        assert!(!smoother.observe(std::iter::empty()), "another size");
        assert_eq!(smoother.average(&[1.0, 1.0]), [1.0, 1.0]);
    }
}
