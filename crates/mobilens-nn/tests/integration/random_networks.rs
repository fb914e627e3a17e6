//! Random small networks, of convolutions with all that exporters put around them, against plain
//! tract on every instruction set of this CPU.

use std::fs;

use mobilens_nn::KernelChoice;
use proptest::prelude::*;

use crate::onnx::{Onnx, Value};
use crate::parity::{KERNELS, TOLERANCE, difference, load, outputs, values};

#[derive(Clone, Debug)]
struct Case {
    height: usize,
    width: usize,
    channels: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: [usize; 4],
    depthwise: bool,
    groups: usize,
    relu6: bool,
    residual: bool,
    expand: usize,
    seed: u64,
}

prop_compose! {
    fn case()(
        height in 1usize..23, width in 1usize..23, channels in 1usize..70, outputs in 1usize..70,
        kernel in prop::sample::select(vec![1usize, 3, 5, 9]), stride in 1usize..3, dilation in 1usize..4,
        pads in prop::array::uniform4(0usize..4), depthwise: bool, relu6: bool, residual: bool,
        groups in prop::sample::select(vec![1usize, 1, 2, 5, 16]), expand in 0usize..90, seed: u64,
    ) -> Case {
        let groups = if depthwise { 1 } else { groups };
        let [channels, outputs, expand] = [channels, outputs, expand].map(|c| c.next_multiple_of(groups));
        Case { height, width, channels, outputs, kernel, stride, dilation, pads, depthwise, groups, relu6, residual, expand, seed }
    }
}

/// A convolution with all that may come around it: one before (an expansion), a clamp, a
/// projection, a residual.
fn network(case: &Case) -> Option<(Vec<u8>, usize)> {
    let mut onnx = Onnx::default();
    let mut seed = case.seed;
    let mut conv = |onnx: &mut Onnx,
                    x: &str,
                    shape: [usize; 4],
                    lists: &[(&str, Value<'_>)],
                    groups: usize| {
        seed = seed.wrapping_add(1);
        let count: usize = shape.iter().product();
        let fan_in = (count / shape[0]) as f32;
        let weight: Vec<f32> = values(count, seed)
            .iter()
            .map(|v| v * 2.0 / fan_in.sqrt())
            .collect();
        let weight = onnx.constant(&shape, &weight);
        let bias = onnx.constant(&[shape[0]], &values(shape[0], seed ^ 77));
        let mut attributes = lists.to_vec();
        attributes.push(("group", Value::Int(groups)));
        onnx.node("Conv", &[x, &weight, &bias], &attributes)
    };
    let clamp = |onnx: &mut Onnx, x: &str| {
        if !case.relu6 {
            return onnx.node("Relu", &[x], &[]);
        }
        let (low, high) = (onnx.constant(&[], &[0.0]), onnx.constant(&[], &[6.0]));
        onnx.node("Clip", &[x, &low, &high], &[])
    };
    let one: &[(&str, Value<'_>)] = &[("kernel_shape", Value::Ints(&[1, 1]))];
    let (mut x, mut channels) = ("input".to_owned(), case.channels);
    if case.expand > 0 {
        x = conv(&mut onnx, &x, [case.expand, channels, 1, 1], one, 1);
        x = clamp(&mut onnx, &x);
        channels = case.expand;
    }
    let reach = (case.kernel - 1) * case.dilation + 1;
    let out = |side: usize, before: usize, after: usize| {
        Some((side + before + after).checked_sub(reach)? / case.stride + 1)
    };
    let [top, left, bottom, right] = case.pads;
    let (h, w) = (
        out(case.height, top, bottom)?,
        out(case.width, left, right)?,
    );
    let (kernels, strides, dilations) = ([case.kernel; 2], [case.stride; 2], [case.dilation; 2]);
    let lists = [
        ("kernel_shape", Value::Ints(&kernels)),
        ("strides", Value::Ints(&strides)),
        ("dilations", Value::Ints(&dilations)),
        ("pads", Value::Ints(&case.pads)),
    ];
    if case.depthwise {
        x = conv(
            &mut onnx,
            &x,
            [channels, 1, case.kernel, case.kernel],
            &lists,
            channels,
        );
        x = clamp(&mut onnx, &x);
        x = conv(&mut onnx, &x, [case.outputs, channels, 1, 1], one, 1);
    } else {
        x = conv(
            &mut onnx,
            &x,
            [
                case.outputs,
                channels / case.groups,
                case.kernel,
                case.kernel,
            ],
            &lists,
            case.groups,
        );
    }
    if case.residual && (h, w, case.outputs) == (case.height, case.width, case.channels) {
        x = onnx.node("Add", &["input", &x], &[]);
    }
    let shape = [1, case.channels, case.height, case.width];
    let file = onnx.file(&shape, &x, &[1, case.outputs, h, w]);
    Some((file, shape.iter().product()))
}

fn equals_tract(case: &Case) {
    let Some((file, inputs)) = network(case) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("case.onnx");
    fs::write(&path, file).expect("room");
    let input = values(inputs, case.seed ^ 4242);
    let tract = load(&path, KernelChoice::Tract).expect("runs everywhere");
    let expected = outputs(&tract, 1, 1, &input);
    for kernels in KERNELS {
        let Some(network) = load(&path, kernels) else {
            continue;
        };
        let got = outputs(&network, 1, 2, &input);
        let off = difference(&got[0], &expected[0]);
        assert!(off <= TOLERANCE, "{kernels:?}: {off} in {case:?}");
        assert!(
            outputs(&network, 2, 2, &input) == got,
            "{kernels:?}: 2 threads differ in {case:?}"
        );
    }
}

/// An inverted residual of the case's sizes.
fn inverted_residual(case: Case) -> Case {
    Case {
        depthwise: true,
        residual: true,
        kernel: 3,
        stride: 1,
        outputs: case.channels,
        pads: [case.dilation; 4],
        expand: case.expand + 1,
        ..case
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn convolutions_equal_tract(case in case()) {
        equals_tract(&case);
    }

    #[test]
    fn inverted_residuals_equal_tract(case in case()) {
        equals_tract(&inverted_residual(case));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(768))]
    #[test]
    #[ignore = "slow: run by CI"]
    fn many_convolutions_equal_tract(case in case()) {
        equals_tract(&case);
    }

    #[test]
    #[ignore = "slow: run by CI"]
    fn many_inverted_residuals_equal_tract(case in case()) {
        equals_tract(&inverted_residual(case));
    }
}
