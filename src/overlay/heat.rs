//! Heat map of tracks.

use image::{Rgb, RgbImage};
use imageproc::drawing::draw_antialiased_line_segment_mut;
use imageproc::pixelops::interpolate;

/// Accumulates positions and draws them as a heat map.
#[derive(Clone, Debug)]
pub struct HeatMap {
    width: usize,
    height: usize,
    /// Radius of the kernel in pixels.
    radius: usize,
    heat: Vec<f32>,
}

impl HeatMap {
    /// An empty map.
    pub fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        Self {
            width,
            height,
            radius: (width.max(height) / 60).max(2),
            heat: vec![0.0; width * height],
        }
    }

    /// Adds a position with a weight.
    pub fn add(&mut self, [x, y]: [f64; 2], weight: f32) {
        let reach = self.radius as isize;
        let (cx, cy) = (x.floor() as isize, y.floor() as isize);
        for dy in -reach..=reach {
            for dx in -reach..=reach {
                let (px, py) = (cx + dx, cy + dy);
                let inside_x = (0..self.width as isize).contains(&px);
                if !inside_x || !(0..self.height as isize).contains(&py) {
                    continue;
                }
                let square = (dx * dx + dy * dy) as f32 / (reach * reach) as f32;
                let warmth = (1.0 - square).max(0.0);
                self.heat[py as usize * self.width + px as usize] += weight * warmth * warmth;
            }
        }
    }

    /// Draws the heat over `ground`, which has the map's size: from blue over yellow to red, by its
    /// logarithm, so that a parked car does not outshine all that pass.
    pub fn draw_mut(&self, ground: &mut RgbImage) {
        let greatest = self.heat.iter().copied().fold(0.0, f32::max);
        if greatest <= 0.0 {
            return;
        }
        for (pixel, heat) in ground.pixels_mut().zip(&self.heat) {
            if *heat > 0.0 {
                let share = (1.0 + 99.0 * heat / greatest).ln() / 100.0_f32.ln();
                *pixel = interpolate(warm(share), *pixel, 0.25 + 0.6 * share);
            }
        }
    }
}

/// Draws a path.
pub fn draw_path_mut(picture: &mut RgbImage, way: &[[f64; 2]], colour: [u8; 3]) {
    for pair in way.windows(2) {
        let [from, to] = [pair[0], pair[1]].map(|[x, y]| (x.round() as i32, y.round() as i32));
        draw_antialiased_line_segment_mut(picture, from, to, Rgb(colour), interpolate);
    }
}

/// Blue, cyan, yellow, red.
fn warm(share: f32) -> Rgb<u8> {
    const STOPS: [[f32; 3]; 4] = [
        [30., 60., 200.],
        [0., 190., 200.],
        [250., 220., 40.],
        [230., 30., 20.],
    ];
    let at = share.clamp(0.0, 1.0) * 3.0;
    let i = (at as usize).min(2);
    let between = |c: usize| STOPS[i][c] + (STOPS[i + 1][c] - STOPS[i][c]) * (at - i as f32);
    Rgb([0, 1, 2].map(|c| between(c) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_warm_where_something_was_and_cold_elsewhere() {
        let mut map = HeatMap::new(100, 60);
        for _ in 0..9 {
            map.add([20.0, 30.0], 1.0);
        }
        map.add([-3.0, 59.0], 1.0);
        let mut picture = RgbImage::new(100, 60);
        map.draw_mut(&mut picture);
        let red = picture.get_pixel(20, 30);
        assert!(red[0] > 150 && red[2] < 60, "{red:?}");
        assert_eq!(*picture.get_pixel(80, 30), Rgb([0, 0, 0]));
    }
}
