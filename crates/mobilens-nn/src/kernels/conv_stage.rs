//! One convolution of a [`FusedConv`](super::FusedConv): weights, window, shapes, activation.

use super::activation::Activation;
use super::packed_depthwise::PackedDepthwise;
use super::packed_depthwise_bf16::PackedDepthwiseBf16;
use super::packed_depthwise_int8::PackedDepthwiseInt8;
use super::packed_gemm::PackedGemm;
use super::packed_gemm_bf16::PackedGemmBf16;
use super::packed_gemm_int8::PackedGemmInt8;
use super::packed_groups::PackedGroups;
use super::requantize::Int8Output;
use super::shape::Shape;
use super::window::{MAX_DEPTHWISE_SIZE, MAX_KERNEL_SIZE, Window};

/// Packed weights of a convolution.
#[derive(Debug)]
pub enum ConvWeights {
    /// Dense: every output channel sums all input channels.
    Dense(PackedGemm),
    /// Dense in each of several groups of channels.
    Grouped(PackedGroups),
    /// Depthwise: every channel by itself.
    Depthwise(PackedDepthwise),
    /// Dense, in int8.
    DenseInt8(Int8Weights<PackedGemmInt8>),
    /// Depthwise, in int8.
    DepthwiseInt8(Int8Weights<PackedDepthwiseInt8>),
    /// Dense, in bfloat16.
    DenseBf16 {
        /// The packed weights and bias.
        packed: PackedGemmBf16,
        /// Whether float32 is written instead of bfloat16.
        float_output: bool,
    },
    /// Depthwise, in bfloat16.
    DepthwiseBf16(PackedDepthwiseBf16),
}

/// Packed weights of an int8 convolution.
#[derive(Debug)]
pub struct Int8Weights<P> {
    /// The packed weights and bias, and the epilogue.
    pub packed: P,
    /// Zero point of the input: the code of the padding.
    pub zero_point: u8,
}

impl ConvWeights {
    /// Parts that the output channels can be split in between threads.
    pub(super) fn panels(&self) -> usize {
        match self {
            Self::Dense(packed) => packed.panels(),
            Self::Grouped(groups) => groups.packed().len(),
            Self::Depthwise(packed) => packed.blocks(),
            Self::DenseInt8(weights) => weights.packed.panels(),
            Self::DepthwiseInt8(weights) => weights.packed.blocks(),
            Self::DenseBf16 { packed, .. } => packed.panels(),
            Self::DepthwiseBf16(packed) => packed.blocks(),
        }
    }

    /// Bytes of an input value.
    pub(super) fn input_size(&self) -> usize {
        match self {
            Self::Dense(_) | Self::Grouped(_) | Self::Depthwise(_) => size_of::<f32>(),
            Self::DenseInt8(_) | Self::DepthwiseInt8(_) => size_of::<u8>(),
            Self::DenseBf16 { .. } | Self::DepthwiseBf16(_) => size_of::<u16>(),
        }
    }

    /// Bytes of an output value.
    pub(super) fn output_size(&self) -> usize {
        match self {
            Self::Dense(_)
            | Self::Grouped(_)
            | Self::Depthwise(_)
            | Self::DenseBf16 {
                float_output: true, ..
            } => size_of::<f32>(),
            Self::DenseBf16 { .. } | Self::DepthwiseBf16(_) => size_of::<u16>(),
            Self::DenseInt8(weights) => match weights.packed.output() {
                Int8Output::Codes { .. } => size_of::<u8>(),
                Int8Output::Float(_) => size_of::<f32>(),
            },
            Self::DepthwiseInt8(_) => size_of::<u8>(),
        }
    }

    fn is_dense(&self) -> bool {
        matches!(
            self,
            Self::Dense(_) | Self::Grouped(_) | Self::DenseInt8(_) | Self::DenseBf16 { .. }
        )
    }
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
    /// Bytes of the input.
    pub(super) fn input_bytes(&self) -> usize {
        self.input.elements() * self.weights.input_size()
    }

    /// Bytes of the output.
    pub(super) fn output_bytes(&self) -> usize {
        self.output.elements() * self.weights.output_size()
    }

    /// Whether the GEMM needs a padded copy of the input.
    pub(super) fn needs_padding(&self) -> bool {
        let (stride, out) = (self.window.stride, self.output);
        let reaches_past = out.h.saturating_sub(1) * stride.0 >= self.input.h
            || out.w.saturating_sub(1) * stride.1 >= self.input.w;
        // Channels that the GEMM reads at a time.
        let group = match self.weights {
            ConvWeights::DenseInt8(_) => 4,
            ConvWeights::DenseBf16 { .. } => 2,
            _ => 1,
        };
        let in_groups = self.input.c.is_multiple_of(group);
        self.weights.is_dense()
            && !self.reads_in_place()
            && (self.window.kernel != (1, 1)
                || self.window.pad != (0, 0)
                || reaches_past
                || !in_groups)
    }

    /// Whether the kernel reads any input in place, with its padding left out.
    fn reads_in_place(&self) -> bool {
        matches!(
            self.weights,
            ConvWeights::Dense(_) | ConvWeights::Grouped(_)
        )
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
            }
            ConvWeights::Grouped(groups) => {
                let packed = groups.packed();
                let sizes = |channels: usize| {
                    let whole = channels.is_multiple_of(packed.len().max(1));
                    assert!(whole, "channels in whole groups");
                    channels / packed.len().max(1)
                };
                let k = kernel.0 * kernel.1 * sizes(input.c);
                let outputs = sizes(output.c);
                assert!(
                    packed
                        .iter()
                        .all(|packed| packed.k == k && packed.outputs == outputs),
                    "size of K and output channels of a group"
                );
            }
            ConvWeights::DenseBf16 { packed, .. } => {
                assert_eq!(packed.k, kernel.0 * kernel.1 * input.c, "size of K");
                assert_eq!(packed.segment_len, self.gemm_segments().1, "segments of K");
                assert_eq!(packed.outputs, output.c, "output channels");
            }
            ConvWeights::DepthwiseBf16(packed) => {
                assert!(
                    kernel.0 <= MAX_DEPTHWISE_SIZE && kernel.1 <= MAX_DEPTHWISE_SIZE,
                    "kernel size"
                );
                assert!(
                    packed.channels == input.c && input.c == output.c,
                    "channels"
                );
                assert_eq!(packed.kernel, kernel, "kernel size of the weights");
            }
            ConvWeights::DenseInt8(Int8Weights { packed, .. }) => {
                let k = kernel.0 * kernel.1 * input.c;
                assert!(packed.k == k || packed.k == 2 * k, "size of K");
                assert_eq!(packed.segment_len, self.gemm_segments().1, "segments of K");
                assert_eq!(packed.outputs, output.c, "output channels");
            }
            ConvWeights::Depthwise(packed) => {
                assert!(
                    kernel.0 <= MAX_DEPTHWISE_SIZE && kernel.1 <= MAX_DEPTHWISE_SIZE,
                    "kernel size"
                );
                assert!(
                    packed.channels == input.c && input.c == output.c,
                    "channels"
                );
                assert_eq!(packed.taps, kernel.0 * kernel.1, "kernel taps");
            }
            ConvWeights::DepthwiseInt8(Int8Weights { packed, .. }) => {
                assert!(
                    kernel.0 <= MAX_KERNEL_SIZE && kernel.1 <= MAX_KERNEL_SIZE,
                    "kernel size"
                );
                assert!(
                    packed.channels == input.c && input.c == output.c,
                    "channels"
                );
                assert_eq!(packed.kernel(), kernel, "kernel size of the weights");
            }
        }
        if self.weights.is_dense() && !self.reads_in_place() && !self.needs_padding() {
            let down = output.h.saturating_sub(1) * stride.0;
            let right = output.w.saturating_sub(1) * stride.1;
            assert!(down < input.h && right < input.w, "output size");
        }
    }

    /// Multiply-accumulates (MACs).
    pub fn macs(&self) -> u64 {
        let taps = self.window.kernel.0 * self.window.kernel.1;
        let channels = match &self.weights {
            ConvWeights::Grouped(groups) => self.input.c / groups.groups.max(1),
            weights if weights.is_dense() => self.input.c,
            _ => 1,
        };
        (self.output.elements() * taps * channels) as u64
    }

    /// Where the contiguous segments of K begin in the (padded) input of one output pixel, and
    /// their length: one for each kernel row, or for each tap where there is dilation. Where the
    /// weights are sums of two, all of them are there twice.
    pub(super) fn gemm_segments(&self) -> (Vec<usize>, usize) {
        if !self.weights.is_dense() || self.reads_in_place() {
            return (Vec::new(), 0);
        }
        let (window, c) = (self.window, self.input.c);
        let (kernel, dilation) = (window.kernel, window.dilation);
        let width = (self.output.w.max(1) - 1) * window.stride.1 + (kernel.1 - 1) * dilation.1 + 1;
        let row = width * c;
        let (starts, len): (Vec<usize>, usize) = if dilation.1 == 1 {
            let rows = (0..kernel.0).map(|ky| ky * dilation.0 * row);
            (rows.collect(), kernel.1 * c)
        } else {
            let taps = (0..kernel.0).flat_map(|ky| {
                (0..kernel.1).map(move |kx| ky * dilation.0 * row + kx * dilation.1 * c)
            });
            (taps.collect(), c)
        };
        let addends = match &self.weights {
            ConvWeights::DenseInt8(weights) => weights.packed.segments / starts.len().max(1),
            _ => 1,
        };
        (starts.repeat(addends), len)
    }
}
