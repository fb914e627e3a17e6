//! Crops and rotates a decoded picture into one contiguous I420 buffer.

use rusty_h264::YuvFrame;

use mobilens_image::{Image, PixelFormat, SizePx, YuvColour};

use super::config::Rotation;
use super::params::Sps;

/// A plane and its cropping rectangle.
struct CroppedPlane<'a> {
    samples: &'a [u8],
    stride: usize,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// Applies the cropping of `sps` and `rotation`, and stores the planes behind each other. One copy;
/// of the chroma planes only, where rows are neither cropped nor rotated.
pub(super) fn image_from_yuv(
    yuv: YuvFrame,
    sps: &Sps,
    colour: YuvColour,
    rotation: Rotation,
) -> Result<Image, String> {
    let SizePx { width, height } = sps.size;
    let (left, top) = sps.crop_left_top;
    let coded = (yuv.width as u64, yuv.height as u64);
    if coded
        != (
            u64::from(sps.coded_size.width),
            u64::from(sps.coded_size.height),
        )
        || !yuv.is_valid()
    {
        return Err("the size of the decoded picture is not that of the SPS".to_owned());
    }
    let size = match rotation {
        Rotation::None | Rotation::Half => sps.size,
        Rotation::Cw90 | Rotation::Cw270 => SizePx {
            width: height,
            height: width,
        },
    };
    let (w, h) = (width as usize, height as usize);
    let data = if rotation == Rotation::None && (left, top, w) == (0, 0, yuv.width) {
        contiguous_planes(yuv, h)
    } else {
        let mut data = Vec::with_capacity(PixelFormat::I420.bytes(size));
        for (samples, shift) in [(&yuv.y, 0), (&yuv.u, 1), (&yuv.v, 1)] {
            let plane = CroppedPlane {
                samples,
                stride: yuv.width >> shift,
                left: left as usize >> shift,
                top: top as usize >> shift,
                width: w >> shift,
                height: h >> shift,
            };
            append_rotated(&plane, rotation, &mut data);
        }
        data
    };
    Image::new(size, PixelFormat::I420, colour, data).map_err(|e| e.to_string())
}

/// The first `rows` rows of all planes, in the buffer of the Y plane.
fn contiguous_planes(yuv: YuvFrame, rows: usize) -> Vec<u8> {
    let chroma = (yuv.width / 2) * (rows / 2);
    let mut data = yuv.y;
    data.truncate(yuv.width * rows);
    data.reserve_exact(2 * chroma);
    data.extend_from_slice(&yuv.u[..chroma]);
    data.extend_from_slice(&yuv.v[..chroma]);
    data
}

/// Appends the cropped plane, rotated, row after row.
fn append_rotated(plane: &CroppedPlane<'_>, rotation: Rotation, out: &mut Vec<u8>) {
    let row = |y: usize| {
        let start = (plane.top + y) * plane.stride + plane.left;
        &plane.samples[start..start + plane.width]
    };
    match rotation {
        Rotation::None => (0..plane.height).for_each(|y| out.extend_from_slice(row(y))),
        Rotation::Half => {
            for y in (0..plane.height).rev() {
                out.extend(row(y).iter().rev());
            }
        }
        Rotation::Cw90 => {
            for x in 0..plane.width {
                out.extend((0..plane.height).rev().map(|y| row(y)[x]));
            }
        }
        Rotation::Cw270 => {
            for x in (0..plane.width).rev() {
                out.extend((0..plane.height).map(|y| row(y)[x]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From 4x3 samples the inner 3x2: `5 6 7 / 9 10 11`.
    fn rotated(rotation: Rotation) -> Vec<u8> {
        let samples: Vec<u8> = (0..12).collect();
        let plane = CroppedPlane {
            samples: &samples,
            stride: 4,
            left: 1,
            top: 1,
            width: 3,
            height: 2,
        };
        let mut out = Vec::new();
        append_rotated(&plane, rotation, &mut out);
        out
    }

    #[test]
    fn rotation_is_clockwise() {
        assert_eq!(rotated(Rotation::None), [5, 6, 7, 9, 10, 11]);
        assert_eq!(rotated(Rotation::Cw90), [9, 5, 10, 6, 11, 7]);
        assert_eq!(rotated(Rotation::Half), [11, 10, 9, 7, 6, 5]);
        assert_eq!(rotated(Rotation::Cw270), [7, 11, 6, 10, 5, 9]);
    }
}
