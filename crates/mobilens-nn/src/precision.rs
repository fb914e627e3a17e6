//! The number format that a network runs in: what the options ask for, and what came of it.

use std::path::Path;

use crate::error::NnError;
use crate::kernels::Bf16Isa;
use crate::load_options::{KernelChoice, LoadOptions, Precision};
use crate::report::LayerReport;

/// Number format of the convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberFormat {
    F32,
    Int8,
    Bf16,
}

impl NumberFormat {
    /// Its name in configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
            Self::Bf16 => "bf16",
        }
    }
}

/// Refuses a number format that no file can have on this CPU.
pub(crate) fn check_precision(options: &LoadOptions) -> Result<(), NnError> {
    match bf16_obstacle(options.kernels) {
        Some(reason) if options.precision == Precision::Bf16 => {
            let precision = "bf16";
            Err(NnError::UnsupportedPrecision { precision, reason })
        }
        _ => Ok(()),
    }
}

/// The number format of the file `path`, once [`check_precision`] has passed.
pub(crate) fn number_format(
    path: &Path,
    options: &LoadOptions,
    is_quantized: bool,
) -> Result<NumberFormat, NnError> {
    match options.precision {
        Precision::Model | Precision::Fast | Precision::Int8 if is_quantized => {
            Ok(NumberFormat::Int8)
        }
        Precision::Int8 => Err(NnError::NotQuantized {
            path: path.to_owned(),
        }),
        Precision::Bf16 => Ok(NumberFormat::Bf16),
        Precision::Fast if bf16_obstacle(options.kernels).is_none() => Ok(NumberFormat::Bf16),
        Precision::Model | Precision::Fast | Precision::F32 => Ok(NumberFormat::F32),
    }
}

/// Why bfloat16 cannot be used with these kernels on this CPU; `None` if it can.
fn bf16_obstacle(kernels: KernelChoice) -> Option<&'static str> {
    let knows = [
        KernelChoice::Auto,
        KernelChoice::Avx512,
        KernelChoice::Avx512Vnni,
    ];
    if !knows.contains(&kernels) {
        return Some("it needs the `avx512` kernels");
    }
    if !Bf16Isa::Avx512Bf16.available() {
        return Some("this CPU has no AVX-512 BF16");
    }
    None
}

/// Number format and instruction set of the bulk of the layers: of those with the most multiply-accumulates,
/// or the most of all where nothing is multiplied.
pub(crate) fn bulk_of(layers: &[LayerReport]) -> (&'static str, &'static str) {
    let kind = |layer: &LayerReport| (layer.precision, layer.runs_on);
    let weight = |wanted| {
        let of_kind = layers.iter().filter(|layer| kind(layer) == wanted);
        of_kind.fold((0, 0), |(macs, count), layer| {
            (macs + layer.macs, count + 1)
        })
    };
    let kinds = layers.iter().map(kind);
    // A network without layers passes its input on.
    kinds
        .max_by_key(|kind| (weight(*kind), *kind))
        .unwrap_or(("f32", "tract"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(precision: &'static str, runs_on: &'static str, macs: u64) -> LayerReport {
        LayerReport {
            name: String::new(),
            op: String::new(),
            runs_on,
            precision,
            step: 0,
            output_shape: Vec::new(),
            macs,
            parameters: 0,
        }
    }

    #[test]
    fn most_multiplications_decide_and_then_most_layers() {
        assert_eq!(bulk_of(&[]), ("f32", "tract"));
        let mut layers = vec![
            layer("f32", "tract", 10),
            layer("int8", "avx2", 60),
            layer("f32", "avx512", 50),
            layer("f32", "tract", 45),
        ];
        assert_eq!(bulk_of(&layers), ("int8", "avx2"));
        layers.push(layer("f32", "tract", 6));
        assert_eq!(bulk_of(&layers), ("f32", "tract"));
        layers.iter_mut().for_each(|layer| layer.macs = 0);
        assert_eq!(bulk_of(&layers), ("f32", "tract"));
    }

    #[test]
    fn what_is_asked_for_and_what_it_means() {
        let format = |precision, is_quantized| {
            let options = LoadOptions {
                precision,
                ..LoadOptions::default()
            };
            number_format(Path::new("a.onnx"), &options, is_quantized).ok()
        };
        let (f32, int8) = (Some(NumberFormat::F32), Some(NumberFormat::Int8));
        for (precision, of_float, of_quantized) in [
            (Precision::Model, f32, int8),
            (Precision::F32, f32, f32),
            (Precision::Int8, None, int8),
        ] {
            let got = (format(precision, false), format(precision, true));
            assert_eq!(got, (of_float, of_quantized), "{precision:?}");
        }
        let fast = if Bf16Isa::Avx512Bf16.available() {
            Some(NumberFormat::Bf16)
        } else {
            f32
        };
        let got = (
            format(Precision::Fast, false),
            format(Precision::Fast, true),
        );
        assert_eq!(got, (fast, int8));
    }

    #[test]
    fn bfloat16_needs_kernels_that_know_it() {
        let check = |kernels, precision| {
            check_precision(&LoadOptions {
                kernels,
                precision,
                ..LoadOptions::default()
            })
        };
        for kernels in [
            KernelChoice::Tract,
            KernelChoice::Portable,
            KernelChoice::Avx2,
        ] {
            assert!(check(kernels, Precision::Fast).is_ok());
            let error = check(kernels, Precision::Bf16).expect_err("no such kernels");
            assert!(error.to_string().contains("`avx512` kernels"), "{error}");
        }
    }
}
