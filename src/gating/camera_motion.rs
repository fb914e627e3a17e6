//! Camera motion between two frames (global motion estimation).
//!
//! Corners (Shi and Tomasi, CVPR 1994), at most one per grid cell, are tracked from plane to plane by
//! pyramidal Lucas-Kanade (Bouguet, 2000); a similarity transform is fitted by RANSAC (Fischler and
//! Bolles, 1981) with a fixed random sequence, then by least squares over the inliers. Objects that
//! move by themselves are outliers.

use super::LumaPlane;
use mobilens_image::{Image, Similarity};

/// Columns of the luma plane.
const WIDTH: usize = 320;
/// Side of a grid cell, which gives at most one corner.
const CELL: usize = 16;
/// Half the side of the window around a corner.
const RADIUS: isize = 4;
/// Pyramid levels: motion of up to about 2^LEVELS * RADIUS values is tracked.
const LEVELS: usize = 3;
/// Least eigenvalue of the structure tensor, per value of the window, of a corner.
const MIN_EIGENVALUE: f32 = 30.0;
/// RANSAC iterations.
const ITERATIONS: usize = 100;
/// Largest reprojection error of an inlier, in values of the plane.
const INLIER_ERROR: f64 = 1.0;
/// Least number of inliers.
const MIN_INLIERS: usize = 8;

/// Estimates the camera's motion from frame to frame.
#[derive(Clone, Debug, Default)]
pub struct CameraMotion {
    before: Vec<LumaPlane>,
    now: Vec<LumaPlane>,
}

impl CameraMotion {
    /// Processes the next frame; the transform from the previous frame to it, in pixels. `None` for the
    /// first frame, and with too few inliers (a cut, water, fog).
    pub fn next(&mut self, image: &Image) -> Option<Similarity> {
        std::mem::swap(&mut self.before, &mut self.now);
        self.now.resize(LEVELS, LumaPlane::default());
        self.now[0].fill(image, WIDTH);
        for level in 1..LEVELS {
            self.now[level] = downsampled(&self.now[level - 1]);
        }
        let (before, now) = (self.before.first()?, &self.now[0]);
        if (before.width, before.height) != (now.width, now.height) {
            return None;
        }
        let pairs: Vec<_> = corners(before)
            .into_iter()
            .filter_map(|at| Some((at, self.track_corner(at)?)))
            .collect();
        let fit = fit(&pairs)?;
        // From plane to pixel coordinates: the centre of value 0 is half a square in.
        let step = now.step as f64;
        let [x, y] = fit.vector([0.5, 0.5]);
        Some(Similarity {
            x: step * (fit.x + 0.5 - x),
            y: step * (fit.y + 0.5 - y),
            ..fit
        })
    }

    /// Position in this frame of a corner of the previous one.
    fn track_corner(&self, [x, y]: [f64; 2]) -> Option<[f64; 2]> {
        let (mut dx, mut dy) = (0.0_f32, 0.0_f32);
        for level in (0..LEVELS).rev() {
            let scale = (1 << level) as f32;
            let (before, now) = (&self.before[level], &self.now[level]);
            let (px, py) = (x as f32 / scale, y as f32 / scale);
            (dx, dy) = (dx * 2.0, dy * 2.0);
            if level + 1 == LEVELS {
                (dx, dy) = (0.0, 0.0);
            }
            let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
            let mut window = Vec::with_capacity(((2 * RADIUS + 1) * (2 * RADIUS + 1)) as usize);
            for oy in -RADIUS..=RADIUS {
                for ox in -RADIUS..=RADIUS {
                    let (wx, wy) = (px + ox as f32, py + oy as f32);
                    let gx = (sample(before, wx + 1.0, wy) - sample(before, wx - 1.0, wy)) / 2.0;
                    let gy = (sample(before, wx, wy + 1.0) - sample(before, wx, wy - 1.0)) / 2.0;
                    (xx, xy, yy) = (xx + gx * gx, xy + gx * gy, yy + gy * gy);
                    window.push((ox as f32, oy as f32, sample(before, wx, wy), gx, gy));
                }
            }
            let determinant = xx * yy - xy * xy;
            if determinant < 1.0 {
                return None;
            }
            for _ in 0..8 {
                let (mut bx, mut by) = (0.0, 0.0);
                for (ox, oy, value, gx, gy) in &window {
                    let error = value - sample(now, px + ox + dx, py + oy + dy);
                    (bx, by) = (bx + error * gx, by + error * gy);
                }
                let (sx, sy) = (
                    (yy * bx - xy * by) / determinant,
                    (xx * by - xy * bx) / determinant,
                );
                (dx, dy) = (dx + sx, dy + sy);
                if sx.hypot(sy) < 0.01 {
                    break;
                }
            }
        }
        let (nx, ny) = (x + f64::from(dx), y + f64::from(dy));
        let now = &self.now[0];
        let is_inside = |v: f64, n: usize| v >= 0.0 && v <= (n - 1) as f64;
        (is_inside(nx, now.width) && is_inside(ny, now.height)).then_some([nx, ny])
    }
}

/// The next pyramid level: half as many columns and rows.
fn downsampled(plane: &LumaPlane) -> LumaPlane {
    let (width, height) = ((plane.width / 2).max(1), (plane.height / 2).max(1));
    let at = |x: usize, y: usize| {
        let (x, y) = (x.min(plane.width - 1), y.min(plane.height - 1));
        u32::from(plane.data[y * plane.width + x])
    };
    let mean = |x: usize, y: usize| {
        let sum = at(2 * x, 2 * y) + at(2 * x + 1, 2 * y) + at(2 * x, 2 * y + 1);
        ((sum + at(2 * x + 1, 2 * y + 1) + 2) / 4) as u8
    };
    LumaPlane {
        width,
        height,
        step: plane.step * 2,
        data: (0..width * height)
            .map(|i| mean(i % width, i / width))
            .collect(),
    }
}

/// Bilinear interpolation; coordinates outside are clamped to the edge.
fn sample(plane: &LumaPlane, x: f32, y: f32) -> f32 {
    let x = x.clamp(0.0, (plane.width - 1) as f32);
    let y = y.clamp(0.0, (plane.height - 1) as f32);
    let (x0, y0) = (x as usize, y as usize);
    let (x1, y1) = (
        (x0 + 1).min(plane.width - 1),
        (y0 + 1).min(plane.height - 1),
    );
    let (fx, fy) = (x - x0 as f32, y - y0 as f32);
    let at = |x: usize, y: usize| f32::from(plane.data[y * plane.width + x]);
    let upper = at(x0, y0) + (at(x1, y0) - at(x0, y0)) * fx;
    let lower = at(x0, y1) + (at(x1, y1) - at(x0, y1)) * fx;
    upper + (lower - upper) * fy
}

/// The strongest corner of each cell.
fn corners(plane: &LumaPlane) -> Vec<[f64; 2]> {
    let margin = RADIUS as usize + 1;
    let mut corners = Vec::new();
    let gradient = |x: usize, y: usize| {
        let at = |x: usize, y: usize| f32::from(plane.data[y * plane.width + x]);
        (
            (at(x + 1, y) - at(x - 1, y)) / 2.0,
            (at(x, y + 1) - at(x, y - 1)) / 2.0,
        )
    };
    for cell_y in (margin..plane.height.saturating_sub(margin)).step_by(CELL) {
        for cell_x in (margin..plane.width.saturating_sub(margin)).step_by(CELL) {
            let mut best = (MIN_EIGENVALUE, None);
            for y in (cell_y..(cell_y + CELL).min(plane.height - margin)).step_by(2) {
                for x in (cell_x..(cell_x + CELL).min(plane.width - margin)).step_by(2) {
                    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
                    for wy in y - 2..=y + 2 {
                        for wx in x - 2..=x + 2 {
                            let (gx, gy) = gradient(wx, wy);
                            (xx, xy, yy) = (xx + gx * gx, xy + gx * gy, yy + gy * gy);
                        }
                    }
                    let half = (xx + yy) / 2.0;
                    let eigenvalue = (half - ((xx - yy) / 2.0).hypot(xy)) / 25.0;
                    if eigenvalue > best.0 {
                        best = (eigenvalue, Some([x as f64, y as f64]));
                    }
                }
            }
            corners.extend(best.1);
        }
    }
    corners
}

/// RANSAC: the similarity with the most inliers, refined by least squares.
fn fit(pairs: &[([f64; 2], [f64; 2])]) -> Option<Similarity> {
    if pairs.len() < MIN_INLIERS {
        return None;
    }
    let inliers_of = |fit: &Similarity| -> Vec<usize> {
        let error = |(from, to): &([f64; 2], [f64; 2])| {
            let [x, y] = fit.point(*from);
            (x - to[0]).hypot(y - to[1])
        };
        (0..pairs.len())
            .filter(|i| error(&pairs[*i]) < INLIER_ERROR)
            .collect()
    };
    let mut best: Vec<usize> = Vec::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % pairs.len()
    };
    for _ in 0..ITERATIONS {
        let two = [draw(), draw()];
        if let Some(fit) = least_squares(pairs, &two) {
            let inliers = inliers_of(&fit);
            if inliers.len() > best.len() {
                best = inliers;
            }
        }
    }
    for _ in 0..2 {
        best = inliers_of(&least_squares(pairs, &best)?);
    }
    let is_enough = best.len() >= MIN_INLIERS && best.len() * 3 >= pairs.len();
    is_enough.then(|| least_squares(pairs, &best)).flatten()
}

/// Least-squares similarity (Umeyama, 1991, in two dimensions).
fn least_squares(pairs: &[([f64; 2], [f64; 2])], chosen: &[usize]) -> Option<Similarity> {
    let n = chosen.len() as f64;
    let mean = |of: &dyn Fn(usize) -> f64| chosen.iter().map(|i| of(*i)).sum::<f64>() / n;
    let (fx, fy) = (mean(&|i| pairs[i].0[0]), mean(&|i| pairs[i].0[1]));
    let (tx, ty) = (mean(&|i| pairs[i].1[0]), mean(&|i| pairs[i].1[1]));
    let (mut a, mut b, mut square) = (0.0, 0.0, 0.0);
    for i in chosen {
        let ([x, y], [u, v]) = pairs[*i];
        let (x, y, u, v) = (x - fx, y - fy, u - tx, v - ty);
        a += x * u + y * v;
        b += x * v - y * u;
        square += x * x + y * y;
    }
    // Points too close together do not determine rotation and scale.
    if square.is_nan() || square <= 16.0 {
        return None;
    }
    let (a, b) = (a / square, b / square);
    Some(Similarity {
        a,
        b,
        x: tx - (a * fx - b * fy),
        y: ty - (b * fx + a * fy),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mobilens_image::{PixelFormat, SizePx, YuvColour};

    const SIZE: SizePx = SizePx {
        width: 640,
        height: 360,
    };

    /// Smooth texture, transformed by `camera`, with a block that moves independently.
    fn frame(camera: &Similarity, block: Option<f64>) -> Image {
        let back = camera.inverse().expect("a camera");
        let mut data = Vec::new();
        for y in 0..SIZE.height {
            for x in 0..SIZE.width {
                let [u, v] = back.point([f64::from(x) + 0.5, f64::from(y) + 0.5]);
                let mut value = 128.0
                    + 50.0 * (u * 0.11).sin() * (v * 0.13).cos()
                    + 40.0 * (u * 0.031 + v * 0.043).sin()
                    + 25.0 * (u * 0.23 - v * 0.19).cos();
                if block.is_some_and(|b| {
                    (b..b + 150.0).contains(&f64::from(x)) && (100..220).contains(&y)
                }) {
                    value = 128.0
                        + 90.0
                            * (f64::from(x) * 0.2 - block.unwrap_or(0.0) * 0.2).sin()
                            * (f64::from(y) * 0.15).cos();
                }
                data.extend([value.clamp(0.0, 255.0) as u8; 3]);
            }
        }
        Image::new(SIZE, PixelFormat::Rgb8, YuvColour::DEFAULT, data).expect("fits")
    }

    #[test]
    fn translation_rotation_and_scale_are_estimated() {
        let angle = 0.02_f64;
        let step = Similarity {
            a: 1.01 * angle.cos(),
            b: 1.01 * angle.sin(),
            x: 5.0,
            y: -3.5,
        };
        let mut motion = CameraMotion::default();
        let mut camera = Similarity::IDENTITY;
        assert_eq!(motion.next(&frame(&camera, Some(50.0))), None, "the first");
        for i in 1..4 {
            camera = camera.then(&step);
            let got = motion
                .next(&frame(&camera, Some(50.0 + 30.0 * f64::from(i))))
                .expect("estimated");
            for corner in [[0.0, 0.0], [640.0, 0.0], [0.0, 360.0], [640.0, 360.0]] {
                let (want, got) = (step.point(corner), got.point(corner));
                let off = (want[0] - got[0]).hypot(want[1] - got[1]);
                assert!(off < 1.0, "{off} px off at {corner:?}, frame {i}");
            }
        }
    }

    #[test]
    fn a_uniform_picture_gives_no_motion() {
        let mut motion = CameraMotion::default();
        let data = vec![90; PixelFormat::Rgb8.bytes(SIZE)];
        let fog = Image::new(SIZE, PixelFormat::Rgb8, YuvColour::DEFAULT, data).expect("fits");
        motion.next(&fog);
        assert_eq!(motion.next(&fog), None);
    }

    #[test]
    fn extreme_sizes_are_accepted() {
        for (width, height) in [(1, 1), (3, 2000), (2000, 3)] {
            let size = SizePx { width, height };
            let data = vec![7; PixelFormat::Rgb8.bytes(size)];
            let image =
                Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, data).expect("fits");
            let mut motion = CameraMotion::default();
            motion.next(&image);
            assert_eq!(motion.next(&image), None);
        }
    }
}
