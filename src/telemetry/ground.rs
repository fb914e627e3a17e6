//! Ground projection: the geographic position of a pixel, assuming flat ground.
//!
//! A ray from the camera through the pixel is intersected with a horizontal plane `height_m` below. The
//! offset, north and east in metres, is converted to degrees with the radii of curvature of the WGS 84
//! ellipsoid (NGA STND.0036, 2014, table 3.1).

use crate::frame::{GeoPoint, Telemetry};
use mobilens_image::SizePx;

/// Rays less steep than this meet the ground too far away for a usable position.
const MIN_DEPRESSION_DEG: f64 = 3.0;
/// WGS 84: the equatorial radius in metres and the first eccentricity squared.
const EQUATOR_M: f64 = 6_378_137.0;
const ECCENTRICITY_SQUARED: f64 = 6.694_379_990_14e-3;

/// Projects pixels to the ground: field of view, and fallbacks for values missing in the telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GroundProjection {
    /// Horizontal field of view in degrees.
    pub hfov_deg: f64,
    /// Metres above the ground, if the telemetry has no height.
    pub height_m: Option<f64>,
    /// Gimbal pitch in degrees, if the telemetry has none.
    pub gimbal_pitch_deg: Option<f64>,
    /// Camera heading in degrees, if the telemetry has none.
    pub gimbal_yaw_deg: Option<f64>,
}

impl GroundProjection {
    /// The position on flat ground of `pixel` in a picture of `size`, without lens distortion; `None` if
    /// a value is missing, or the ray points above or less than 3 degrees below the horizon.
    pub fn project(
        &self,
        telemetry: &Telemetry,
        size: SizePx,
        pixel: [f64; 2],
    ) -> Option<GeoPoint> {
        let (latitude, longitude) = (telemetry.latitude?, telemetry.longitude?);
        let height = telemetry.height_m.or(self.height_m).filter(|h| *h > 0.0)?;
        let pitch = telemetry.gimbal_pitch_deg.or(self.gimbal_pitch_deg)?;
        let yaw = telemetry.gimbal_yaw_deg.or(self.gimbal_yaw_deg)?;
        let roll = telemetry.gimbal_roll_deg.unwrap_or(0.0);
        let [north, east, down] = self.ray(size, pixel, [pitch, roll, yaw]);
        if down < MIN_DEPRESSION_DEG.to_radians().sin() {
            return None;
        }
        let (north_m, east_m) = (height * north / down, height * east / down);
        let (sin, cos) = latitude.to_radians().sin_cos();
        let w2 = 1.0 - ECCENTRICITY_SQUARED * sin * sin;
        let along_meridian = EQUATOR_M * (1.0 - ECCENTRICITY_SQUARED) / w2.powf(1.5);
        let along_parallel = EQUATOR_M / w2.sqrt() * cos.max(1e-9);
        let rounded = |degrees: f64| (degrees * 1e7).round() / 1e7;
        Some(GeoPoint {
            latitude: rounded(latitude + (north_m / along_meridian).to_degrees()),
            longitude: rounded(longitude + (east_m / along_parallel).to_degrees()),
        })
    }

    /// Unit vector (north, east, down) of the ray through a pixel.
    fn ray(&self, size: SizePx, [x, y]: [f64; 2], angles_deg: [f64; 3]) -> [f64; 3] {
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let focal_px = width / 2.0 / (self.hfov_deg.to_radians() / 2.0).tan();
        let (right, below) = ((x - width / 2.0) / focal_px, (y - height / 2.0) / focal_px);
        let [pitch, roll, yaw] = angles_deg.map(|angle| angle.to_radians().sin_cos());
        // Roll about the optical axis, then pitch, then yaw about the vertical.
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

    fn camera(pitch: f64, yaw: f64) -> (GroundProjection, Telemetry) {
        let projection = GroundProjection {
            hfov_deg: 90.0,
            ..GroundProjection::default()
        };
        let telemetry = Telemetry {
            latitude: Some(0.0),
            longitude: Some(10.0),
            height_m: Some(100.0),
            gimbal_pitch_deg: Some(pitch),
            gimbal_yaw_deg: Some(yaw),
            ..Telemetry::default()
        };
        (projection, telemetry)
    }

    /// Metres north and east of the drone.
    fn metres(pitch: f64, yaw: f64, pixel: [f64; 2]) -> Option<(f64, f64)> {
        let (projection, telemetry) = camera(pitch, yaw);
        let at = projection.project(&telemetry, SIZE, pixel)?;
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
    fn the_sky_and_missing_values_give_no_position() {
        assert_eq!(metres(0.0, 0.0, [500.0, 100.0]), None);
        assert_eq!(metres(-2.0, 0.0, [500.0, 300.0]), None, "the horizon");
        let (projection, telemetry) = camera(-45.0, 0.0);
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
            assert_eq!(projection.project(&unknown, SIZE, [500.0, 300.0]), None);
        }
    }
}
