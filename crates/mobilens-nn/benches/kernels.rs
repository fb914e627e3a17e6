//! Throughput of each kernel over the shapes of SSDLite and DeepLab on one core, in GMAC/s and as a
//! share of the core's peak: `cargo bench -p mobilens-nn`. A plain loop over a clock, as the
//! figures are shares of a peak measured in the same run.
#![allow(clippy::print_stdout, missing_docs)]

use std::time::Instant;

use mobilens_nn::kernels::{
    Activation, ConvStage, ConvWeights, FusedConv, Isa, PackedDepthwise, PackedGemm, Program,
    Shape, Slot, Step, ThreadPool, Window, peak_gmacs,
};

const RELU6: Activation = Activation::Clamp {
    low: 0.0,
    high: 6.0,
};

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

/// Milliseconds of the fused stages, the median of many runs; and their multiply-accumulates.
fn measure(isa: Isa, stages: Vec<ConvStage>) -> (f64, u64) {
    let macs = stages.iter().map(ConvStage::macs).sum();
    let input = Slot {
        offset: 0,
        len: stages[0].input.floats().next_multiple_of(16),
    };
    let last = stages[stages.len() - 1].output.floats();
    let output = Slot {
        offset: input.len,
        len: last,
    };
    let conv = FusedConv::new(stages, input, output, 96 << 10);
    let program = Program::new(vec![Step::FusedConv(conv)], input.len + last, isa);
    let mut arena = program.arena(1);
    arena.tensor_mut(input).copy_from_slice(&values(input.len));
    let mut pool = ThreadPool::new(1).expect("one thread");
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < 0.15 {
        let start = Instant::now();
        program.run(&mut arena, &mut pool);
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2] * 1e3, macs)
}

fn main() {
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
        for (side, inputs, outputs) in [
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
        ] {
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
        for (side, channels, kernel, stride) in [
            (150, 32, 3, 1),
            (150, 96, 3, 2),
            (75, 144, 3, 1),
            (38, 192, 3, 1),
            (19, 384, 3, 1),
            (19, 576, 3, 2),
            (10, 960, 3, 1),
            (28, 120, 5, 1),
        ] {
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
    }
}
