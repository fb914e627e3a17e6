//! Vertical resampling: blends two rows of a plane into one.
//!
//! Whole rows, because neighbouring samples then fill vector lanes; what is blended beyond the
//! columns that are picked afterwards costs less than picking single bytes from two rows.

use super::axis::InterpolationWeight;
use crate::PlaneRef;

/// Fractional bits of a blended row in fixed point: the most that codes up to 255 leave in `i16`
/// when the difference of two codes needs the sign.
pub(super) const ROW_FRACTION: u32 = 6;

/// Samples blended at a time.
const BLOCK: usize = 32;

/// The two rows of `plane` that `tap` lies between.
pub(super) fn row_pair<'a>(plane: &PlaneRef<'a>, tap: InterpolationWeight) -> (&'a [u8], &'a [u8]) {
    let upper = tap.lower + usize::from(tap.fraction > 0.0);
    let row = |i: usize| &plane.data[i * plane.stride..(i + 1) * plane.stride];
    (row(tap.lower), row(upper))
}

/// Blends rows into fixed point with [`ROW_FRACTION`] fractional bits, within two units in the
/// last place. `out` may be longer than the rows; the rest stays as it is.
pub(super) fn blend_fixed((a, b): (&[u8], &[u8]), fraction: f32, out: &mut [i16]) {
    // The fraction once a lane, so that the compiler sees a product of 16-bit lanes.
    let weight = [(fraction * 32768.0).round().min(32767.0) as i16; BLOCK];
    let out = &mut out[..a.len()];
    for ((a, b), out) in a
        .chunks(BLOCK)
        .zip(b.chunks(BLOCK))
        .zip(out.chunks_mut(BLOCK))
    {
        if let (Ok(a), Ok(b), Ok(out)) = (a.try_into(), b.try_into(), out.as_mut().try_into()) {
            blend_fixed_block(a, b, &weight, out);
        } else {
            let (mut pa, mut pb, mut blended) = ([0; BLOCK], [0; BLOCK], [0; BLOCK]);
            pa[..a.len()].copy_from_slice(a);
            pb[..b.len()].copy_from_slice(b);
            blend_fixed_block(&pa, &pb, &weight, &mut blended);
            out.copy_from_slice(&blended[..out.len()]);
        }
    }
}

#[inline]
fn blend_fixed_block(
    a: &[u8; BLOCK],
    b: &[u8; BLOCK],
    weight: &[i16; BLOCK],
    out: &mut [i16; BLOCK],
) {
    for i in 0..BLOCK {
        let (a, b) = (i16::from(a[i]), i16::from(b[i]));
        // The difference times 128 and a weight of 15 bits leave six bits in the upper half.
        let difference = b.wrapping_sub(a) << 7;
        let share = ((i32::from(difference) * i32::from(weight[i])) >> 16) as i16;
        out[i] = (a << ROW_FRACTION).wrapping_add(share);
    }
}

/// Blends rows into `f32`. `out` may be longer than the rows; the rest stays as it is.
pub(super) fn blend_float((a, b): (&[u8], &[u8]), fraction: f32, out: &mut [f32]) {
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        let (a, b) = (f32::from(*a), f32::from(*b));
        *out = a + (b - a) * fraction;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_point_is_close_for_all_pairs_of_codes() {
        let a: Vec<u8> = (0..65_536_u32).map(|i| (i >> 8) as u8).collect();
        let b: Vec<u8> = (0..65_536_u32).map(|i| i as u8).collect();
        let mut out = vec![0; a.len()];
        for fraction in [0.0, 0.001, 0.25, 1.0 / 3.0, 0.5, 0.75, 0.999, 0.999_999_9] {
            blend_fixed((&a, &b), fraction, &mut out);
            for ((a, b), out) in a.iter().zip(&b).zip(&out) {
                let (a, b) = (f32::from(*a), f32::from(*b));
                let want = (a + (b - a) * fraction) * 64.0;
                assert!((f32::from(*out) - want).abs() <= 2.0, "{a} {b} {fraction}");
            }
        }
    }

    #[test]
    fn short_rows_leave_the_rest_alone() {
        let mut out = [-1; 4];
        blend_fixed((&[255, 0, 7], &[255, 255, 7]), 0.5, &mut out);
        assert_eq!(out, [16_320, 8160, 448, -1]);
    }
}
