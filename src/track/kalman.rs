//! Kalman filter of a box: constant velocity over centre, width and height.
//!
//! The state is `[cx, cy, w, h]` with their velocities. As neither motion, noise nor measurement
//! couples them, the 8x8 filter separates into four 2x2 ones; a test compares it with the dense one.
//! Noise is relative to the box's height, as in SORT (Bewley et al., 2016) and its successors; process
//! noise is white acceleration over the true time step (Bar-Shalom et al., 2001, section 6.2.2).

use mobilens_image::{RectPx, Similarity};

/// Standard deviation of the measurement, in box heights.
const MEASUREMENT_STD: f64 = 0.05;
/// Spectral density of the centre's acceleration, in box heights per second^1.5, squared.
const CENTRE_ACCELERATION: f64 = 0.8 * 0.8;
/// The same for width and height.
const SIZE_ACCELERATION: f64 = 0.2 * 0.2;
/// Decay rate of the remembered full size, per second.
const FULL_SIZE_DECAY: f64 = 0.25;
/// Standard deviation of the initial velocity, in box heights per second: a runner, a car.
const INITIAL_VELOCITY_STD: f64 = 2.0;

/// One coordinate with its velocity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Axis {
    x: f64,
    v: f64,
    xx: f64,
    xv: f64,
    vv: f64,
}

impl Axis {
    fn new(x: f64, height: f64) -> Self {
        Self {
            x,
            v: 0.0,
            xx: (MEASUREMENT_STD * height).powi(2),
            xv: 0.0,
            vv: (INITIAL_VELOCITY_STD * height).powi(2),
        }
    }

    fn predict(&mut self, dt: f64, acceleration: f64) {
        self.x += self.v * dt;
        self.xx += 2.0 * dt * self.xv + dt * dt * self.vv + acceleration * dt.powi(3) / 3.0;
        self.xv += dt * self.vv + acceleration * dt * dt / 2.0;
        self.vv += acceleration * dt;
    }

    fn correct(&mut self, z: f64, variance: f64) {
        let s = self.xx + variance;
        let (gain_x, gain_v) = (self.xx / s, self.xv / s);
        let innovation = z - self.x;
        self.x += gain_x * innovation;
        self.v += gain_v * innovation;
        self.vv -= gain_v * self.xv;
        self.xv -= gain_x * self.xv;
        self.xx -= gain_x * self.xx;
    }

    /// Sets the velocity to zero.
    fn zero_velocity(&mut self) {
        self.v = 0.0;
    }
}

/// Kalman filter of a box's position, size and velocity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxKalmanFilter {
    /// Centre column and row, width, height.
    axes: [Axis; 4],
    /// Greatest recent width and height, decaying slowly.
    full_size: [f64; 2],
}

impl BoxKalmanFilter {
    /// A filter initialised with the first measurement.
    pub fn new(rect: &RectPx) -> Self {
        let z = measurement_of(rect);
        Self {
            axes: z.map(|z| Axis::new(z, f64::from(rect.height).max(1.0))),
            full_size: [z[2], z[3]],
        }
    }

    /// Predicts the state `dt_s` seconds ahead.
    pub fn predict(&mut self, dt_s: f64) {
        let height = self.height();
        let [x, y, w, h] = &mut self.axes;
        for (axis, density) in [
            (x, CENTRE_ACCELERATION),
            (y, CENTRE_ACCELERATION),
            (w, SIZE_ACCELERATION),
            (h, SIZE_ACCELERATION),
        ] {
            axis.predict(dt_s, density * height * height);
        }
        let decay = (-FULL_SIZE_DECAY * dt_s).exp();
        self.full_size = self.full_size.map(|side| side * decay);
    }

    /// Corrects the state with a measured box.
    pub fn correct(&mut self, rect: &RectPx) {
        self.correct_with(rect, 1.0);
    }

    /// The same with a box whose variance is `variance` times that of a measured one.
    pub fn correct_with(&mut self, rect: &RectPx, variance: f64) {
        let z = measurement_of(rect);
        let noise = self.noise(&z, variance);
        for ((axis, z), variance) in self.axes.iter_mut().zip(z).zip(noise) {
            axis.correct(z, variance);
        }
        self.full_size = [self.full_size[0].max(z[2]), self.full_size[1].max(z[3])];
    }

    /// Measurement variances. A box smaller than the full size is taken as partly occluded, so that its
    /// centre may be off by half of the missing part.
    fn noise(&self, z: &[f64; 4], variance: f64) -> [f64; 4] {
        let base = (MEASUREMENT_STD * self.height()).powi(2) * variance;
        let occluded = |i: usize| ((self.full_size[i] - z[i + 2]).max(0.0) / 2.0).powi(2);
        [base + occluded(0), base + occluded(1), base, base]
    }

    /// Sets the velocity of width and height to zero, for a box that is not observed.
    pub fn freeze_size(&mut self) {
        self.axes[2..].iter_mut().for_each(Axis::zero_velocity);
    }

    /// Sets all velocities to zero.
    pub fn zero_velocity(&mut self) {
        self.axes.iter_mut().for_each(Axis::zero_velocity);
    }

    /// Compensates for camera motion: `now_from_before` is the transform from the last frame to this one.
    /// Covariances are scaled; the coupling of columns and rows by a rotation is neglected.
    pub fn compensate_camera_motion(&mut self, now_from_before: &Similarity) {
        let [x, y, w, h] = &mut self.axes;
        [x.x, y.x] = now_from_before.point([x.x, y.x]);
        [x.v, y.v] = now_from_before.vector([x.v, y.v]);
        let scale = now_from_before.scale();
        self.full_size = self.full_size.map(|side| side * scale);
        for axis in [w, h] {
            axis.x *= scale;
            axis.v *= scale;
        }
        for axis in &mut self.axes {
            axis.xx *= scale * scale;
            axis.xv *= scale * scale;
            axis.vv *= scale * scale;
        }
    }

    /// Squared Mahalanobis distance of a box's centre from the predicted one.
    pub fn mahalanobis_squared(&self, rect: &RectPx) -> f64 {
        let variance = (MEASUREMENT_STD * self.height()).powi(2);
        let centre = self.axes[..2].iter().zip(measurement_of(rect));
        centre
            .map(|(axis, z)| (z - axis.x).powi(2) / (axis.xx + variance))
            .sum()
    }

    /// The estimated box.
    pub fn rect(&self) -> RectPx {
        let [x, y, w, h] = self.axes.map(|axis| axis.x);
        let (w, h) = (w.max(1.0), h.max(1.0));
        RectPx {
            x: (x - w / 2.0) as f32,
            y: (y - h / 2.0) as f32,
            width: w as f32,
            height: h as f32,
        }
    }

    fn height(&self) -> f64 {
        self.axes[3].x.max(1.0)
    }
}

/// Centre of a box, in pixels.
pub(super) fn centre_of(rect: &RectPx) -> [f64; 2] {
    let [x, y, ..] = measurement_of(rect);
    [x, y]
}

fn measurement_of(rect: &RectPx) -> [f64; 4] {
    let [x, y, w, h] = [rect.x, rect.y, rect.width, rect.height].map(f64::from);
    [x + w / 2.0, y + h / 2.0, w, h]
}

#[cfg(test)]
#[allow(
    clippy::needless_range_loop,
    reason = "matrices are written as textbooks have them"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Matrix = [[f64; 8]; 8];

    fn matmul(a: &Matrix, b: &Matrix) -> Matrix {
        let cell = |i: usize, j: usize| (0..8).map(|k| a[i][k] * b[k][j]).sum();
        std::array::from_fn(|i| std::array::from_fn(|j| cell(i, j)))
    }

    fn transposed(a: &Matrix) -> Matrix {
        std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
    }

    /// The textbook filter with dense matrices and sequential measurement updates (equivalent for
    /// independent measurement noise).
    struct Dense {
        x: [f64; 8],
        p: Matrix,
    }

    impl Dense {
        fn predict(&mut self, dt: f64) {
            let mut f: Matrix = [[0.0; 8]; 8];
            let mut q: Matrix = [[0.0; 8]; 8];
            let height = self.x[3].max(1.0);
            for i in 0..4 {
                f[i][i] = 1.0;
                f[i + 4][i + 4] = 1.0;
                f[i][i + 4] = dt;
                let density = [CENTRE_ACCELERATION, SIZE_ACCELERATION][i / 2] * height * height;
                q[i][i] = density * dt * dt * dt / 3.0;
                q[i][i + 4] = density * dt * dt / 2.0;
                q[i + 4][i] = q[i][i + 4];
                q[i + 4][i + 4] = density * dt;
            }
            let x = self.x;
            self.x = std::array::from_fn(|i| (0..8).map(|k| f[i][k] * x[k]).sum());
            self.p = matmul(&matmul(&f, &self.p), &transposed(&f));
            for i in 0..8 {
                for j in 0..8 {
                    self.p[i][j] += q[i][j];
                }
            }
        }

        fn correct(&mut self, z: [f64; 4], noise: [f64; 4]) {
            for (m, z) in z.into_iter().enumerate() {
                let s = self.p[m][m] + noise[m];
                let gain: [f64; 8] = std::array::from_fn(|i| self.p[i][m] / s);
                let innovation = z - self.x[m];
                let p = self.p;
                for i in 0..8 {
                    self.x[i] += gain[i] * innovation;
                    for j in 0..8 {
                        self.p[i][j] -= gain[i] * p[m][j];
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn equals_the_dense_filter(
            steps in prop::collection::vec(
                (0.01_f64..1.0, any::<bool>(), 0.0_f32..500.0, 0.0_f32..500.0, 5.0_f32..90.0, 5.0_f32..90.0),
                1..20,
            ),
        ) {
            let rect = |x, y, width, height| RectPx { x, y, width, height };
            let first = rect(steps[0].2, steps[0].3, steps[0].4, steps[0].5);
            let mut fast = BoxKalmanFilter::new(&first);
            let mut dense = Dense { x: [0.0; 8], p: [[0.0; 8]; 8] };
            for i in 0..4 {
                dense.x[i] = measurement_of(&first)[i];
                dense.p[i][i] = fast.axes[i].xx;
                dense.p[i + 4][i + 4] = fast.axes[i].vv;
            }
            for (dt, seen, x, y, w, h) in steps {
                fast.predict(dt);
                dense.predict(dt);
                if seen {
                    let z = measurement_of(&rect(x, y, w, h));
                    dense.correct(z, fast.noise(&z, 1.0));
                    fast.correct(&rect(x, y, w, h));
                }
                for i in 0..4 {
                    let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * (1.0 + b.abs());
                    prop_assert!(near(fast.axes[i].x, dense.x[i]), "place {i}");
                    prop_assert!(near(fast.axes[i].v, dense.x[i + 4]), "velocity {i}");
                    prop_assert!(near(fast.axes[i].xx, dense.p[i][i]), "its variance {i}");
                    prop_assert!(near(fast.axes[i].xv, dense.p[i][i + 4]), "covariance {i}");
                }
            }
        }
    }

    #[test]
    fn constant_velocity_is_predicted() {
        let at = |t: f64| RectPx {
            x: (t * 60.0) as f32,
            y: 10.0,
            width: 20.0,
            height: 50.0,
        };
        let mut motion = BoxKalmanFilter::new(&at(0.0));
        for i in 1..30 {
            // Uneven steps, as from a camera that drops frames.
            let (t, before) = (f64::from(i * i) * 0.01, f64::from((i - 1) * (i - 1)) * 0.01);
            motion.predict(t - before);
            motion.correct(&at(t));
        }
        motion.predict(1.0);
        let ahead = motion.rect().x - at(29.0 * 29.0 * 0.01 + 1.0).x;
        assert!(ahead.abs() < 2.0, "{ahead} px off after a second");
    }
}
