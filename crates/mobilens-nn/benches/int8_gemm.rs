//! The int8 GEMM by itself, one core, beside float32 of the same run.
#![expect(unsafe_code, reason = "the GEMM is measured by itself")]

use std::time::Instant;

use mobilens_nn::kernels::{
    Buffer, CodeFunction, CodeRange, GemmInt8Job, Int8Isa, Int8Output, Int8Rows, Isa,
    PackedGemmInt8, Requantize, RowView, gemm_int8, peak_int8_gmacs,
};

/// Side of the input, input and output channels, kernel size, stride: the dense convolutions of
/// SSDLite MobileNetV2.
const SHAPES: [(usize, usize, usize, usize, usize); 16] = [
    (300, 3, 32, 3, 2),
    (150, 32, 16, 1, 1),
    (150, 16, 96, 1, 1),
    (75, 96, 24, 1, 1),
    (75, 24, 144, 1, 1),
    (75, 144, 24, 1, 1),
    (38, 144, 32, 1, 1),
    (38, 32, 192, 1, 1),
    (19, 192, 64, 1, 1),
    (19, 64, 384, 1, 1),
    (19, 384, 96, 1, 1),
    (19, 96, 576, 1, 1),
    (10, 576, 160, 1, 1),
    (10, 160, 960, 1, 1),
    (10, 960, 320, 1, 1),
    (10, 320, 1280, 1, 1),
];

/// Weights as in a network: about normal, the largest of thousands at the limit. What AVX2 has to
/// compute once more depends on it.
fn weights(len: usize) -> Vec<i8> {
    let mut state = 1_u64;
    let mut weight = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let four = (state >> 32) as u32;
        let sum: i32 = four.to_le_bytes().map(|b| i32::from(b) - 128).iter().sum();
        (sum / 4) as i8
    };
    (0..len).map(|_| weight()).collect()
}

/// Milliseconds of one convolution, the median of many runs. Its input is padded already.
fn measure(
    isa: Int8Isa,
    side: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
) -> f64 {
    let k = inputs * kernel * kernel;
    let weights = weights(k * outputs);
    let requantize = Requantize {
        multipliers: vec![1e-3; outputs.next_multiple_of(64)],
        output: Int8Output::Codes {
            function: CodeFunction::None,
            residual: None,
            // As after ReLU6 where the convolution expands, else without a limit.
            range: CodeRange {
                zero_point: if outputs > inputs { 0 } else { 128 },
                low: 0,
                high: 255,
            },
        },
    };
    let packed = PackedGemmInt8::new(&weights, &vec![0; outputs], kernel, &requantize, isa);
    let out = side.div_ceil(stride);
    let row = ((out - 1) * stride + kernel) * inputs;
    let rows = (out - 1) * stride + kernel;
    let mut input = Buffer::<u8>::zeroed(rows * row + 3);
    for (i, value) in input.iter_mut().enumerate() {
        *value = ((i * 7919) % 255) as u8;
    }
    let mut output = Buffer::<u8>::zeroed(out * out * outputs);
    let segments: Vec<usize> = (0..kernel).map(|y| y * row).collect();
    let job = GemmInt8Job {
        input: RowView {
            start: input.as_ptr_mut(),
            stride: row,
            row_count: rows,
        },
        pixel_stride: stride * inputs,
        row_stride: stride,
        row_offset: 0,
        segments: &segments,
        packed: &packed,
        residual: None,
        output: Int8Rows::Codes(RowView {
            start: output.as_ptr_mut(),
            stride: out * outputs,
            row_count: out,
        }),
        width: out,
        rows: (0, out),
        panels: (0, packed.panels()),
    };
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < 0.15 {
        let start = Instant::now();
        // SAFETY: the memory was laid out for the job, and nobody else uses it.
        unsafe { gemm_int8(&job) };
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2] * 1e3
}

/// Prints each shape in int8 and, as `float32(isa, side, inputs, outputs, kernel, stride)` says in
/// milliseconds, in float32.
pub fn run(float32: impl Fn(Isa, usize, usize, usize, usize, usize) -> f64) {
    for isa in Int8Isa::ALL.into_iter().rev().filter(|isa| isa.available()) {
        let float_isa = match isa {
            Int8Isa::Avx512Amx | Int8Isa::Avx512Vnni => Isa::Avx512,
            Int8Isa::AvxVnni | Int8Isa::Avx2 => Isa::Avx2,
            Int8Isa::Portable => Isa::Portable,
        };
        let peak = peak_int8_gmacs(isa);
        println!("int8 {}: peak {peak:.1} GMAC/s", isa.name());
        for (side, inputs, outputs, kernel, stride) in SHAPES {
            let ms = measure(isa, side, inputs, outputs, kernel, stride);
            let out = side.div_ceil(stride);
            let rate = (out * out * outputs * inputs * kernel * kernel) as f64 / ms / 1e6;
            let times = float32(float_isa, side, inputs, outputs, kernel, stride) / ms;
            println!(
                "  {:44} {ms:7.3} ms {rate:6.1} GMAC/s {:4.0} % {times:5.2} times float32",
                format!("{kernel}x{kernel} {side}x{side} {inputs} -> {outputs}, stride {stride}"),
                rate / peak * 100.0
            );
        }
    }
}
