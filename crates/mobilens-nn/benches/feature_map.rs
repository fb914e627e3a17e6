//! Convolutions with the activations of YOLOs and transformers, and what lies between convolutions: pooling,
//! nearest neighbour resize, depth to space.

use mobilens_nn::kernels::{
    Activation, ConvStage, FeatureMapOp, Isa, Nearest, Operator, Pool, PoolFunction, Program, Slot,
    Step, peak_gmacs, pool_taps,
};

use super::values;

/// The activations that take more than a few instructions, and what they are compared to.
const ACTIVATIONS: [(&str, Activation); 4] = [
    (
        "relu",
        Activation::Clamp {
            low: 0.0,
            high: f32::INFINITY,
        },
    ),
    ("silu", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("leaky relu", Activation::LeakyRelu { slope: 0.1 }),
];

/// Milliseconds of an operator of one tensor, the median of many runs.
fn measure(
    isa: Isa,
    inputs: usize,
    outputs: usize,
    op: impl FnOnce(Slot, Slot) -> Operator,
) -> f64 {
    let (input, output) = (
        Slot::of::<f32>(0, inputs),
        Slot::of::<f32>(inputs.next_multiple_of(16), outputs),
    );
    let step = Step::Operator(op(input, output));
    let program = Program::new(vec![step], output.offset + output.len, isa);
    let mut arena = program.arena(1);
    arena.tensor_mut(input).copy_from_slice(&values(inputs));
    super::median_ms(&program, &mut arena)
}

/// Max or average pooling of a square map, with padding that keeps its size at stride 1.
fn pool(
    (side, channels): (usize, usize),
    (kernel, stride): (usize, usize),
    function: PoolFunction,
) -> impl FnOnce(Slot, Slot) -> Operator {
    let pad = (kernel - 1) / 2;
    let outputs = (side + 2 * pad - kernel) / stride + 1;
    let taps = pool_taps(side, (kernel, stride, 1), pad, outputs, None).expect("windows inside");
    move |input, output| {
        Operator::FeatureMap(FeatureMapOp::Pool(Pool {
            input,
            output,
            function,
            codes: false,
            width: side,
            channels,
            rows: taps.clone(),
            columns: taps,
        }))
    }
}

/// Prints all of them. `conv` makes a dense (side, inputs, outputs, kernel, stride) or a depthwise convolution
/// (side, channels, kernel, stride), `time` measures one: milliseconds and multiply-accumulates.
pub(super) fn run(
    isa: Isa,
    dense: impl Fn(usize, usize, usize, usize, usize) -> ConvStage,
    depthwise: impl Fn(usize, usize, usize, usize) -> ConvStage,
    time: impl Fn(Isa, Vec<ConvStage>) -> (f64, u64),
) {
    let peak = peak_gmacs(isa);
    println!("{}: activations, peak {peak:.1} GMAC/s", isa.name());
    for (name, activation) in ACTIVATIONS {
        for (what, mut stage) in [
            ("pointwise 80x80 64 -> 64", dense(80, 64, 64, 1, 1)),
            ("conv 3x3 40x40 64 -> 64", dense(40, 64, 64, 3, 1)),
            ("depthwise 3x3 80x80x64", depthwise(80, 64, 3, 1)),
        ] {
            stage.activation = activation;
            let (ms, macs) = time(isa, vec![stage]);
            let rate = macs as f64 / ms / 1e6;
            let share = rate / peak * 100.0;
            println!("  {what:32} {name:11} {ms:7.3} ms {rate:6.1} GMAC/s {share:4.0} %");
        }
    }
    // A comparison or a sum for each value of the window, against the peak of multiply-accumulates.
    println!("{}: pooling, by windows of k x k values", isa.name());
    for (side, channels, kernel, stride, function) in [
        (112, 64, 3, 2, PoolFunction::Max),
        (80, 64, 2, 2, PoolFunction::Max),
        (20, 128, 5, 1, PoolFunction::Max),
        (13, 96, 13, 1, PoolFunction::Max),
        (56, 48, 3, 1, PoolFunction::Average),
    ] {
        let outputs = (side + 2 * ((kernel - 1) / 2) - kernel) / stride + 1;
        let count = outputs * outputs * channels;
        let step = pool((side, channels), (kernel, stride), function);
        let ms = measure(isa, side * side * channels, count, step);
        let rate = (count * kernel * kernel) as f64 / ms / 1e6;
        let share = rate / peak * 100.0;
        println!(
            "  {function:?} {kernel:2}x{kernel:<2} {side:3}x{side:3}x{channels:3}, stride {stride} \
             {ms:7.3} ms {rate:6.1} G/s {share:4.0} %"
        );
    }
    for (side, channels) in [(20, 256), (40, 128)] {
        let indices: Vec<usize> = (0..2 * side).map(|at| at / 2).collect();
        let (inputs, outputs) = (side * side * channels, 4 * side * side * channels);
        let ms = measure(isa, inputs, outputs, |input, output| {
            Operator::FeatureMap(FeatureMapOp::Nearest {
                resize: Nearest {
                    width: side,
                    pixel: channels * size_of::<f32>(),
                    rows: indices.clone(),
                    columns: indices,
                },
                input,
                output,
            })
        });
        let rate = (4 * outputs) as f64 / ms / 1e6;
        println!("  nearest x2 {side:3}x{side:3}x{channels:3} {ms:7.3} ms {rate:6.1} GB/s written");
    }
    let (side, channels) = (40, 64);
    let count = 4 * side * side * channels;
    let ms = measure(isa, count, count, |input, output| Operator::Transpose {
        input,
        output,
        element: size_of::<f32>(),
        sizes: vec![side, 2, side, 2 * channels],
        strides: vec![4 * side * channels, 2 * channels, 4 * channels, 1],
    });
    let rate = (4 * count) as f64 / ms / 1e6;
    println!(
        "  depth to space {side}x{side}x{} {ms:7.3} ms {rate:6.1} GB/s written",
        4 * channels
    );
}
