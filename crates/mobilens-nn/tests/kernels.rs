//! The kernels against plain tract: every shipped model on a real picture, and small networks of
//! every shape, on each path that this machine has.

#[path = "support/onnx.rs"]
mod onnx;
#[path = "support/parity.rs"]
mod parity;

use std::fs;
use std::path::{Path, PathBuf};

use mobilens_image::{Image, PixelFormat, SizePx, TensorLayout, YuvColour};
use mobilens_image::{PreprocessParams, Preprocessor, Resize};
use mobilens_nn::KernelChoice;
use onnx::{Onnx, Value};
use parity::{PATHS, TOLERANCE, difference, load, outputs, values};
use proptest::prelude::*;

fn file(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

#[test]
fn every_model_equals_plain_tract_on_every_path_and_any_number_of_threads() {
    let rgb = image::open(file("tests/data/pictures/astronaut.png"))
        .expect("a picture")
        .into_rgb8();
    let size = SizePx {
        width: rgb.width(),
        height: rgb.height(),
    };
    let image = Image::new(size, PixelFormat::Rgb8, YuvColour::DEFAULT, rgb.into_raw());
    let image = image.expect("tight");
    for model in [
        "ssdlite_mobilenet_v2_coco",
        "ssd_mobilenet_v2_oidv4",
        "deeplabv3_mobilenet_v2_voc_os8",
        "deeplabv3_mobilenet_v2_voc_os16",
    ] {
        let path = file(&format!("models/{model}.onnx"));
        let plain = load(&path, KernelChoice::Tract).expect("runs everywhere");
        let side = plain.input().shape[2] as u32;
        let mut preprocessor = Preprocessor::new(&PreprocessParams {
            width_px: side,
            height_px: side,
            bgr: false,
            mean: [127.5; 3],
            std: [127.5; 3],
            resize: Resize::Stretch,
            half_pixel: false,
        });
        let mut input = vec![0.0; plain.input().len()];
        preprocessor.run(&image, TensorLayout::Nchw, &mut input);
        let expected = outputs(&plain, 1, &input);
        for kernels in PATHS {
            let Some(network) = load(&path, kernels) else {
                continue;
            };
            assert!(
                network.layers().iter().all(|l| l.runs_on != "tract"),
                "{model}"
            );
            let first = outputs(&network, 1, &input);
            for (got, expected) in first.iter().zip(&expected) {
                let off = difference(got, expected);
                assert!(off <= TOLERANCE, "{model} {kernels:?}: {off}");
            }
            for threads in [2, 3] {
                let got = outputs(&network, threads, &input);
                assert!(
                    got == first,
                    "{model} {kernels:?}: {threads} threads differ"
                );
            }
        }
    }
}

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
    relu6: bool,
    residual: bool,
    expand: usize,
    seed: u64,
}

prop_compose! {
    fn case()(
        height in 1usize..23, width in 1usize..23, channels in 1usize..70, outputs in 1usize..70,
        kernel in prop::sample::select(vec![1usize, 3, 5]), stride in 1usize..3, dilation in 1usize..4,
        pads in prop::array::uniform4(0usize..4), depthwise: bool, relu6: bool, residual: bool,
        expand in 0usize..90, seed: u64,
    ) -> Case {
        Case { height, width, channels, outputs, kernel, stride, dilation, pads, depthwise, relu6, residual, expand, seed }
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
            [case.outputs, channels, case.kernel, case.kernel],
            &lists,
            1,
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
    let plain = load(&path, KernelChoice::Tract).expect("runs everywhere");
    let expected = outputs(&plain, 1, &input);
    for kernels in PATHS {
        let Some(network) = load(&path, kernels) else {
            continue;
        };
        let got = outputs(&network, 1, &input);
        let off = difference(&got[0], &expected[0]);
        assert!(off <= TOLERANCE, "{kernels:?}: {off} in {case:?}");
        assert!(
            outputs(&network, 2, &input) == got,
            "{kernels:?}: 2 threads differ in {case:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn small_networks_of_every_shape_equal_plain_tract(case in case()) {
        equals_tract(&case);
    }

    #[test]
    fn inverted_residuals_equal_plain_tract(case in case()) {
        equals_tract(&Case {
            depthwise: true, residual: true, kernel: 3, stride: 1,
            outputs: case.channels, pads: [case.dilation; 4], expand: case.expand + 1, ..case
        });
    }
}
