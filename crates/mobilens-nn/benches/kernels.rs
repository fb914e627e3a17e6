//! Throughput of each kernel over the shapes of SSDLite and DeepLab on one core, in GMAC/s and as a
//! share of the core's peak: `cargo bench -p mobilens-nn`. A plain loop over a clock, as the
//! figures are shares of a peak measured in the same run.
#![allow(clippy::print_stdout, missing_docs)]

mod feature_map;
mod int8_gemm;
mod transformers;

use std::time::Instant;

use mobilens_nn::kernels::{
    Activation, Arena, Bf16Isa, Bf16Values, CodeFunction, CodeRange, ConvBf16, ConvStage,
    ConvWeights, ConvWeightsBf16, FusedConv, Int8Isa, Int8Output, Isa, PackedDepthwise,
    PackedDepthwiseBf16, PackedDepthwiseInt8, PackedGemm, PackedGemmBf16, Program, Requantize,
    Shape, Slot, Step, ThreadPool, Window, depthwise_int8_tensor, peak_gmacs, to_bf16,
};

const RELU6: Activation = Activation::Clamp {
    low: 0.0,
    high: 6.0,
};

/// Side, input and output channels.
const POINTWISE: [(usize, usize, usize); 21] = [
    (150, 32, 16),
    (150, 16, 96),
    (75, 96, 24),
    (75, 24, 144),
    (38, 192, 32),
    (38, 32, 192),
    (19, 64, 384),
    (19, 384, 64),
    (19, 96, 576),
    (19, 576, 96),
    (10, 160, 960),
    (10, 960, 160),
    (10, 320, 1280),
    (10, 1280, 546),
    (19, 576, 273),
    (5, 256, 512),
    (65, 960, 160),
    (33, 960, 160),
    (33, 960, 256),
    (56, 64, 256),
    (7, 2048, 512),
];

/// Side, input and output channels, and dilation: ResNet-50, and DeepLabV3's spatial pyramid.
const CONV_3X3: [(usize, usize, usize, usize); 8] = [
    (56, 64, 64, 1),
    (28, 128, 128, 1),
    (14, 256, 256, 1),
    (7, 512, 512, 1),
    (33, 256, 256, 1),
    (33, 960, 256, 12),
    (33, 960, 256, 24),
    (33, 960, 256, 36),
];

/// Side, channels, kernel size and stride.
const DEPTHWISE: [(usize, usize, usize, usize); 8] = [
    (150, 32, 3, 1),
    (150, 96, 3, 2),
    (75, 144, 3, 1),
    (38, 192, 3, 1),
    (19, 384, 3, 1),
    (19, 576, 3, 2),
    (10, 960, 3, 1),
    (28, 120, 5, 1),
];

fn values(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 7919) % 255) as f32 / 255.0 - 0.5)
        .collect()
}

fn window(kernel: usize, stride: usize) -> Window {
    Window {
        kernel: (kernel, kernel),
        stride: (stride, stride),
        dilation: (1, 1),
        pad: (kernel / 2, kernel / 2),
    }
}

fn dense(side: usize, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> ConvStage {
    let taps = inputs * kernel * kernel;
    let out = side.div_ceil(stride);
    ConvStage {
        weights: ConvWeights::Dense(PackedGemm::new(
            &values(taps * outputs),
            &values(outputs),
            taps,
        )),
        window: window(kernel, stride),
        input: Shape {
            h: side,
            w: side,
            c: inputs,
        },
        output: Shape {
            h: out,
            w: out,
            c: outputs,
        },
        activation: RELU6,
    }
}

fn depthwise(side: usize, channels: usize, kernel: usize, stride: usize) -> ConvStage {
    let out = side.div_ceil(stride);
    let weights = values(channels * kernel * kernel);
    ConvStage {
        weights: ConvWeights::Depthwise(PackedDepthwise::new(&weights, &values(channels))),
        window: window(kernel, stride),
        input: Shape {
            h: side,
            w: side,
            c: channels,
        },
        output: Shape {
            h: out,
            w: out,
            c: channels,
        },
        activation: RELU6,
    }
}

/// Milliseconds of a program on one thread, the median of many runs.
fn median_ms(program: &Program, arena: &mut Arena) -> f64 {
    let mut pool = ThreadPool::new(1).expect("one thread");
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < 0.15 {
        let start = Instant::now();
        program.run(arena, &mut pool);
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2] * 1e3
}

/// Milliseconds of the fused stages, the median of many runs; and their multiply-accumulates.
fn measure(isa: Isa, stages: Vec<ConvStage>) -> (f64, u64) {
    let macs = stages.iter().map(ConvStage::macs).sum();
    let first = stages[0].input.elements().next_multiple_of(16);
    let last = stages[stages.len() - 1].output.elements();
    let input = Slot::of::<f32>(0, first);
    let output = Slot::of::<f32>(first, last);
    let conv = FusedConv::new(stages, input, output, 384 << 10);
    let program = Program::new(vec![Step::FusedConv(conv)], 4 * (first + last), isa);
    let mut arena = program.arena(1);
    arena.tensor_mut(input).copy_from_slice(&values(first));
    (median_ms(&program, &mut arena), macs)
}

/// Milliseconds of an int8 depthwise convolution, the median of many runs.
fn measure_depthwise_int8(isa: Int8Isa, stage: &ConvStage) -> f64 {
    let (shape, output_shape, window) = (stage.input, stage.output, stage.window);
    let taps = window.kernel.0 * window.kernel.1;
    let codes = |len: usize| (0..len).map(|i| (i * 7919 % 251) as u8);
    let signed = codes(shape.c * taps).map(|code| i16::from(code as i8));
    let weights: Vec<i16> = signed.collect();
    let requantize = Requantize {
        multipliers: vec![1e-3; shape.c.next_multiple_of(64)],
        output: Int8Output::Codes {
            function: CodeFunction::None,
            residual: None,
            range: CodeRange {
                zero_point: 0,
                low: 0,
                high: 255,
            },
        },
    };
    let bias = vec![1000; shape.c];
    let packed = PackedDepthwiseInt8::new(&weights, &bias, window.kernel, &requantize)
        .expect("sums far from the ends of an i32");
    let input: Vec<u8> = codes(shape.elements()).collect();
    let mut output = vec![0; output_shape.elements()];
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < 0.15 {
        let start = Instant::now();
        let (from, to) = ((&input[..], shape, 128), (&mut output[..], output_shape));
        depthwise_int8_tensor(isa, &packed, window, from, to);
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2] * 1e3
}

/// The depthwise convolutions of SSDLite in int8, beside float32 on the same registers.
fn depthwise_int8() {
    let pairs = [
        (Int8Isa::Avx512Vnni, Isa::Avx512),
        (Int8Isa::AvxVnni, Isa::Avx2),
        (Int8Isa::Avx2, Isa::Avx2),
        (Int8Isa::Portable, Isa::Portable),
    ];
    for (isa, float_isa) in pairs {
        if !isa.available() || !float_isa.available() {
            continue;
        }
        println!("int8 {}, beside float32 {}", isa.name(), float_isa.name());
        for (side, channels, kernel, stride) in [
            (150, 32, 3, 1),
            (150, 96, 3, 2),
            (75, 144, 3, 1),
            (75, 144, 3, 2),
            (38, 192, 3, 1),
            (19, 384, 3, 1),
            (19, 576, 3, 1),
            (19, 576, 3, 2),
            (10, 960, 3, 1),
            (28, 120, 5, 1),
        ] {
            let stage = depthwise(side, channels, kernel, stride);
            let ms = measure_depthwise_int8(isa, &stage);
            let macs = stage.macs();
            let (float_ms, _) = measure(float_isa, vec![stage]);
            println!(
                "  depthwise {kernel}x{kernel} {side:3}x{side:3}x{channels:3}, stride {stride}  \
                 {ms:7.4} ms {:6.1} GMAC/s, float32 {float_ms:7.4} ms",
                macs as f64 / ms / 1e6
            );
        }
    }
}

fn main() {
    if std::env::args().any(|arg| arg == "int8") {
        depthwise_int8();
        return;
    }
    for isa in [Isa::Avx512, Isa::Avx2, Isa::Portable] {
        if !isa.available() {
            continue;
        }
        let peak = peak_gmacs(isa);
        println!("{}: peak {peak:.1} GMAC/s", isa.name());
        let show = |name: &str, stages: Vec<ConvStage>| {
            let (ms, macs) = measure(isa, stages);
            let rate = macs as f64 / ms / 1e6;
            println!(
                "  {name:44} {ms:7.3} ms {rate:6.1} GMAC/s {:4.0} %",
                rate / peak * 100.0
            );
        };
        for (side, inputs, outputs) in POINTWISE {
            let name = format!("pointwise {side}x{side} {inputs} -> {outputs}");
            show(&name, vec![dense(side, inputs, outputs, 1, 1)]);
        }
        show(
            "first 3x3 300x300 3 -> 32, stride 2",
            vec![dense(300, 3, 32, 3, 2)],
        );
        show(
            "conv 3x3 10x10 256 -> 512, stride 2",
            vec![dense(10, 256, 512, 3, 2)],
        );
        for (side, inputs, outputs, dilation) in CONV_3X3 {
            let name = format!("conv 3x3 {side}x{side} {inputs} -> {outputs}, dilation {dilation}");
            let mut stage = dense(side, inputs, outputs, 3, 1);
            (stage.window.dilation, stage.window.pad) =
                ((dilation, dilation), (dilation, dilation));
            show(&name, vec![stage]);
        }
        for (side, channels, kernel, stride) in DEPTHWISE {
            let name =
                format!("depthwise {kernel}x{kernel} {side}x{side}x{channels}, stride {stride}");
            show(&name, vec![depthwise(side, channels, kernel, stride)]);
        }
        let block = |side, thin, wide| {
            vec![
                dense(side, thin, wide, 1, 1),
                depthwise(side, wide, 3, 1),
                dense(side, wide, thin, 1, 1),
            ]
        };
        show("inverted residual 75x75 24, 144", block(75, 24, 144));
        show("inverted residual 38x38 32, 192", block(38, 32, 192));
        show("inverted residual 19x19 96, 576", block(19, 96, 576));
        transformers::run(isa, peak);
        feature_map::run(isa, dense, depthwise, measure);
    }
    depthwise_int8();
    int8_gemm::run(|isa, side, inputs, outputs, kernel, stride| {
        measure(isa, vec![dense(side, inputs, outputs, kernel, stride)]).0
    });
    bench_bf16();
}

/// A bfloat16 convolution of a square input.
fn conv_bf16(
    (side, inputs, outputs): (usize, usize, usize),
    kernel: usize,
    stride: usize,
    depthwise: bool,
) -> ConvBf16 {
    let taps = kernel * kernel * if depthwise { 1 } else { inputs };
    let (weights, bias) = (values(outputs * taps), values(outputs));
    let out = side.div_ceil(stride);
    let shape = |side, c| Shape {
        h: side,
        w: side,
        c,
    };
    ConvBf16 {
        weights: if depthwise {
            let packed = PackedDepthwiseBf16::new(&weights, &bias, (kernel, kernel));
            ConvWeightsBf16::Depthwise(packed)
        } else {
            let packed = PackedGemmBf16::new(&weights, &bias, taps, kernel * inputs);
            ConvWeightsBf16::Dense(packed)
        },
        window: window(kernel, stride),
        input: shape(side, inputs),
        output: shape(out, outputs),
        activation: RELU6,
    }
}

/// Milliseconds of a bfloat16 convolution, the median of many runs.
fn measure_bf16(isa: Bf16Isa, conv: &ConvBf16) -> f64 {
    let of = |shape: Shape| shape.h * shape.w * shape.c;
    let mut input = vec![0; of(conv.input)];
    to_bf16(&values(input.len()), &mut input);
    let mut output = vec![0; of(conv.output)];
    let mut scratch = Vec::new();
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < 0.15 {
        let start = Instant::now();
        conv.run(
            isa,
            &input,
            None,
            Bf16Values::Bf16(&mut output),
            &mut scratch,
        );
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2] * 1e3
}

/// The bfloat16 kernels, one convolution at a time, as a share of the float32 peak.
fn bench_bf16() {
    let isa = Bf16Isa::best();
    let peak = peak_gmacs(Isa::best());
    println!("bfloat16, {}: float32 peak {peak:.1} GMAC/s", isa.name());
    let show = |name: &str, conv: &ConvBf16| {
        let ms = measure_bf16(isa, conv);
        let rate = conv.macs() as f64 / ms / 1e6;
        println!(
            "  {name:44} {ms:7.3} ms {rate:6.1} GMAC/s {:4.0} %",
            rate / peak * 100.0
        );
    };
    for (side, inputs, outputs) in POINTWISE {
        let name = format!("pointwise {side}x{side} {inputs} -> {outputs}");
        show(&name, &conv_bf16((side, inputs, outputs), 1, 1, false));
    }
    show(
        "first 3x3 300x300 3 -> 32, stride 2",
        &conv_bf16((300, 3, 32), 3, 2, false),
    );
    show(
        "conv 3x3 10x10 256 -> 512, stride 2",
        &conv_bf16((10, 256, 512), 3, 2, false),
    );
    for (side, channels, kernel, stride) in DEPTHWISE {
        let name = format!("depthwise {kernel}x{kernel} {side}x{side}x{channels}, stride {stride}");
        let conv = conv_bf16((side, channels, channels), kernel, stride, true);
        show(&name, &conv);
    }
}
