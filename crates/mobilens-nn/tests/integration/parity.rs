//! A network on one implementation against the same on another.

use std::path::Path;

use mobilens_nn::{KernelChoice, LoadOptions, Network, NnError};

/// Largest difference as a share of the largest value.
pub const TOLERANCE: f32 = 1e-4;

/// The implementations that are held to tract.
pub const KERNELS: [KernelChoice; 5] = [
    KernelChoice::Portable,
    KernelChoice::Avx2,
    KernelChoice::AvxVnni,
    KernelChoice::Avx512,
    KernelChoice::Avx512Vnni,
];

/// The network on one implementation; `None` if this CPU does not support it.
pub fn load(path: &Path, kernels: KernelChoice) -> Option<Network> {
    load_at(path, kernels, None)
}

/// As [`load`], at an input size of `(rows, columns)`.
pub fn load_at(
    path: &Path,
    kernels: KernelChoice,
    input: Option<(usize, usize)>,
) -> Option<Network> {
    let options = LoadOptions {
        kernels,
        input,
        ..LoadOptions::default()
    };
    match Network::load(path, &options) {
        Ok(network) => Some(network),
        Err(NnError::UnsupportedIsa { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// All outputs of the last of `runs`, for an input in the dimension order of the file.
pub fn outputs(network: &Network, threads: usize, runs: usize, input: &[f32]) -> Vec<Vec<f32>> {
    let mut session = network.session(threads).expect("a session");
    for _ in 0..runs {
        session.set_input(input);
        session.run().expect("runs");
    }
    (0..network.outputs().len())
        .map(|i| session.output(i).to_vec())
        .collect()
}

/// Largest difference, as a share of the largest expected value.
pub fn difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    let off = got.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // `max` would pass over NaN.
    off.fold(
        0.0,
        |m: f32, d| if d.is_nan() { f32::INFINITY } else { m.max(d) },
    ) / largest
}

/// Values between -1 and 1 that look random and are the same each time.
pub fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}
