//! The scores of a track, of all its classifications together.

/// A moving average of a track's scores, one for each channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrackScores {
    scores: Vec<f32>,
    count: u32,
    at_ms: f64,
}

impl TrackScores {
    /// Adds the scores of the frame at `t_ms`. Those before keep the weight `smoothing`, 0 to 1, but not more
    /// than in a plain mean of all: the first one does not weigh more than the second. A score that is not a
    /// number changes nothing.
    pub fn add(&mut self, scores: &[f32], t_ms: f64, smoothing: f32) {
        let mean = self.count as f32 / (self.count as f32 + 1.0);
        let past = smoothing.min(mean);
        if self.count == 0 || self.scores.len() != scores.len() {
            self.scores = scores.to_vec();
        } else {
            for (kept, score) in self.scores.iter_mut().zip(scores) {
                if kept.is_nan() {
                    *kept = *score;
                } else if !score.is_nan() {
                    *kept = *kept * past + *score * (1.0 - past);
                }
            }
        }
        self.count = self.count.saturating_add(1);
        self.at_ms = t_ms;
    }

    /// The scores so far.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Time of the newest frame in them.
    pub fn at_ms(&self) -> f64 {
        self.at_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_mean_at_first_and_moves_then() {
        let mut track = TrackScores::default();
        for (i, score) in [0.9, 0.3, 0.6].into_iter().enumerate() {
            track.add(&[score, 1.0 - score], i as f64, 0.75);
        }
        assert!((track.scores()[0] - 0.6).abs() < 1e-6, "{track:?}");
        assert_eq!(track.at_ms(), 2.0);
        for i in 3..60 {
            track.add(&[0.0, 1.0], f64::from(i), 0.75);
        }
        assert!(track.scores()[0] < 1e-6, "{track:?}");
        // Without smoothing the newest alone counts.
        track.add(&[0.8, 0.2], 60.0, 0.0);
        assert_eq!(track.scores(), [0.8, 0.2]);
    }

    #[test]
    fn what_is_not_a_number_is_left_out() {
        let mut track = TrackScores::default();
        track.add(&[f32::NAN, 0.5], 0.0, 0.5);
        track.add(&[0.4, f32::NAN], 1.0, 0.5);
        assert_eq!(track.scores(), [0.4, 0.5]);
    }
}
