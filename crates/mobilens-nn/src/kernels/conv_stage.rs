//! One convolution of a [`FusedConv`](super::FusedConv): weights, window, shapes, activation.

use super::activation::Activation;
use super::packed_depthwise::PackedDepthwise;
use super::packed_gemm::PackedGemm;
use super::shape::Shape;
use super::window::{MAX_KERNEL_SIZE, Window};

/// Packed weights of a convolution.
#[derive(Debug)]
pub enum ConvWeights {
    /// Dense: every output channel sums all input channels.
    Dense(PackedGemm),
    /// Depthwise: every channel by itself.
    Depthwise(PackedDepthwise),
}

/// One convolution of a [`FusedConv`](super::FusedConv).
#[derive(Debug)]
pub struct ConvStage {
    /// The packed weights.
    pub weights: ConvWeights,
    /// Kernel size, stride, dilation and padding.
    pub window: Window,
    /// Shape of the input.
    pub input: Shape,
    /// Shape of the output.
    pub output: Shape,
    /// Applied to the sums in the epilogue.
    pub activation: Activation,
}

impl ConvStage {
    /// Whether the GEMM needs a zero-padded copy of the input.
    pub(super) fn needs_padding(&self) -> bool {
        let (stride, out) = (self.window.stride, self.output);
        let reaches_past = out.h.saturating_sub(1) * stride.0 >= self.input.h
            || out.w.saturating_sub(1) * stride.1 >= self.input.w;
        matches!(self.weights, ConvWeights::Dense(_))
            && (self.window.kernel != (1, 1) || self.window.pad != (0, 0) || reaches_past)
    }

    /// Panics where the shapes do not match, so that no kernel reads or writes out of bounds.
    pub(super) fn check(&self) {
        let Self {
            window,
            input,
            output,
            ..
        } = self;
        let (kernel, stride) = (window.kernel, window.stride);
        assert!(
            kernel.0 > 0 && kernel.1 > 0 && stride.0 > 0 && stride.1 > 0,
            "kernel size and stride"
        );
        assert!(window.dilation.0 > 0 && window.dilation.1 > 0, "dilation");
        match &self.weights {
            ConvWeights::Dense(packed) => {
                assert_eq!(packed.k, kernel.0 * kernel.1 * input.c, "size of K");
                assert_eq!(packed.outputs, output.c, "output channels");
                if !self.needs_padding() {
                    let down = output.h.saturating_sub(1) * stride.0;
                    let right = output.w.saturating_sub(1) * stride.1;
                    assert!(down < input.h && right < input.w, "output size");
                }
            }
            ConvWeights::Depthwise(packed) => {
                assert!(
                    kernel.0 <= MAX_KERNEL_SIZE && kernel.1 <= MAX_KERNEL_SIZE,
                    "kernel size"
                );
                assert!(
                    packed.channels == input.c && input.c == output.c,
                    "channels"
                );
                assert_eq!(packed.taps, kernel.0 * kernel.1, "kernel taps");
            }
        }
    }

    /// Multiply-accumulates (MACs).
    pub fn macs(&self) -> u64 {
        let terms = match &self.weights {
            ConvWeights::Dense(packed) => packed.k,
            ConvWeights::Depthwise(_) => self.window.kernel.0 * self.window.kernel.1,
        };
        (self.output.floats() * terms) as u64
    }

    /// Where the contiguous segments of K begin in the (padded) input of one output pixel, and
    /// their length: one for each kernel row, or for each tap where there is dilation.
    pub(super) fn gemm_segments(&self) -> (Vec<usize>, usize) {
        let ConvWeights::Dense(_) = self.weights else {
            return (Vec::new(), 0);
        };
        let (window, c) = (self.window, self.input.c);
        let (kernel, dilation) = (window.kernel, window.dilation);
        let width = (self.output.w.max(1) - 1) * window.stride.1 + (kernel.1 - 1) * dilation.1 + 1;
        let row = width * c;
        if dilation.1 == 1 {
            (
                (0..kernel.0).map(|ky| ky * dilation.0 * row).collect(),
                kernel.1 * c,
            )
        } else {
            let starts = (0..kernel.0).flat_map(|ky| {
                (0..kernel.1).map(move |kx| ky * dilation.0 * row + kx * dilation.1 * c)
            });
            (starts.collect(), c)
        }
    }
}
