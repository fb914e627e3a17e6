//! Bilinear interpolation weights along one axis.
//!
//! The rule of TensorFlow's `ResizeBilinear` (`compute_interpolation_weights`), which is that of
//! ONNX `Resize` with `asymmetric` or `half_pixel` coordinates:
//!
//! ```text
//! scale  = in / out
//! source = i * scale                     points at whole coordinates (TensorFlow 1)
//! source = (i + 0.5) * scale - 0.5       pixels as areas
//! lower  = max(floor(source), 0)    upper = min(ceil(source), in - 1)
//! value  = lower + (upper - lower) * (source - floor(source))
//! ```
//!
//! Computed in `f32`, as there, so that the fractions come out the same.

use std::ops::Range;

/// Interpolation weight of one output sample: the lower input sample and the fraction towards the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct InterpolationWeight {
    /// Index of the lower sample; the upper is the next, where `fraction` is not 0.
    pub lower: usize,
    /// Weight of the upper sample, 0 at the borders, below 1.
    pub fraction: f32,
}

/// The interpolation_weights of the samples `part` of `out` over `input` samples; both at least 1.
pub(super) fn interpolation_weights(
    input: usize,
    out: usize,
    part: Range<usize>,
    half_pixel: bool,
) -> Vec<InterpolationWeight> {
    let scale = input as f32 / out as f32;
    let last = input - 1;
    part.map(|i| {
        let source = if half_pixel {
            (i as f32 + 0.5) * scale - 0.5
        } else {
            i as f32 * scale
        };
        let floor = source.floor();
        let lower = floor.max(0.0) as usize;
        if floor < 0.0 || lower >= last {
            InterpolationWeight {
                lower: lower.min(last),
                fraction: 0.0,
            }
        } else {
            InterpolationWeight {
                lower,
                fraction: source - floor,
            }
        }
    })
    .collect()
}

/// The same place on an axis of half as many samples, each of which stands for two pixels.
///
/// Between the two pixels of one chroma sample its value holds; between two samples it is blended
/// as the pixels are. So this equals repeating the chroma for each pixel and blending then.
pub(super) fn halved(tap: InterpolationWeight) -> InterpolationWeight {
    InterpolationWeight {
        lower: tap.lower / 2,
        fraction: if tap.lower.is_multiple_of(2) {
            0.0
        } else {
            tap.fraction
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tap(lower: usize, fraction: f32) -> InterpolationWeight {
        InterpolationWeight { lower, fraction }
    }

    #[test]
    fn points_start_at_zero() {
        assert_eq!(
            interpolation_weights(2, 4, 0..4, false),
            [tap(0, 0.0), tap(0, 0.5), tap(1, 0.0), tap(1, 0.0)]
        );
        assert_eq!(
            interpolation_weights(6, 4, 0..4, false),
            [tap(0, 0.0), tap(1, 0.5), tap(3, 0.0), tap(4, 0.5)]
        );
    }

    #[test]
    fn areas_are_centred() {
        assert_eq!(
            interpolation_weights(2, 4, 0..4, true),
            [tap(0, 0.0), tap(0, 0.25), tap(0, 0.75), tap(1, 0.0)]
        );
        assert_eq!(
            interpolation_weights(4, 2, 0..2, true),
            [tap(0, 0.5), tap(2, 0.5)]
        );
        assert_eq!(interpolation_weights(1, 3, 0..3, true), [tap(0, 0.0); 3]);
    }

    #[test]
    fn the_upper_sample_is_always_there() {
        for (input, out) in [(1, 1), (2, 7), (12_000, 513), (513, 12_000), (3, 8192)] {
            for half_pixel in [false, true] {
                for tap in interpolation_weights(input, out, 0..out, half_pixel) {
                    assert!((0.0..1.0).contains(&tap.fraction));
                    let upper = tap.lower + usize::from(tap.fraction > 0.0);
                    assert!(upper < input);
                }
            }
        }
    }

    #[test]
    fn chroma_is_blended_only_between_its_samples() {
        assert_eq!(halved(tap(6, 0.5)), tap(3, 0.0));
        assert_eq!(halved(tap(7, 0.5)), tap(3, 0.5));
    }
}
