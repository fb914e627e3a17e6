//! What an inference costs on this machine, by its input size.

use std::collections::HashMap;
use std::time::Duration;

use crate::frame::Look;
use mobilens_image::SizePx;

/// Weight of a new measurement in the average time of a pixel.
const LEARNING: f64 = 0.1;
/// Share of frames whose looks are to take no longer than estimated.
const QUANTILE: f64 = 0.97;
/// How far one frame moves the estimate of that quantile.
const STEP: f64 = 0.08;
/// The quantile as a multiple of the average: where it begins, and its bounds.
const OVERRUN: (f64, f64, f64) = (1.3, 1.0, 4.0);

/// Times of inferences, learned while they run.
///
/// Each input size has a weight, measured once before the first frame: its time as a multiple of the others'.
/// All measurements after that move one average, the time of a unit of weight, so that the estimate for a size
/// that is too expensive at the moment follows the machine's load as well. Single frames take longer than the
/// average; how much longer the slowest few in a hundred take is estimated by stochastic approximation (Robbins
/// and Monro 1951): up by a large step for each frame above the estimate, down by a small one for each below.
#[derive(Debug)]
pub struct LookCosts {
    weights: HashMap<SizePx, f64>,
    ms_per_weight: Option<f64>,
    overrun: f64,
}

impl Default for LookCosts {
    fn default() -> Self {
        Self {
            weights: HashMap::new(),
            ms_per_weight: None,
            overrun: OVERRUN.0,
        }
    }
}

impl LookCosts {
    /// Takes the time of an undisturbed inference as the weight of its input size.
    pub fn calibrate(&mut self, input: SizePx, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        if self.weights.is_empty() {
            self.ms_per_weight = Some(1.0);
        }
        self.weights.insert(input, ms.max(1e-3));
    }

    /// Whether the size has been measured.
    pub fn knows(&self, input: SizePx) -> bool {
        self.weights.contains_key(&input)
    }

    /// Learns from the time that the looks at one frame took.
    pub fn frame(&mut self, looks: &[Look], took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        let weight: f64 = looks.iter().map(|look| self.weight(look.input)).sum();
        if weight <= 0.0 {
            return;
        }
        let Some(average) = self.ms_per_weight else {
            self.ms_per_weight = Some(ms / weight);
            return;
        };
        let (_, least, most) = OVERRUN;
        let step = if ms > weight * average * self.overrun {
            STEP * QUANTILE
        } else {
            -STEP * (1.0 - QUANTILE)
        };
        self.overrun = (self.overrun + step).clamp(least, most);
        // One stall is no new average.
        let sample = (ms / weight).min(3.0 * average);
        self.ms_per_weight = Some(average + (sample - average) * LEARNING);
    }

    /// The time in milliseconds within which almost every frame with these inputs is done; `None` before the
    /// first measurement.
    pub fn expected_ms(&self, inputs: impl IntoIterator<Item = SizePx>) -> Option<f64> {
        let weight: f64 = inputs.into_iter().map(|input| self.weight(input)).sum();
        Some(weight * self.ms_per_weight? * self.overrun)
    }

    /// The weight of a size; of one that was not measured by its pixels, at the rate of the measured size
    /// nearest to it.
    fn weight(&self, input: SizePx) -> f64 {
        let pixels = |size: SizePx| f64::from(size.width) * f64::from(size.height);
        if let Some(weight) = self.weights.get(&input) {
            return *weight;
        }
        let distance = |size: &SizePx| (pixels(*size) / pixels(input).max(1.0)).ln().abs();
        let nearest = self
            .weights
            .iter()
            .min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)));
        match nearest {
            Some((size, weight)) => weight * pixels(input) / pixels(*size).max(1.0),
            None => pixels(input) * 1e-5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(px: u32) -> SizePx {
        SizePx {
            width: px,
            height: px,
        }
    }

    fn whole(px: u32) -> Look {
        Look {
            input: side(px),
            region: None,
        }
    }

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1000.0)
    }

    fn calibrated() -> LookCosts {
        let mut costs = LookCosts::default();
        assert_eq!(costs.expected_ms([side(300)]), None);
        costs.calibrate(side(300), ms(3.0));
        costs.calibrate(side(556), ms(8.0));
        costs
    }

    #[test]
    fn a_slower_machine_makes_all_sizes_dearer() {
        let mut costs = calibrated();
        let before = costs.expected_ms([side(300), side(556)]).expect("known");
        assert!((before - 11.0 * 1.3).abs() < 1e-9, "{before}");
        for _ in 0..100 {
            costs.frame(&[whole(300)], ms(6.0));
        }
        let after = costs.expected_ms([side(556)]).expect("known");
        assert!(after > 15.9, "{after}");
        for _ in 0..1000 {
            costs.frame(&[whole(300)], ms(3.0));
        }
        let again = costs.expected_ms([side(556)]).expect("known");
        assert!((7.9..9.5).contains(&again), "{again}");
    }

    #[test]
    fn almost_all_frames_stay_below_what_is_expected() {
        let mut costs = calibrated();
        let mut above = 0;
        for i in 0..4000_u32 {
            // From 3 to 6 ms, evenly.
            let took = 3.0 + 3.0 * f64::from(i * 7919 % 1000) / 1000.0;
            let expected = costs.expected_ms([side(300)]).expect("known");
            above += u32::from(i >= 1000 && took > expected);
            costs.frame(&[whole(300)], ms(took));
        }
        assert!((30..210).contains(&above), "{above} of 3000 took longer");
    }

    #[test]
    fn a_size_that_was_not_measured_costs_by_its_pixels() {
        let costs = calibrated();
        let expected = costs.expected_ms([side(1112)]).expect("known");
        assert!((expected - 4.0 * 8.0 * 1.3).abs() < 1e-9, "{expected}");
        assert!(costs.knows(side(556)) && !costs.knows(side(1112)));
    }
}
