//! bfloat16: the upper half of a float32, as bit patterns in `u16`.
//!
//! The kernels keep activations and weights in bfloat16 and sum in float32. It has the range of
//! float32 and 8 bits of precision: rounding to it changes a value by at most 1/512 of itself.

/// The nearest bfloat16 of a float32, to even where two are as near. A NaN stays one.
#[inline]
pub fn bf16_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let upper = bits >> 16;
    let rounded = if value.is_nan() {
        upper | 0x40
    } else {
        // Without overflow: the largest pattern that is not a NaN is that of infinity.
        (bits + 0x7fff + (upper & 1)) >> 16
    };
    (rounded & 0xffff) as u16
}

/// The value of a bfloat16.
#[inline]
pub fn f32_from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The value that is left of a float32 after rounding to bfloat16.
#[inline]
pub fn round_to_bf16(value: f32) -> f32 {
    f32_from_bf16(bf16_from_f32(value))
}

/// Rounds `from` to bfloat16.
///
/// # Panics
/// When `to` has another length.
pub fn to_bf16(from: &[f32], to: &mut [u16]) {
    assert_eq!(from.len(), to.len(), "as many values");
    for (to, from) in to.iter_mut().zip(from) {
        *to = bf16_from_f32(*from);
    }
}

/// The values of `from` in float32.
///
/// # Panics
/// When `to` has another length.
pub fn from_bf16(from: &[u16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "as many values");
    for (to, from) in to.iter_mut().zip(from) {
        *to = f32_from_bf16(*from);
    }
}
