//! Classification of a picture, or a part of it: activation and the best classes.
//!
//! | tensor | shape |
//! |---|---|
//! | output of the network | `[1, classes]` |
//! | result | at most `top` classes, best score first |

/// How scores follow from the network's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassActivation {
    /// `exp(v_i) / sum_j exp(v_j)` over all channels.
    Softmax,
    /// `1 / (1 + exp(-v_i))`, each channel by itself.
    Sigmoid,
    /// The values are scores.
    Identity,
}

/// Parameters of a classifier's output.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifyParams {
    /// The channels that have a label, ascending; others bear on softmax only.
    pub channels: Vec<u32>,
    /// From values to scores.
    pub activation: ClassActivation,
    /// Most classes that are returned.
    pub top: usize,
    /// Classes below are left out.
    pub score_threshold: f32,
}

/// A class of the whole picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Classification {
    /// The model's label id, which is the channel.
    pub category_id: u32,
    /// Confidence, 0 to 1 (with [`ClassActivation::Identity`] what the network says).
    pub score: f32,
}

/// Returns the best classes of a picture; keeps its buffers.
#[derive(Clone, Debug)]
pub struct ClassifyDecoder {
    params: ClassifyParams,
    scored: Vec<Classification>,
}

impl ClassifyDecoder {
    /// A decoder with these parameters.
    pub fn new(params: ClassifyParams) -> Self {
        Self {
            params,
            scored: Vec::new(),
        }
    }

    /// The classes of `values`, one a channel, best score first, of equal scores the lower id first. What
    /// is not a number is left out.
    pub fn decode(&mut self, values: &[f32]) -> Vec<Classification> {
        let scores = self.params.scores(values);
        self.scored.clear();
        let channels = self.params.channels.iter().copied().zip(scores);
        for (category_id, score) in channels {
            if score >= self.params.score_threshold {
                self.scored.push(Classification { category_id, score });
            }
        }
        best(&mut self.scored, self.params.top)
    }
}

impl ClassifyParams {
    /// The score of each of `channels`, from the network's values of all channels; NaN where there is none.
    pub fn scores(&self, values: &[f32]) -> Vec<f32> {
        let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // Less the largest, so that nothing overflows.
        let share = |value: f32| f64::from(value - largest).exp();
        let sum: f64 = match self.activation {
            ClassActivation::Softmax => values.iter().map(|value| share(*value)).sum(),
            ClassActivation::Sigmoid | ClassActivation::Identity => 1.0,
        };
        let score = |value: f32| match self.activation {
            ClassActivation::Softmax => (share(value) / sum) as f32,
            ClassActivation::Sigmoid => (1.0 / (1.0 + f64::from(-value).exp())) as f32,
            ClassActivation::Identity => value,
        };
        let values = self.channels.iter().map(|id| values.get(*id as usize));
        values
            .map(|value| value.map_or(f32::NAN, |value| score(*value)))
            .collect()
    }

    /// The best classes of `scores`, one for each of `channels`, as [`ClassifyDecoder::decode`] orders them.
    pub fn best(&self, scores: &[f32]) -> Vec<Classification> {
        let scored = self.channels.iter().zip(scores);
        let scored = scored.filter(|(_, score)| **score >= self.score_threshold);
        let mut scored: Vec<_> = scored
            .map(|(&category_id, &score)| Classification { category_id, score })
            .collect();
        best(&mut scored, self.top)
    }
}

/// The `top` best of `scored`, best first, of equal scores the lower id first.
fn best(scored: &mut [Classification], top: usize) -> Vec<Classification> {
    let best_first = |a: &Classification, b: &Classification| {
        let by_score = b.score.total_cmp(&a.score);
        by_score.then(a.category_id.cmp(&b.category_id))
    };
    let top = top.min(scored.len());
    if top < scored.len() {
        // Only the best are put in order.
        scored.select_nth_unstable_by(top, best_first);
    }
    let best = &mut scored[..top];
    best.sort_unstable_by(best_first);
    best.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoder(activation: ClassActivation, channels: u32, top: usize) -> ClassifyDecoder {
        ClassifyDecoder::new(ClassifyParams {
            channels: (0..channels).collect(),
            activation,
            top,
            score_threshold: 0.0,
        })
    }

    #[test]
    fn scores_are_those_of_the_formulas() {
        let values = [1.0, 3.0, 2.0];
        let near = |got: &[Classification], want: &[(u32, f32)]| {
            assert_eq!(got.len(), want.len());
            for (got, (id, score)) in got.iter().zip(want) {
                assert_eq!(got.category_id, *id);
                assert!((got.score - score).abs() < 1e-6, "{got:?}, not {score}");
            }
        };
        let mut softmax = decoder(ClassActivation::Softmax, 3, 2);
        near(
            &softmax.decode(&values),
            &[(1, 0.665_241), (2, 0.244_728_5)],
        );
        let mut sigmoid = decoder(ClassActivation::Sigmoid, 3, 2);
        near(
            &sigmoid.decode(&values),
            &[(1, 0.952_574_1), (2, 0.880_797)],
        );
        let mut none = decoder(ClassActivation::Identity, 3, 9);
        near(&none.decode(&values), &[(1, 3.0), (2, 2.0), (0, 1.0)]);
    }

    #[test]
    fn a_channel_without_a_label_counts_but_is_not_told() {
        let mut decoder = ClassifyDecoder::new(ClassifyParams {
            channels: vec![1, 2],
            activation: ClassActivation::Softmax,
            top: 5,
            score_threshold: 0.0,
        });
        let got = decoder.decode(&[9.0, 0.0, 1.0]);
        let ids: Vec<u32> = got.iter().map(|c| c.category_id).collect();
        assert_eq!(ids, [2, 1]);
        assert!(got[0].score < 0.001, "{got:?}");
    }

    #[test]
    fn extreme_values_are_no_fault() {
        for activation in [ClassActivation::Softmax, ClassActivation::Sigmoid] {
            let got = decoder(activation, 3, 5).decode(&[f32::MAX, -f32::MAX, 0.0]);
            assert_eq!((got[0].category_id, got[0].score), (0, 1.0));
            assert_eq!(got.last().map(|class| class.score), Some(0.0));
        }
        let got = decoder(ClassActivation::Sigmoid, 2, 5).decode(&[f32::NAN, 1.0]);
        assert_eq!(got.len(), 1);
        assert!(
            decoder(ClassActivation::Softmax, 0, 5)
                .decode(&[])
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn the_best_are_those_of_a_full_sort(
            values in proptest::collection::vec(-8.0_f32..8.0, 1..80),
            repeated in any::<bool>(),
            top in 1_usize..12,
            score_threshold in 0.0_f32..0.3,
        ) {
            // Equal scores, too.
            let values: Vec<f32> = values.iter().map(|v| if repeated { v.round() } else { *v }).collect();
            let got = ClassifyDecoder::new(ClassifyParams {
                channels: (0..values.len() as u32).collect(),
                activation: ClassActivation::Softmax,
                top,
                score_threshold,
            }).decode(&values);
            let sum: f64 = values.iter().map(|v| f64::from(*v).exp()).sum();
            let mut all: Vec<(u32, f32)> = (0_u32..).zip(&values).map(|(i, v)| (i, *v)).collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let score = |v: f32| f64::from(v).exp() / sum;
            prop_assert!(got.len() <= top);
            let params = ClassifyParams {
                channels: (0..values.len() as u32).collect(),
                activation: ClassActivation::Softmax,
                top,
                score_threshold,
            };
            prop_assert_eq!(&params.best(&params.scores(&values)), &got);
            for (got, (id, value)) in got.iter().zip(&all) {
                prop_assert_eq!(got.category_id, *id);
                prop_assert!((f64::from(got.score) - score(*value)).abs() < 1e-6);
                prop_assert!(got.score >= score_threshold);
            }
            if let Some((_, next)) = all.get(got.len()).filter(|_| got.len() < top) {
                prop_assert!(score(*next) < f64::from(score_threshold) + 1e-6);
            }
        }
    }
}
