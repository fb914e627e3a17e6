//! Throughput of attention and of the steps around it on one core: `cargo bench -p mobilens-nn --bench kernels`.

use mobilens_nn::kernels::{
    Attention, Buffer, Isa, Matrices, Operator, PackedGemm, Program, Slot, Step, TensorOp,
    TensorStep,
};

/// Name, heads, queries, keys, channels of a key and of a value; and whether the heads share keys and values.
const ATTENTION: [(&str, [usize; 5], bool); 6] = [
    ("MobileViT-XXS 16x16 tokens", [16, 256, 256, 16, 16], false),
    ("MobileViT-S 16x16 tokens", [16, 256, 256, 36, 36], false),
    ("MobileViT-S 8x8 tokens", [16, 64, 64, 48, 48], false),
    (
        "MobileNetV4 hybrid, multi-query",
        [4, 256, 64, 64, 64],
        true,
    ),
    ("EfficientFormer-L1", [8, 49, 49, 32, 128], false),
    ("YOLO11n", [2, 400, 400, 32, 64], false),
];

/// Milliseconds of the step, the median of many runs.
fn measure(isa: Isa, op: TensorOp, inputs: &[usize], output: usize) -> f64 {
    let mut len = 0;
    let mut place = |values: usize| {
        let slot = Slot::of::<f32>(len, values);
        len += values;
        slot
    };
    let slots: Vec<Slot> = inputs.iter().map(|values| place(*values)).collect();
    let step = TensorStep {
        op,
        inputs: slots.clone(),
        output: place(output),
    };
    let program = Program::new(
        vec![Step::Operator(Operator::Tensor(Box::new(step)))],
        4 * len,
        isa,
    );
    let mut arena = program.arena(1);
    for slot in slots {
        let values = super::values(slot.len / 4);
        arena.tensor_mut(slot).copy_from_slice(&values);
    }
    super::median_ms(&program, &mut arena)
}

/// Heads side by side in each token's row.
fn interleaved(heads: usize, columns: usize) -> Matrices {
    Matrices {
        starts: (0..heads).map(|head| head * columns).collect(),
        row_stride: heads * columns,
        column_stride: 1,
    }
}

/// Attention as a share of the peak of its products, and the values a nanosecond of normalisation and softmax.
pub fn run(isa: Isa, peak: f64) {
    for (name, [heads, queries, keys, depth, values], shared) in ATTENTION {
        let (mut k, mut v) = (interleaved(heads, depth), interleaved(heads, values));
        if shared {
            k = interleaved(1, depth);
            v = interleaved(1, values);
            (k.starts, v.starts) = (vec![0; heads], vec![0; heads]);
        }
        // Keys by columns, as they lie in tokens.
        (k.row_stride, k.column_stride) = (1, k.row_stride);
        let copies = if shared { 1 } else { heads };
        let op = TensorOp::Attention(Attention {
            q: interleaved(heads, depth),
            k,
            v,
            output: interleaved(heads, values),
            queries,
            keys,
            depth,
            values,
            scale: 1.0 / (depth as f32).sqrt(),
            bias: None,
            empty: PackedGemm::new(&[], &[], 0),
        });
        let inputs = [
            heads * queries * depth,
            copies * keys * depth,
            copies * keys * values,
        ];
        let ms = measure(isa, op, &inputs, heads * queries * values);
        let rate = (heads * queries * keys * (depth + values)) as f64 / ms / 1e6;
        let share = rate / peak * 100.0;
        println!("  attention {name:34} {ms:7.3} ms {rate:6.1} GMAC/s {share:4.0} %");
    }
    let show = |name: &str, ms: f64, values: usize| {
        println!(
            "  {name:44} {ms:7.3} ms {:6.2} values/ns",
            values as f64 / ms / 1e6
        );
    };
    for (rows, n) in [(1024, 64), (256, 144), (49, 448)] {
        let op = TensorOp::LayerNorm {
            gamma: Buffer::from_slice(&super::values(n)),
            beta: Buffer::from_slice(&super::values(n)),
            epsilon: 1e-5,
        };
        let ms = measure(isa, op, &[rows * n], rows * n);
        show(&format!("layer norm {rows}x{n}"), ms, rows * n);
    }
    for (outer, n, inner) in [(1024, 256, 1), (33_600, 16, 1), (4, 16, 8400)] {
        let len = outer * n * inner;
        let ms = measure(isa, TensorOp::Softmax { n, inner }, &[len], len);
        show(&format!("softmax {outer}x{n}x{inner}"), ms, len);
    }
}
