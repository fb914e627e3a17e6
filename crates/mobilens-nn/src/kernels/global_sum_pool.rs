//! Global sum pooling; global average pooling is this and a division.

/// Sums `[pixels, channels]` over all pixels, to `[channels]`.
pub(super) fn global_sum_pool(input: &[f32], output: &mut [f32]) {
    output.fill(0.0);
    for pixel in input.chunks_exact(output.len().max(1)) {
        for (sum, value) in output.iter_mut().zip(pixel) {
            *sum += *value;
        }
    }
}
