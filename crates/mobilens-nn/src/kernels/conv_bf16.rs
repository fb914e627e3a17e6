//! One bfloat16 convolution over whole tensors.

use super::activation::Activation;
use super::depthwise_bf16::{DepthwiseBf16Job, depthwise_bf16};
use super::gemm_bf16::gemm_bf16;
use super::gemm_bf16_block::{Bf16Rows, GemmBf16Job};
use super::isa_bf16::Bf16Isa;
use super::packed_depthwise_bf16::PackedDepthwiseBf16;
use super::packed_gemm_bf16::PackedGemmBf16;
use super::row_view::RowView;
use super::shape::Shape;
use super::window::{MAX_DEPTHWISE_SIZE, Window};

/// Packed weights of a bfloat16 convolution.
#[derive(Debug)]
pub enum ConvWeightsBf16 {
    /// Dense: every output channel sums all input channels.
    Dense(PackedGemmBf16),
    /// Depthwise: every channel by itself.
    Depthwise(PackedDepthwiseBf16),
}

/// A convolution on bfloat16 activations, `[h, w, c]`, computed by the calling thread.
#[derive(Debug)]
pub struct ConvBf16 {
    /// The packed weights.
    pub weights: ConvWeightsBf16,
    /// Kernel size, stride, dilation and padding.
    pub window: Window,
    /// Shape of the input.
    pub input: Shape,
    /// Shape of the output.
    pub output: Shape,
    /// Applied to the sums in the epilogue.
    pub activation: Activation,
}

/// The output of a [`ConvBf16`].
#[derive(Debug)]
pub enum Bf16Values<'a> {
    /// Rounded to bfloat16.
    Bf16(&'a mut [u16]),
    /// In float32; only of a dense convolution.
    Float(&'a mut [f32]),
}

/// A tensor's rows; nothing is written through those of an input.
fn rows<T>(values: &[T], row: usize) -> RowView<T> {
    RowView {
        start: values.as_ptr().cast_mut(),
        stride: row,
        row_count: (values.len() / row.max(1)).max(1),
    }
}

/// A tensor's rows, to be written.
fn rows_mut<T>(values: &mut [T], row: usize) -> RowView<T> {
    RowView {
        start: values.as_mut_ptr(),
        stride: row,
        row_count: (values.len() / row.max(1)).max(1),
    }
}

/// Checked before the kernels rely on it.
fn check_lengths(conv: &ConvBf16, input: &[u16], residual: Option<&[u16]>, output: usize) {
    let values = |shape: Shape| shape.h * shape.w * shape.c;
    let Window {
        kernel,
        stride,
        dilation,
        ..
    } = conv.window;
    let positive = |size: (usize, usize)| size.0 > 0 && size.1 > 0;
    assert!(
        positive(kernel) && positive(stride) && positive(dilation),
        "kernel size, stride and dilation"
    );
    assert_eq!(input.len(), values(conv.input), "input values");
    assert_eq!(output, values(conv.output), "output values");
    if let Some(residual) = residual {
        assert_eq!(residual.len(), output, "residual values");
    }
    match &conv.weights {
        ConvWeightsBf16::Dense(packed) => {
            assert_eq!(packed.k, kernel.0 * kernel.1 * conv.input.c, "size of K");
            assert_eq!(packed.segment_len, conv.segment_len(), "segments of K");
            assert_eq!(packed.outputs, conv.output.c, "output channels");
        }
        ConvWeightsBf16::Depthwise(packed) => {
            assert!(
                kernel.0 <= MAX_DEPTHWISE_SIZE && kernel.1 <= MAX_DEPTHWISE_SIZE,
                "kernel size"
            );
            assert_eq!(packed.kernel, kernel, "kernel size of the weights");
            assert!(
                packed.channels == conv.input.c && conv.input.c == conv.output.c,
                "channels"
            );
            assert!(
                residual.is_none(),
                "no residual after a depthwise convolution"
            );
        }
    }
}

impl ConvBf16 {
    /// Values of K that lie side by side in the input: what
    /// [`PackedGemmBf16::new`] asks for.
    pub fn segment_len(&self) -> usize {
        segment_len(&self.window, self.input.c)
    }

    /// Multiply-accumulates (MACs).
    pub fn macs(&self) -> u64 {
        let terms = match &self.weights {
            ConvWeightsBf16::Dense(packed) => packed.k,
            ConvWeightsBf16::Depthwise(_) => self.window.kernel.0 * self.window.kernel.1,
        };
        (self.output.h * self.output.w * self.output.c * terms) as u64
    }

    /// Computes the convolution; `residual` is added after the activation. `scratch` is memory for
    /// a padded input, to be used again from call to call.
    ///
    /// # Panics
    /// When shapes, weights and lengths do not match, or this CPU does not support `isa`.
    pub fn run(
        &self,
        isa: Bf16Isa,
        input: &[u16],
        residual: Option<&[u16]>,
        output: Bf16Values<'_>,
        scratch: &mut Vec<u16>,
    ) {
        assert!(isa.available(), "this CPU supports the instruction set");
        let len = match &output {
            Bf16Values::Bf16(values) => values.len(),
            Bf16Values::Float(values) => values.len(),
        };
        check_lengths(self, input, residual, len);
        let row = self.output.w * self.output.c;
        let output = match output {
            Bf16Values::Bf16(values) => Bf16Rows::Bf16(rows_mut(values, row)),
            Bf16Values::Float(values) => Bf16Rows::Float(rows_mut(values, row)),
        };
        match &self.weights {
            ConvWeightsBf16::Dense(packed) => {
                let (kernel, stride, dilation) =
                    (self.window.kernel, self.window.stride, self.window.dilation);
                let padded = self.pad_input(input, scratch);
                let padded_row = padded.stride;
                let segments: Vec<usize> = (0..kernel.0)
                    .flat_map(|ky| {
                        let taps = if dilation.1 == 1 { 1 } else { kernel.1 };
                        let column = dilation.1 * self.input.c;
                        (0..taps).map(move |kx| ky * dilation.0 * padded_row + kx * column)
                    })
                    .collect();
                let job = GemmBf16Job {
                    input: padded,
                    pixel_stride: stride.1 * self.input.c,
                    row_stride: stride.0,
                    row_offset: 0,
                    segments: &segments,
                    packed,
                    bias: packed.bias(),
                    activation: self.activation,
                    residual: residual.map(|values| rows(values, row)),
                    output,
                    width: self.output.w,
                    rows: (0, self.output.h),
                    panels: (0, packed.panels()),
                };
                // SAFETY: the lengths were checked, the padded input holds all that is read, and
                // the output is borrowed alone.
                unsafe { gemm_bf16(isa, &job) }
            }
            ConvWeightsBf16::Depthwise(packed) => {
                let Bf16Rows::Bf16(output) = output else {
                    panic!("a depthwise convolution writes bfloat16");
                };
                let job = DepthwiseBf16Job {
                    input: rows(input, self.input.w * self.input.c),
                    input_size: (self.input.h, self.input.w),
                    window: self.window,
                    packed,
                    activation: self.activation,
                    output,
                    width: self.output.w,
                    rows: (0, self.output.h),
                    blocks: (0, packed.blocks()),
                };
                // SAFETY: the lengths were checked, and the output is borrowed alone.
                unsafe { depthwise_bf16(isa, &job) }
            }
        }
    }

    /// The input with zeros around, in `scratch`, or as it is where it needs none.
    fn pad_input(&self, input: &[u16], scratch: &mut Vec<u16>) -> RowView<u16> {
        let Window {
            kernel,
            stride,
            dilation,
            pad,
        } = self.window;
        let Shape { h, w, c } = self.input;
        let extent = |size: usize, stride: usize, kernel: usize, dilation: usize| {
            size.saturating_sub(1) * stride + (kernel - 1) * dilation + 1
        };
        let height = extent(self.output.h, stride.0, kernel.0, dilation.0);
        let width = extent(self.output.w, stride.1, kernel.1, dilation.1);
        if kernel == (1, 1) && pad == (0, 0) && height <= h && width <= w {
            return rows(input, w * c);
        }
        scratch.clear();
        scratch.resize(height * width * c, 0);
        let (left, copied) = (pad.1.min(width), w.min(width.saturating_sub(pad.1)));
        for (y, from) in input.chunks_exact((w * c).max(1)).enumerate() {
            if y + pad.0 < height {
                let to = ((y + pad.0) * width + left) * c;
                scratch[to..to + copied * c].copy_from_slice(&from[..copied * c]);
            }
        }
        rows(scratch, width * c)
    }
}

/// Values of K that lie side by side in the input of `channels`.
pub fn segment_len(window: &Window, channels: usize) -> usize {
    if window.dilation.1 == 1 {
        window.kernel.1 * channels
    } else {
        channels
    }
}
