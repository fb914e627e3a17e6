//! Logits averaged over frames, until the scene changes.

/// Grey levels (of 255) by which the samples of two frames differ, in the mean, at a cut.
const CUT_LEVELS: f32 = 24.0;
/// Values of the input that are compared.
const SAMPLES: usize = 4096;

/// An exponential average over the frames of a scene; frames come in order.
#[derive(Debug)]
pub struct Smoother {
    /// Weight of what came before.
    past: f32,
    /// Grey levels in one unit of the input.
    levels: f32,
    average: Vec<f32>,
    samples: Vec<f32>,
    before: Vec<f32>,
}

impl Smoother {
    /// Gives the past the weight `past` (0 to 1) against the frame's own; one unit of the network's
    /// input is `levels` grey levels.
    pub fn new(past: f32, levels: f32) -> Self {
        Self {
            past,
            levels,
            average: Vec::new(),
            samples: Vec::new(),
            before: Vec::new(),
        }
    }

    /// Looks at the network's input for a frame and forgets the past if it shows another scene.
    /// Says whether it did.
    pub fn observe(&mut self, input: &[f32]) -> bool {
        let step = (input.len() / SAMPLES).max(1);
        // An odd step passes through all channels, whichever way they lie.
        let samples = input.iter().step_by(step | 1);
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

    /// The average with this frame's logits.
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
    fn the_past_fades_and_a_cut_forgets_it() {
        let mut smoother = Smoother::new(0.75, 127.5);
        let scene = |level: f32| vec![level; 9000];
        assert!(!smoother.observe(&scene(0.0)), "nothing to compare with");
        assert_eq!(smoother.average(&[4.0, 0.0]), [4.0, 0.0]);
        assert!(!smoother.observe(&scene(0.1)), "13 grey levels");
        assert_eq!(smoother.average(&[0.0, 4.0]), [3.0, 1.0]);
        assert!(smoother.observe(&scene(0.5)), "51 grey levels");
        assert_eq!(smoother.average(&[0.0, 4.0]), [0.0, 4.0]);
        assert!(!smoother.observe(&[]), "another size");
        assert_eq!(smoother.average(&[1.0, 1.0]), [1.0, 1.0]);
    }
}
