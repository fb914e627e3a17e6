//! What is observed of values while pictures run through the network: histograms, and the mean
//! input of each weight.

use std::ops::AddAssign;

/// Bins on each side of zero.
const BINS: usize = 4096;

/// How often values of which size occur. The bins' width is a power of two and doubles where a
/// value does not fit, so that one pass is enough and the counts do not depend on its order.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    width: f32,
    /// Bin `i` of `[i, i + 1)` widths above zero.
    positive: Vec<u64>,
    /// Bin `i` of `[i, i + 1)` widths below zero.
    negative: Vec<u64>,
    zeros: u64,
    min: f32,
    max: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            // Far below what any scale can resolve; the first values widen it.
            width: 2.0_f32.powi(-60),
            positive: vec![0; BINS],
            negative: vec![0; BINS],
            zeros: 0,
            min: 0.0,
            max: 0.0,
        }
    }
}

impl Histogram {
    /// Counts the values.
    ///
    /// # Errors
    /// When one is not finite.
    pub fn add(&mut self, values: &[f32]) -> Result<(), String> {
        let (mut min, mut max, mut is_finite) = (self.min, self.max, true);
        for value in values {
            min = min.min(*value);
            max = max.max(*value);
            is_finite &= value.is_finite();
        }
        if !is_finite {
            return Err("not all of its values are finite".to_owned());
        }
        self.min = min;
        self.max = max;
        self.make_room(max.max(-min));
        // Exact, as the width is a power of two.
        let bins_per_unit = 1.0 / self.width;
        for value in values {
            if *value == 0.0 {
                self.zeros += 1;
                continue;
            }
            let side = if *value > 0.0 {
                &mut self.positive
            } else {
                &mut self.negative
            };
            side[((value.abs() * bins_per_unit) as usize).min(BINS - 1)] += 1;
        }
        Ok(())
    }

    /// Counts what another histogram has counted.
    pub fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.zeros += other.zeros;
        self.make_room(other.width * (BINS - 1) as f32);
        let mut other = other.clone();
        other.make_room(self.width * (BINS - 1) as f32);
        for (to, from) in [
            (&mut self.positive, &other.positive),
            (&mut self.negative, &other.negative),
        ] {
            for (to, from) in to.iter_mut().zip(from) {
                *to += from;
            }
        }
    }

    /// Doubles the bins' width until a value of this size fits.
    fn make_room(&mut self, size: f32) {
        while size >= self.width * BINS as f32 {
            self.width *= 2.0;
            for side in [&mut self.positive, &mut self.negative] {
                for i in 0..BINS / 2 {
                    side[i] = side[2 * i] + side[2 * i + 1];
                }
                side[BINS / 2..].fill(0);
            }
        }
    }

    /// Least value, zero or below.
    pub fn min(&self) -> f32 {
        self.min
    }

    /// Greatest value, zero or above.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// The middle of each bin that holds anything, in ascending order, and how many values it
    /// holds. Zeros are left out: every scale represents them.
    pub fn bins(&self) -> Vec<(f64, f64)> {
        let width = f64::from(self.width);
        let of_side = |side: &[u64], sign: f64| -> Vec<(f64, f64)> {
            let counts = side.iter().enumerate().filter(|(_, count)| **count > 0);
            counts
                .map(|(i, count)| (sign * (i as f64 + 0.5) * width, *count as f64))
                .collect()
        };
        let mut bins = of_side(&self.negative, -1.0);
        bins.reverse();
        bins.extend(of_side(&self.positive, 1.0));
        bins
    }
}

/// Which pixels of its input a convolution's output pixels read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Channels, rows and columns of the input.
    pub input: [usize; 3],
    /// Rows and columns of the output.
    pub output: [usize; 2],
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Steps between output pixels.
    pub stride: [usize; 2],
    /// Steps between taps.
    pub dilation: [usize; 2],
    /// Padding above and on the left.
    pub pad: [usize; 2],
}

impl Geometry {
    /// Number of output pixels.
    pub fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Number of sums: one for each channel and tap.
    pub fn taps(&self) -> usize {
        self.input[0] * self.kernel[0] * self.kernel[1]
    }

    /// Adds to each `[channel][row][column]` of `sums` what this tap reads, over all output pixels;
    /// `to` gives what a value counts. Pixels outside of the input count nothing.
    pub fn add_sums<T: Copy, S: AddAssign + Default>(
        &self,
        values: &[T],
        sums: &mut [S],
        to: impl Fn(T) -> S,
    ) {
        let [_, rows, columns] = self.input;
        let [kernel_h, kernel_w] = self.kernel;
        let plane = (rows * columns).max(1);
        for (values, sums) in values
            .chunks_exact(plane)
            .zip(sums.chunks_exact_mut((kernel_h * kernel_w).max(1)))
        {
            for (tap, sum) in sums.iter_mut().enumerate() {
                let (tap_y, tap_x) = (tap / kernel_w, tap % kernel_w);
                for y in self.inside(0, tap_y, rows) {
                    let row = &values[y * columns..(y + 1) * columns];
                    let mut of_row = S::default();
                    for x in self.inside(1, tap_x, columns) {
                        of_row += to(row[x]);
                    }
                    *sum += of_row;
                }
            }
        }
    }

    /// Positions along an axis that a tap reads, of those inside of the input.
    fn inside(&self, axis: usize, tap: usize, size: usize) -> impl Iterator<Item = usize> {
        let (stride, pad) = (self.stride[axis].max(1), self.pad[axis]);
        let at = tap * self.dilation[axis];
        // The first output pixel whose tap is not in the padding.
        let first = pad.saturating_sub(at).div_ceil(stride);
        let count = self.output[axis];
        let start = (first * stride + at).saturating_sub(pad);
        let left = count.saturating_sub(first);
        (start..size).step_by(stride).take(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_do_not_depend_on_the_order() {
        let values: Vec<f32> = (0..5000)
            .map(|i: i32| (i * 7919 % 997 - 300) as f32 / 100.0)
            .collect();
        let mut whole = Histogram::default();
        whole.add(&values).expect("finite");
        let mut parts = Histogram::default();
        let (small, large): (Vec<f32>, Vec<f32>) = values.iter().partition(|v| v.abs() < 0.5);
        parts.add(&small).expect("finite");
        let mut rest = Histogram::default();
        rest.add(&large).expect("finite");
        parts.merge(&rest);
        assert_eq!(whole.bins(), parts.bins());
        assert_eq!((whole.min(), whole.max()), (-3.0, 6.96));
        let counted: f64 = whole.bins().iter().map(|(_, count)| count).sum();
        assert_eq!(counted as u64 + whole.zeros, 5000);
        assert!(whole.width <= 6.96 / (BINS / 2) as f32);
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Histogram::default().add(&[0.5, bad]).is_err());
        }
        let mut histogram = Histogram::default();
        histogram
            .add(&[f32::MAX, f32::MIN_POSITIVE])
            .expect("finite");
        assert_eq!(histogram.bins().len(), 2);
    }

    #[test]
    fn sums_of_taps_are_what_a_convolution_reads() {
        for (stride, dilation, pad, kernel) in [
            ([1, 1], [1, 1], [1, 1], [3, 3]),
            ([2, 1], [1, 2], [0, 2], [3, 2]),
            ([3, 2], [2, 1], [4, 0], [2, 5]),
        ] {
            let input = [2, 7, 9];
            let output = [0, 1].map(|axis| {
                let reach = (kernel[axis] - 1) * dilation[axis] + 1;
                (input[axis + 1] + 2 * pad[axis] - reach) / stride[axis] + 1
            });
            let geometry = Geometry {
                input,
                output,
                kernel,
                stride,
                dilation,
                pad,
            };
            let values: Vec<i64> = (0..2 * 7 * 9).map(|i| i * i % 31).collect();
            let mut sums = vec![0_i64; geometry.taps()];
            geometry.add_sums(&values, &mut sums, |v| v);
            let mut expected = vec![0_i64; geometry.taps()];
            for c in 0..2 {
                for (y, x) in (0..output[0]).flat_map(|y| (0..output[1]).map(move |x| (y, x))) {
                    for (ky, kx) in (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x)))
                    {
                        let iy = (y * stride[0] + ky * dilation[0]).wrapping_sub(pad[0]);
                        let ix = (x * stride[1] + kx * dilation[1]).wrapping_sub(pad[1]);
                        if iy < 7 && ix < 9 {
                            expected[(c * kernel[0] + ky) * kernel[1] + kx] +=
                                values[(c * 7 + iy) * 9 + ix];
                        }
                    }
                }
            }
            assert_eq!(sums, expected);
        }
    }
}
