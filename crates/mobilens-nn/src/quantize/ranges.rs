//! Scales with the least mean squared error: of activations from their histograms, of weights from
//! the weights.

use super::observe::Histogram;

/// Greatest size of a weight's code; -128 is not used, so that weights are symmetric.
pub(super) const WEIGHT_LIMIT: f32 = 127.0;
/// Greatest size of a bias in the units of the sum, which leaves the rest of an i32 to the products.
pub(super) const BIAS_LIMIT: f64 = (1 << 30) as f64;
/// Room for a bias to grow when it is corrected.
const BIAS_ROOM: f64 = 2.0;
/// Least scale of a weight, far from where float32 loses digits.
const LEAST_WEIGHT_SCALE: f32 = 1e-15;
/// Shares of the greatest weight that are tried as the limit.
const WEIGHT_STEPS: usize = 50;
/// Shares of the range that are tried for each end at first.
const RANGE_STEPS: usize = 16;
/// Smallest share of the range at either end.
const LEAST_SHARE: f64 = 0.2;
/// Times that the steps are halved around the best.
const REFINEMENTS: usize = 3;

/// Scale and zero point of an activation in codes from 0 to 255: `value = scale * (code - zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub scale: f32,
    pub zero_point: u8,
}

impl Scale {
    /// The scale whose codes reach from `low` to `high`, which have zero between them.
    pub fn of_range(low: f64, high: f64) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let mut scale = ((high - low) / 255.0) as f32;
        if !scale.is_normal() {
            // Nothing but zeros.
            scale = 1.0 / 255.0;
        }
        let zero_point = (-low / f64::from(scale)).round_ties_even();
        Self {
            scale,
            zero_point: zero_point.clamp(0.0, 255.0) as u8,
        }
    }

    /// The code of a value, as `QuantizeLinear` defines it.
    pub fn code(self, value: f32) -> u8 {
        let code = (value / self.scale).round_ties_even() + f32::from(self.zero_point);
        code.clamp(0.0, 255.0) as u8
    }

    /// The value of a code, as `DequantizeLinear` defines it.
    pub fn value(self, code: u8) -> f32 {
        (f32::from(code) - f32::from(self.zero_point)) * self.scale
    }

    /// Sum of the squared errors of the histogram's values.
    fn squared_error(self, bins: &[(f64, f64)]) -> f64 {
        let (scale, zero) = (f64::from(self.scale), f64::from(self.zero_point));
        let (low, high, per_unit) = (-zero, 255.0 - zero, 1.0 / scale);
        bins.iter()
            .map(|(value, count)| {
                let code = (value * per_unit).round_ties_even().max(low).min(high);
                let error = code * scale - value;
                error * error * count
            })
            .sum()
    }
}

/// The scale with the least mean squared error over the histogram.
pub(super) fn activation_scale(histogram: &Histogram) -> Scale {
    let (low, high) = (f64::from(histogram.min()), f64::from(histogram.max()));
    let bins = histogram.bins();
    let of_shares = |(a, b): (f64, f64)| Scale::of_range(low * a, high * b);
    let mut best = ((1.0, 1.0), f64::INFINITY);
    let mut consider = |shares: (f64, f64)| {
        let error = of_shares(shares).squared_error(&bins);
        if error < best.1 {
            best = (shares, error);
        }
        best.0
    };
    let mut step = (1.0 - LEAST_SHARE) / RANGE_STEPS as f64;
    let shares_of = |end: f64| -> Vec<f64> {
        let count = if end == 0.0 { 0 } else { RANGE_STEPS };
        (0..=count).map(|i| 1.0 - i as f64 * step).collect()
    };
    let mut center = (1.0, 1.0);
    for a in shares_of(low) {
        for b in shares_of(high) {
            center = consider((a, b));
        }
    }
    for _ in 0..REFINEMENTS {
        step /= 2.0;
        let (a, b) = center;
        for (da, db) in (-1..=1).flat_map(|i| (-1..=1).map(move |j| (f64::from(i), f64::from(j)))) {
            let shares = ((a + da * step).min(1.0), (b + db * step).min(1.0));
            center = consider(shares);
        }
    }
    of_shares(center)
}

/// The scale with the least mean squared error over the weights of one output channel, and with
/// which the bias fits into the sum's units of `input_scale` times it.
pub(super) fn weight_scale(weights: &[f32], bias: f32, input_scale: f32) -> f32 {
    let largest = weights.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
    let mut best = (largest / WEIGHT_LIMIT, f64::INFINITY);
    for step in 0..=WEIGHT_STEPS {
        let share = 1.0 - 0.5 * step as f32 / WEIGHT_STEPS as f32;
        let scale = largest * share / WEIGHT_LIMIT;
        if scale < LEAST_WEIGHT_SCALE {
            break;
        }
        let error: f64 = weights
            .iter()
            .map(|w| {
                let error = f32::from(weight_code(*w, scale)) * scale - w;
                f64::from(error * error)
            })
            .sum();
        if error < best.1 {
            best = (scale, error);
        }
    }
    let for_bias = f64::from(bias.abs()) * BIAS_ROOM / (f64::from(input_scale) * BIAS_LIMIT);
    best.0.max(for_bias as f32).max(LEAST_WEIGHT_SCALE)
}

/// The code of a weight.
pub(super) fn weight_code(weight: f32, scale: f32) -> i8 {
    let code = (weight / scale).round_ties_even();
    code.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(values).expect("finite");
        histogram
    }

    #[test]
    fn zero_is_exact_in_every_range() {
        for (low, high) in [
            (-1.0, 1.0),
            (0.0, 6.0),
            (-3.0, 0.0),
            (2.0, 5.0),
            (-0.1, 7.3),
        ] {
            let scale = Scale::of_range(low, high);
            assert_eq!(scale.value(scale.code(0.0)), 0.0, "{low} to {high}");
        }
        assert_eq!(Scale::of_range(0.0, 0.0).code(0.0), 0);
        let all_negative = Scale::of_range(-3.0, -1.0);
        assert_eq!((all_negative.code(-3.0), all_negative.code(0.0)), (0, 255));
    }

    #[test]
    fn a_lone_outlier_is_clipped_and_an_even_spread_is_not() {
        let mut values: Vec<f32> = (0..100_000).map(|i| (i % 1000) as f32 / 1000.0).collect();
        let even = activation_scale(&histogram(&values));
        assert!((even.scale * 255.0 - 0.999).abs() < 0.02, "{even:?}");
        assert_eq!(even.zero_point, 0);
        // Where one squared error of the outlier weighs as much as the others' finer steps:
        // 2 (4 - c) = 2 c n / (12 * 255^2).
        values.push(4.0);
        let clipped = activation_scale(&histogram(&values));
        assert!((clipped.scale * 255.0 - 3.546).abs() < 0.1, "{clipped:?}");
        // Both ends at once: 4 (4 - c) = 8 c n / (12 * 255^2), n twice as many.
        let both: Vec<f32> = values.iter().flat_map(|v| [*v, -*v]).collect();
        let clipped = activation_scale(&histogram(&both));
        assert!((clipped.scale * 255.0 - 5.288).abs() < 0.2, "{clipped:?}");
        assert!((126..=129).contains(&clipped.zero_point), "{clipped:?}");
    }

    #[test]
    fn the_search_is_no_worse_than_the_whole_range() {
        let values: Vec<f32> = (0..20_000)
            .map(|i| ((i * 7919 % 10_007) as f32 / 10_007.0 - 0.3).powi(5) * 9.0)
            .collect();
        let histogram = histogram(&values);
        let whole = Scale::of_range(histogram.min().into(), histogram.max().into());
        let bins = histogram.bins();
        let best = activation_scale(&histogram);
        assert!(best.squared_error(&bins) <= whole.squared_error(&bins));
        // What the histogram says is what the values say.
        let error = |scale: Scale| -> f64 {
            let errors = values.iter().map(|v| scale.value(scale.code(*v)) - v);
            errors.map(|e| f64::from(e * e)).sum()
        };
        assert!(error(best) <= error(whole) * 1.001);
    }

    #[test]
    fn a_bias_fits_beside_dead_weights() {
        let scale = weight_scale(&[0.0; 9], 3.0, 0.02);
        let bias = 3.0 / (f64::from(scale) * 0.02);
        assert!(scale.is_normal() && bias <= BIAS_LIMIT, "{bias}");
        let scale = weight_scale(&[1e-12, -1e-13], -8.0, 0.001);
        assert!(8.0 / (f64::from(scale) * 0.001) <= BIAS_LIMIT);
        // No bias, no weights: still a scale.
        assert!(weight_scale(&[0.0], 0.0, 0.1) > 0.0);
    }

    #[test]
    fn weights_use_their_codes() {
        let weights: Vec<f32> = (-50..=50).map(|i| i as f32 / 50.0).collect();
        let scale = weight_scale(&weights, 0.1, 0.02);
        assert!((scale * WEIGHT_LIMIT - 1.0).abs() < 0.05, "{scale}");
        assert_eq!(weight_code(-9.0, 0.01), -127);
        assert_eq!(weight_code(9.0, 0.01), 127);
    }
}
