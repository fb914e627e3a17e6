//! What a quantised network is worth.

/// Signal-to-quantisation-noise ratio of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSqnr {
    /// Its name in the ONNX file.
    pub name: String,
    /// Ratio of the float values' sum of squares to that of the differences, in decibels, over all
    /// pictures; infinite where nothing differs.
    pub db: f64,
}

/// What a quantised network is worth, over the pictures that it was calibrated with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantizeReport {
    /// Each output of the network.
    pub outputs: Vec<TensorSqnr>,
    /// Each value that is rounded to codes, in the order of computation, with what the layers
    /// before it have lost.
    pub tensors: Vec<TensorSqnr>,
    /// Number of convolutions in int8.
    pub convolutions: usize,
    /// Convolutions that stay in float32: name, and why.
    pub float_convolutions: Vec<(String, &'static str)>,
    /// Number of pictures.
    pub pictures: usize,
    /// Size of the file before and after, in bytes.
    pub bytes: (usize, usize),
}

/// Sums for one tensor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sqnr {
    signal: f64,
    noise: f64,
}

impl Sqnr {
    /// Adds a value of the float network and the same of the quantised one.
    pub fn add(&mut self, float: f32, quantized: f32) {
        let (float, quantized) = (f64::from(float), f64::from(quantized));
        self.signal += float * float;
        self.noise += (float - quantized) * (float - quantized);
    }

    /// The ratio under the tensor's name.
    pub fn named(self, name: &str) -> TensorSqnr {
        let db = if self.noise == 0.0 {
            f64::INFINITY
        } else {
            10.0 * (self.signal / self.noise).log10()
        };
        TensorSqnr {
            name: name.to_owned(),
            db,
        }
    }
}
