//! Runs a network on a raw input tensor and writes its raw output tensors, to compare them with
//! those of another runtime:
//!
//! ```sh
//! cargo run -p mobilens-nn --example raw_outputs -- MODEL.onnx INPUT.f32 OUT [1x3x224x224]
//! ```
//!
//! `INPUT.f32` holds the input's values in the dimension order of the file, as float32 in little
//! endian without a header: NumPy's `x.astype("<f4").tofile("INPUT.f32")`. Output `n` goes to
//! `OUT.n.f32` in the same form, and a line with its number, name and shape to standard output. The
//! last argument is the input's shape, where the file leaves axes free.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::error::Error;
use std::process::ExitCode;
use std::{env, fs};

use mobilens_nn::{LoadOptions, Network};

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let (model, input, out, shape) = match arguments {
        [model, input, out] => (model, input, out, None),
        [model, input, out, shape] => {
            let axes: Result<Vec<usize>, _> = shape.split('x').map(str::parse).collect();
            (model, input, out, Some(axes?))
        }
        _ => return Err("usage: raw_outputs MODEL.onnx INPUT.f32 OUT [SHAPE]".into()),
    };
    let options = LoadOptions {
        replace_shape: shape.is_some(),
        shape,
        ..LoadOptions::default()
    };
    let network = Network::load(model.as_ref(), &options)?;
    let bytes = fs::read(input).map_err(|e| format!("{input}: {e}"))?;
    let wanted = network.input().len();
    if bytes.len() != 4 * wanted {
        let shape = &network.input().shape;
        let bytes = bytes.len();
        return Err(format!("{input}: {bytes} bytes, but the input is {shape:?}").into());
    }
    let values: Vec<f32> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect();
    let mut session = network.session(1)?;
    session.set_input(&values);
    session.run()?;
    for (index, info) in network.outputs().iter().enumerate() {
        let values = session.output(index).iter();
        let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
        let path = format!("{out}.{index}.f32");
        fs::write(&path, bytes).map_err(|e| format!("{path}: {e}"))?;
        println!("{index} {} {:?}", info.name, info.shape);
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raw_outputs: {error}");
            ExitCode::from(2)
        }
    }
}
