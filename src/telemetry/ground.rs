//! Where on the ground a pixel lies, if the ground is flat.
//!
//! A ray goes from the camera through the pixel until it meets a level plane, `height_m` below. The
//! way there, north and east in metres, becomes degrees with the radii of curvature of the WGS 84
//! ellipsoid (NGA STND.0036, 2014, table 3.1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::log::Telemetry;
use mobilens_image::SizePx;

/// A ray less steep than this meets the ground too far away to say where.
const MIN_DEPRESSION_DEG: f64 = 3.0;
/// WGS 84: the equator's radius in metres and the first eccentricity squared.
const EQUATOR_M: f64 = 6_378_137.0;
const ECCENTRICITY_2: f64 = 6.694_379_990_14e-3;

/// A place on the ground.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeoPoint {
    /// Degrees north, WGS 84, to seven decimals.
    pub latitude: f64,
    /// Degrees east, to seven decimals.
    pub longitude: f64,
}

/// What is known of the camera beside its telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Locator {
    /// Degrees from the picture's left to its right edge.
    pub hfov_deg: f64,
    /// Metres above the ground, where telemetry does not say.
    pub height_m: Option<f64>,
    /// The gimbal's pitch, where telemetry does not say.
    pub gimbal_pitch_deg: Option<f64>,
    /// The camera's heading, where telemetry does not say.
    pub gimbal_yaw_deg: Option<f64>,
}

impl Locator {
    /// The place on flat ground that is seen at `pixel` of a picture of `size`, lens distortion
    /// left aside; `None` if something is not known, or the pixel looks at or near the sky.
    pub fn locate(&self, seen_from: &Telemetry, size: SizePx, pixel: [f64; 2]) -> Option<GeoPoint> {
        let (latitude, longitude) = (seen_from.latitude?, seen_from.longitude?);
        let height = seen_from.height_m.or(self.height_m).filter(|h| *h > 0.0)?;
        let pitch = seen_from.gimbal_pitch_deg.or(self.gimbal_pitch_deg)?;
        let yaw = seen_from.gimbal_yaw_deg.or(self.gimbal_yaw_deg)?;
        let roll = seen_from.gimbal_roll_deg.unwrap_or(0.0);
        let [north, east, down] = self.ray(size, pixel, [pitch, roll, yaw]);
        if down < MIN_DEPRESSION_DEG.to_radians().sin() {
            return None;
        }
        let (north_m, east_m) = (height * north / down, height * east / down);
        let (sin, cos) = latitude.to_radians().sin_cos();
        let bulge = 1.0 - ECCENTRICITY_2 * sin * sin;
        let along_meridian = EQUATOR_M * (1.0 - ECCENTRICITY_2) / bulge.powf(1.5);
        let along_parallel = EQUATOR_M / bulge.sqrt() * cos.max(1e-9);
        let rounded = |degrees: f64| (degrees * 1e7).round() / 1e7;
        Some(GeoPoint {
            latitude: rounded(latitude + (north_m / along_meridian).to_degrees()),
            longitude: rounded(longitude + (east_m / along_parallel).to_degrees()),
        })
    }

    /// Unit vector north, east, down through a pixel.
    fn ray(&self, size: SizePx, [x, y]: [f64; 2], angles_deg: [f64; 3]) -> [f64; 3] {
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let focal_px = width / 2.0 / (self.hfov_deg.to_radians() / 2.0).tan();
        let (right, below) = ((x - width / 2.0) / focal_px, (y - height / 2.0) / focal_px);
        let [pitch, roll, yaw] = angles_deg.map(|angle| angle.to_radians().sin_cos());
        // About the lens, then up and down, then about the vertical.
        let (right, below) = (
            right * roll.1 - below * roll.0,
            right * roll.0 + below * roll.1,
        );
        let forward = pitch.1 + below * pitch.0;
        let down = below * pitch.1 - pitch.0;
        let (north, east) = (
            forward * yaw.1 - right * yaw.0,
            forward * yaw.0 + right * yaw.1,
        );
        let length = (north * north + east * east + down * down).sqrt();
        [north, east, down].map(|part| part / length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: SizePx = SizePx {
        width: 1000,
        height: 600,
    };

    fn camera(pitch: f64, yaw: f64) -> (Locator, Telemetry) {
        let locator = Locator {
            hfov_deg: 90.0,
            ..Locator::default()
        };
        let telemetry = Telemetry {
            latitude: Some(0.0),
            longitude: Some(10.0),
            height_m: Some(100.0),
            gimbal_pitch_deg: Some(pitch),
            gimbal_yaw_deg: Some(yaw),
            ..Telemetry::default()
        };
        (locator, telemetry)
    }

    /// Metres north and east of the drone.
    fn metres(pitch: f64, yaw: f64, pixel: [f64; 2]) -> Option<(f64, f64)> {
        let (locator, telemetry) = camera(pitch, yaw);
        let at = locator.locate(&telemetry, SIZE, pixel)?;
        // A degree on the equator: 110574 m along the meridian, 111320 m along the equator.
        Some((at.latitude * 110_574.0, (at.longitude - 10.0) * 111_320.0))
    }

    fn assert_near(got: Option<(f64, f64)>, want: (f64, f64)) {
        let got = got.expect("on the ground");
        let off = (got.0 - want.0).hypot(got.1 - want.1);
        assert!(off < 0.05, "{got:?}, not {want:?}");
    }

    #[test]
    fn straight_down_the_middle_is_below_and_the_upper_edge_is_ahead() {
        assert_near(metres(-90.0, 0.0, [500.0, 300.0]), (0.0, 0.0));
        // 300 of 500 pixels focal length, 100 m up.
        assert_near(metres(-90.0, 0.0, [500.0, 0.0]), (60.0, 0.0));
        assert_near(metres(-90.0, 90.0, [500.0, 0.0]), (0.0, 60.0));
        assert_near(metres(-90.0, 90.0, [1000.0, 300.0]), (-100.0, 0.0));
    }

    #[test]
    fn half_way_down_the_middle_is_as_far_ahead_as_below() {
        assert_near(metres(-45.0, 0.0, [500.0, 300.0]), (100.0, 0.0));
        assert_near(metres(-45.0, 180.0, [500.0, 300.0]), (-100.0, 0.0));
        // To the right by the slant range times x / f.
        let right = 100.0 * 2.0_f64.sqrt() * 0.5;
        assert_near(metres(-45.0, 0.0, [750.0, 300.0]), (100.0, right));
    }

    #[test]
    fn the_sky_and_what_is_not_known_have_no_place() {
        assert_eq!(metres(0.0, 0.0, [500.0, 100.0]), None);
        assert_eq!(metres(-2.0, 0.0, [500.0, 300.0]), None, "the horizon");
        let (locator, telemetry) = camera(-45.0, 0.0);
        for unknown in [
            Telemetry {
                latitude: None,
                ..telemetry
            },
            Telemetry {
                height_m: None,
                ..telemetry
            },
            Telemetry {
                height_m: Some(-1.0),
                ..telemetry
            },
            Telemetry {
                gimbal_pitch_deg: None,
                ..telemetry
            },
            Telemetry {
                gimbal_yaw_deg: None,
                ..telemetry
            },
        ] {
            assert_eq!(locator.locate(&unknown, SIZE, [500.0, 300.0]), None);
        }
    }
}
