//! Activations against their definitions in double precision, and the same bits on every instruction set.

use super::{Activation, Isa, UnaryOp};

/// The error function by a series without cancellation (Abramowitz and Stegun, 7.1.6).
fn erf(x: f64) -> f64 {
    let z = x.abs().min(6.0);
    let (mut term, mut sum) = (z, z);
    for n in 1..200 {
        term *= 2.0 * z * z / (2.0 * f64::from(n) + 1.0);
        sum += term;
    }
    (2.0 / std::f64::consts::PI.sqrt() * (-z * z).exp() * sum).copysign(x)
}

fn definition(function: UnaryOp, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match function {
        UnaryOp::Sigmoid | UnaryOp::Activation(Activation::Sigmoid) => sigmoid(x),
        UnaryOp::Activation(Activation::Silu) => x * sigmoid(x),
        UnaryOp::Activation(Activation::Gelu) => x * 0.5 * (1.0 + erf(x / 2f64.sqrt())),
        UnaryOp::Activation(Activation::GeluTanh) => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            x * 0.5 * (1.0 + u.tanh())
        }
        UnaryOp::Activation(Activation::LeakyRelu { slope }) => {
            if x > 0.0 {
                x
            } else {
                x * f64::from(slope)
            }
        }
        UnaryOp::Erf => erf(x),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Cube => x.powi(3),
        _ => x,
    }
}

const FUNCTIONS: [UnaryOp; 9] = [
    UnaryOp::Sigmoid,
    UnaryOp::Erf,
    UnaryOp::Tanh,
    UnaryOp::Cube,
    UnaryOp::Activation(Activation::Sigmoid),
    UnaryOp::Activation(Activation::Silu),
    UnaryOp::Activation(Activation::Gelu),
    UnaryOp::Activation(Activation::GeluTanh),
    UnaryOp::Activation(Activation::LeakyRelu { slope: 0.1 }),
];

/// From -100 to 100, most of them near 0.
fn arguments() -> Vec<f32> {
    let steps = (-10_000..=10_000).map(|i| i as f32 / 1000.0);
    let far = (-100..=100).map(|i| i as f32);
    steps.chain(far).chain([1e-30, -1e-30, 1e-8]).collect()
}

#[test]
fn activations_are_near_their_definitions() {
    for function in FUNCTIONS {
        for x in arguments() {
            let (got, wanted) = (
                f64::from(function.apply(x)),
                definition(function, f64::from(x)),
            );
            // The error functions are approximated to 1.5e-7; the rest is rounding beside 1.
            let allowed = 4e-7
                * wanted
                    .abs()
                    .max(f64::from(x).abs().clamp(0.0, 1.0))
                    .max(1e-3);
            let allowed = match function {
                UnaryOp::Erf | UnaryOp::Tanh => 6e-7,
                _ => allowed,
            };
            assert!(
                (got - wanted).abs() <= allowed,
                "{function:?}({x}) = {got}, wanted {wanted}"
            );
        }
    }
}

#[test]
fn activations_have_the_same_bits_on_every_instruction_set() {
    let input = arguments();
    for function in FUNCTIONS {
        let expected: Vec<u32> = input.iter().map(|x| function.apply(*x).to_bits()).collect();
        for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
            if !isa.available() {
                continue;
            }
            let mut output = vec![0.0; input.len()];
            function.run(isa, &input, &mut output);
            let got: Vec<u32> = output.iter().map(|x| x.to_bits()).collect();
            assert!(got == expected, "{function:?} on {}", isa.name());
        }
    }
}
