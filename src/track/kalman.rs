//! Where a box will be: a Kalman filter with constant velocity over centre, width and height.
//!
//! The state is `[cx, cy, w, h]` with their velocities. As neither motion, noise nor measurement
//! mixes them, the 8x8 filter falls apart into four of 2x2; a test holds it to the dense one. Noise
//! is in parts of the box's height, as in SORT (Bewley et al., 2016) and its successors; motion
//! noise is white acceleration over the true time step (Bar-Shalom et al., 2001, section 6.2.2).

use mobilens_image::{RectPx, Similarity};

/// Standard deviation of a detector's edges, in box heights.
const MEASURED: f64 = 0.05;
/// Spectral density of a centre's acceleration, in box heights a second^1.5, squared.
const CENTRE_ACCELERATION: f64 = 0.8 * 0.8;
/// The same of width and height.
const SIZE_ACCELERATION: f64 = 0.2 * 0.2;
/// How fast it is forgotten how large a box was, a second.
const SHRINKS: f64 = 0.25;
/// Standard deviation of the first velocity, in box heights a second: a runner, a car.
const FIRST_VELOCITY: f64 = 2.0;

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
            xx: (MEASURED * height).powi(2),
            xv: 0.0,
            vv: (FIRST_VELOCITY * height).powi(2),
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
        let surprise = z - self.x;
        self.x += gain_x * surprise;
        self.v += gain_v * surprise;
        self.vv -= gain_v * self.xv;
        self.xv -= gain_x * self.xv;
        self.xx -= gain_x * self.xx;
    }

    /// Turns a velocity away: it stands still.
    fn rest(&mut self) {
        self.v = 0.0;
    }
}

/// Where a box is and how it moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxMotion {
    /// Centre column and row, width, height.
    axes: [Axis; 4],
    /// Width and height when it was last seen whole, shrinking slowly.
    whole: [f64; 2],
}

impl BoxMotion {
    /// A box that was seen for the first time.
    pub fn new(rect: &RectPx) -> Self {
        let z = measured(rect);
        Self {
            axes: z.map(|z| Axis::new(z, f64::from(rect.height).max(1.0))),
            whole: [z[2], z[3]],
        }
    }

    /// Goes `dt_s` seconds on.
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
        let shrinks = (-SHRINKS * dt_s).exp();
        self.whole = self.whole.map(|side| side * shrinks);
    }

    /// Takes in where it was seen.
    pub fn correct(&mut self, rect: &RectPx) {
        let z = measured(rect);
        let noise = self.noise(&z);
        for ((axis, z), variance) in self.axes.iter_mut().zip(z).zip(noise) {
            axis.correct(z, variance);
        }
        self.whole = [self.whole[0].max(z[2]), self.whole[1].max(z[3])];
    }

    /// Variances of a measurement. Of a box that is narrower than it was, a part is hidden, and its
    /// centre may be off by half of that.
    fn noise(&self, z: &[f64; 4]) -> [f64; 4] {
        let of_edges = (MEASURED * self.height()).powi(2);
        let hidden = |i: usize| ((self.whole[i] - z[i + 2]).max(0.0) / 2.0).powi(2);
        [
            of_edges + hidden(0),
            of_edges + hidden(1),
            of_edges,
            of_edges,
        ]
    }

    /// Keeps its size, which nobody sees now; where it goes is another matter.
    pub fn keep_size(&mut self) {
        self.axes[2..].iter_mut().for_each(Axis::rest);
    }

    /// Stops where it is.
    pub fn rest(&mut self) {
        self.axes.iter_mut().for_each(Axis::rest);
    }

    /// Goes along with the camera: `now_from_before` takes places of the last frame to this one.
    /// Covariances are scaled; that a rotation mixes those of columns and rows is left aside.
    pub fn follow(&mut self, now_from_before: &Similarity) {
        let [x, y, w, h] = &mut self.axes;
        [x.x, y.x] = now_from_before.point([x.x, y.x]);
        [x.v, y.v] = now_from_before.vector([x.v, y.v]);
        let scale = now_from_before.scale();
        self.whole = self.whole.map(|side| side * scale);
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

    /// Squared distance of a box's centre from where it is expected, in standard deviations.
    pub fn distance_squared(&self, rect: &RectPx) -> f64 {
        let variance = (MEASURED * self.height()).powi(2);
        let centre = self.axes[..2].iter().zip(measured(rect));
        centre
            .map(|(axis, z)| (z - axis.x).powi(2) / (axis.xx + variance))
            .sum()
    }

    /// The box.
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

fn measured(rect: &RectPx) -> [f64; 4] {
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

    fn product(a: &Matrix, b: &Matrix) -> Matrix {
        let cell = |i: usize, j: usize| (0..8).map(|k| a[i][k] * b[k][j]).sum();
        std::array::from_fn(|i| std::array::from_fn(|j| cell(i, j)))
    }

    fn transposed(a: &Matrix) -> Matrix {
        std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
    }

    /// The filter as textbooks have it, measurements taken in one after another (which is the same
    /// where their noises are independent).
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
            self.p = product(&product(&f, &self.p), &transposed(&f));
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
                let surprise = z - self.x[m];
                let p = self.p;
                for i in 0..8 {
                    self.x[i] += gain[i] * surprise;
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
            let mut fast = BoxMotion::new(&first);
            let mut dense = Dense { x: [0.0; 8], p: [[0.0; 8]; 8] };
            for i in 0..4 {
                dense.x[i] = measured(&first)[i];
                dense.p[i][i] = fast.axes[i].xx;
                dense.p[i + 4][i + 4] = fast.axes[i].vv;
            }
            for (dt, seen, x, y, w, h) in steps {
                fast.predict(dt);
                dense.predict(dt);
                if seen {
                    let z = measured(&rect(x, y, w, h));
                    dense.correct(z, fast.noise(&z));
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
    fn a_steady_walk_is_foreseen() {
        let at = |t: f64| RectPx {
            x: (t * 60.0) as f32,
            y: 10.0,
            width: 20.0,
            height: 50.0,
        };
        let mut motion = BoxMotion::new(&at(0.0));
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
